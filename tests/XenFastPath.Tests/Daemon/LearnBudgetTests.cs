// A token bucket is right if it gives all that its promise allows, over every stretch of time, and not one more.
using XenFastPath.Daemon.FastPath;

namespace XenFastPath.Tests.Daemon;

public sealed class LearnBudgetTests
{
    private const int PerSecond = 100, Burst = 50;

    /// <summary>Rounding of 10 ns steps summed over a run; far below one token.</summary>
    private const double Tolerance = 1e-6;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Gives_at_most_burst_plus_rate_over_any_stretch_and_never_less(int seed)
    {
        Random random = new(seed);
        LearnBudget budget = new(PerSecond, Burst);
        List<ulong> granted = [];
        ulong now = 5_000_000_000;
        int refused = 0;
        for (int i = 0; i < 1500; i++)
        {
            now += (ulong)(random.Next(50) == 0 ? random.Next(300_000_000) : random.Next(8_000_000));
            bool isGranted = budget.TryTake(now);
            // One more now breaks the promise if some stretch that ends now would then hold more than it may.
            bool isOver = Enumerable.Range(0, granted.Count + 1).Any(from =>
                granted.Count - from + 1 > Burst + PerSecond * 1e-9 * (now - (from < granted.Count ? granted[from] : now)) + Tolerance);
            Assert.True(isGranted != isOver, $"seed {seed}, take {i}: granted {isGranted}, over the promise {isOver}");
            if (isGranted)
                granted.Add(now);
            else
                refused++;
        }

        Assert.True(refused > 100 && granted.Count > 100, $"{refused} refused, {granted.Count} granted: the test tests nothing");
    }

    [Fact]
    public void Saves_no_more_than_a_burst()
    {
        LearnBudget budget = new(PerSecond, Burst);
        Assert.Equal(Burst, Take(ref budget, 1_000_000_000));
        Assert.Equal(Burst, Take(ref budget, 3_600_000_000_000));
    }

    [Fact]
    public void One_more_each_time_the_rate_allows()
    {
        LearnBudget budget = new(PerSecond, Burst);
        Take(ref budget, 1_000_000_000);
        Assert.False(budget.TryTake(1_009_000_000));
        Assert.True(budget.TryTake(1_010_100_000));
        Assert.False(budget.TryTake(1_010_100_000));
    }

    private static int Take(ref LearnBudget budget, ulong nowNs)
    {
        int count = 0;
        while (budget.TryTake(nowNs))
            Assert.True(++count <= 2 * Burst);
        return count;
    }
}
