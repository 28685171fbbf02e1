using System.Text;
using XenFastPath.Daemon.FastPath;
using XenFastPath.Dataplane;

namespace XenFastPath.Tests.Daemon;

public sealed class PortSlotsTests
{
    [Fact]
    public void Ids_are_unique_never_0_and_end_with_an_error_that_says_so()
    {
        PortSlots slots = new();
        List<int> taken = [];
        for (int i = 1; i < Layout.PortsMax; i++)
            taken.Add(slots.TakeId());
        Assert.Equal(Enumerable.Range(1, Layout.PortsMax - 1), taken);
        FastPathException refused = Assert.Throws<FastPathException>(() => slots.TakeId());
        Assert.Contains("8191", refused.Message, StringComparison.Ordinal);
        slots.ReturnId(77);
        Assert.Equal(77, slots.TakeId());
    }

    [Fact]
    public void What_an_earlier_daemon_left_in_the_map_is_not_given_away()
    {
        PortSlots slots = new();
        slots.MarkId(1);
        slots.MarkId(3);
        slots.MarkXsks(0, 4);
        slots.MarkXsks(6, 2);
        Assert.Equal([2, 4], new int[] { slots.TakeId(), slots.TakeId() });
        Assert.Equal([4, 8, 5], new int[] { slots.TakeXsks(1), slots.TakeXsks(3), slots.TakeXsks(1) });
    }

    /// <summary>The reference is a string with a letter for each slot: a run of free ones is a substring.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Runs_of_slots_never_overlap_and_the_lowest_is_taken(int seed)
    {
        Random random = new(seed);
        PortSlots slots = new();
        StringBuilder reference = new(new string('.', Layout.XsksMax));
        List<(int First, int Count)> runs = [];
        for (int step = 0; step < 4000; step++)
        {
            int count = random.Next(1, Limits.QueuesPerPortMax + 1);
            if (runs.Count > 0 && random.Next(5) < 2)
            {
                (int First, int Count) run = runs[random.Next(runs.Count)];
                runs.Remove(run);
                slots.ReturnXsks(run.First, run.Count);
                reference.Remove(run.First, run.Count).Insert(run.First, ".", run.Count);
                continue;
            }

            int expected = reference.ToString(0, 8192).IndexOf(new string('.', count), StringComparison.Ordinal);
            Assert.True(expected >= 0, "the test's window is too small");
            int first = slots.TakeXsks(count);
            Assert.True(first == expected, $"seed {seed}, step {step}: {count} slots from {first}, not from {expected}");
            reference.Remove(first, count).Insert(first, "x", count);
            runs.Add((first, count));
        }
    }

    [Fact]
    public void A_run_that_does_not_fit_is_refused_and_takes_nothing()
    {
        PortSlots slots = new();
        for (int i = 0; i < Layout.XsksMax / 8; i++)
            slots.TakeXsks(8);
        slots.ReturnXsks(100, 3);
        slots.ReturnXsks(200, 3);
        FastPathException refused = Assert.Throws<FastPathException>(() => slots.TakeXsks(4));
        Assert.Contains("16384", refused.Message, StringComparison.Ordinal);
        Assert.Equal(100, slots.TakeXsks(3));
        Assert.Equal(200, slots.TakeXsks(2));
        Assert.Equal(202, slots.TakeXsks(1));
        Assert.Throws<FastPathException>(() => slots.TakeXsks(1));
    }
}
