// The bucket table against a slow, obvious telling of Open vSwitch's algorithm, on random traces.
using XenFastPath.Daemon.FastPath.Slb;

namespace XenFastPath.Tests.Daemon;

public sealed class SlbBucketsTests
{
    [Fact]
    public void Buckets_are_dealt_out_in_turn_and_stay_with_a_member_that_stays()
    {
        SlbBuckets buckets = new();
        Assert.Equal(256, buckets.Assign([5, 6, 7]).Count);
        Assert.Equal([86, 85, 85], ((int[])[5, 6, 7]).Select(m => CountOf(buckets, m)));
        Assert.Empty(buckets.Assign([5, 6, 7]));
        Assert.Empty(buckets.Assign([7, 6, 5]));        // another order moves nobody

        int[] before = buckets.Members.ToArray();
        List<int> moved = buckets.Assign([5, 7]);
        Assert.Equal(Enumerable.Range(0, 256).Where(b => before[b] == 6), moved);
        Assert.All(Enumerable.Range(0, 256).Except(moved), b => Assert.Equal(before[b], buckets.Members[b]));
        Assert.InRange(CountOf(buckets, 5) - CountOf(buckets, 7), -1, 2);

        Assert.Empty(buckets.Assign([5, 6, 7]));        // one that comes back waits for the load to be looked at
        Assert.Equal(256, buckets.Assign([]).Count);
        Assert.Equal(256, CountOf(buckets, 0));
        Assert.Empty(buckets.Assign([]));
        Assert.Equal(256, buckets.Assign([9]).Count);
    }

    [Fact]
    public void A_second_member_gets_half_of_the_load_and_little_load_stays_where_it_is()
    {
        SlbBuckets buckets = new();
        buckets.Assign([1]);
        for (int bucket = 0; bucket < 8; bucket++)
            buckets.AddLoad(bucket, 12_000);
        Assert.Empty(buckets.Rebalance([1, 2]));        // 96000 bytes: below the minimum
        buckets.AddLoad(0, 1_000_000);
        for (int bucket = 1; bucket < 8; bucket++)
            buckets.AddLoad(bucket, 20_000);
        Assert.Equal([1, 2, 3, 4, 5, 6, 7], buckets.Rebalance([1, 2]).Order());     // the elephant stays, the mice leave it
        Assert.Equal(1, buckets.Members[0]);
    }

    [Fact]
    public void One_loaded_bucket_alone_is_not_pushed_around()
    {
        SlbBuckets buckets = new();
        buckets.Assign([1, 2]);
        buckets.AddLoad(0, 10_000_000);
        Assert.Empty(buckets.Rebalance([1, 2]));
        Assert.Equal(5_000_000, buckets.Load[0]);       // the past counts half
    }

    public static TheoryData<int> Seeds => [.. Enumerable.Range(1, 40)];

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Random_traces_end_as_in_open_vswitch(int seed)
    {
        Random random = new(seed);
        int[] members = [.. Enumerable.Range(10, random.Next(2, 6))];
        SlbBuckets buckets = new();
        buckets.Assign(members);
        SlbReference reference = new(buckets.Members.ToArray());
        for (int round = 0; round < 20; round++)
        {
            // A few elephants, many mice, silence; the mix changes from round to round.
            for (int bucket = 0; bucket < 256; bucket++)
            {
                long bytes = random.Next(10) switch { 0 => random.NextInt64(50_000_000), < 5 => random.NextInt64(200_000), _ => 0 };
                buckets.AddLoad(bucket, bytes);
                reference.Load[bucket] += bytes;
            }

            int[] usable = random.Next(5) == 0 ? [.. members.Where(_ => random.Next(3) > 0)] : members;
            int[] before = buckets.Members.ToArray();
            List<int> assigned = buckets.Assign(usable);
            Assert.All(assigned, b => Assert.DoesNotContain(before[b], usable));
            foreach (int bucket in assigned)
                reference.Member[bucket] = buckets.Members[bucket];
            List<int> moved = buckets.Rebalance(usable);
            reference.Rebalance(usable);
            Assert.Equal(moved.Distinct(), moved);      // nobody moves twice in a run
            Assert.Equal(reference.Member, buckets.Members.ToArray());
            Assert.Equal(reference.Load, buckets.Load.ToArray());
            if (usable.Length > 0)
                Assert.All(buckets.Members.ToArray(), m => Assert.Contains(m, usable));
        }
    }

    private static int CountOf(SlbBuckets buckets, int member) => buckets.Members.ToArray().Count(m => m == member);
}
