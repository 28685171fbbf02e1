// bond_rebalance() of Open vSwitch (ofproto/bond.c) step by step, with no thought for speed: what SlbBuckets must equal.
namespace XenFastPath.Tests.Daemon;

/// <summary>256 buckets, each with a member and a load. Everything is added up anew at each step.</summary>
internal sealed class SlbReference(int[] member)
{
    public int[] Member { get; } = member;

    public long[] Load { get; } = new long[256];

    public void Rebalance(int[] usable)
    {
        HashSet<int> done = [];                 // buckets that have moved in this run
        List<int> ranked = Rank(usable);
        List<int> given = [];                   // members that have nothing useful to give
        while (ranked.Count > 1)
        {
            int from = ranked[0], to = ranked[^1];
            long high = Sum(from), low = Sum(to);
            if (high - low < low / 32 || high - low < 100_000)
                break;
            List<int> moving = Choose(high, low, Loaded(from).Where(b => !done.Contains(b)).ToList());
            if (moving.Count == 0)
                given.Add(from);
            foreach (int bucket in moving)
            {
                Member[bucket] = to;
                done.Add(bucket);
            }

            ranked = Rank([.. ranked.Except(given)]);
        }

        for (int bucket = 0; bucket < Load.Length; bucket++)
            Load[bucket] /= 2;
    }

    private List<int> Choose(long high, long low, List<int> candidates)
    {
        if (candidates.Count < 2)
            return [];
        long ideal = (high - low) / 2, threshold = ideal / 10;
        List<int> taken = [];
        foreach (int bucket in candidates.OrderByDescending(b => Load[b]))
        {
            if (taken.Sum(b => Load[b]) + Load[bucket] <= ideal)
                taken.Add(bucket);
            if (ideal - taken.Sum(b => Load[b]) < threshold)
                break;
        }

        if (taken.Count == 0)
            taken.Add(candidates.OrderByDescending(b => Load[b]).Last());
        long delta = taken.Sum(b => Load[b]);
        long newLow = Math.Min(high - delta, low + delta);
        return newLow > low && newLow - low >= threshold ? taken : [];
    }

    /// <summary>Most loaded first; equals in the order in which they were.</summary>
    private List<int> Rank(IEnumerable<int> members) => [.. members.OrderByDescending(Sum)];

    private IEnumerable<int> Loaded(int member) => Enumerable.Range(0, 256).Where(b => Member[b] == member && Load[b] > 0);

    private long Sum(int member) => Loaded(member).Sum(b => Load[b]);
}
