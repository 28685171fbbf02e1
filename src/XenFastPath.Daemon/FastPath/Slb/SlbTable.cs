// One balance-slb bond: its buckets here, and the same in the map that the program reads.
using XenFastPath.Dataplane;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.FastPath.Slb;

/// <summary>Keeps <see cref="Buckets"/> and the map the same; reads how much each bucket sent.</summary>
internal sealed unsafe class SlbTable(int index, int ifindex)
{
    private readonly long[] _read = new long[SlbBuckets.Count];
    private ulong _intervalNs;
    private ulong _dueNs;
    private long _rebalances;
    private long _moves;

    /// <summary>Its element of the map.</summary>
    public int Index { get; } = index;

    /// <summary>Of the bonding device.</summary>
    public int Ifindex { get; } = ifindex;

    public SlbBuckets Buckets { get; } = new();

    /// <summary>Starts with what an earlier daemon left. What was sent before now is not load.</summary>
    public void TakeOver(SlbMaps maps)
    {
        for (int bucket = 0; bucket < SlbBuckets.Count; bucket++)
            Buckets.TakeOver(bucket, (int)maps.Bonds[Index].Member[bucket]);
        maps.Load(Index).CopyTo(_read, 0);
    }

    /// <inheritdoc cref="SlbBuckets.Assign"/>
    public List<int> Assign(SlbMaps maps, ReadOnlySpan<int> usable) => Publish(maps, Buckets.Assign(usable));

    /// <summary>Zero: never rebalance.</summary>
    public void SetInterval(TimeSpan interval, ulong nowNs)
    {
        ulong intervalNs = (ulong)interval.TotalNanoseconds;
        if (intervalNs == _intervalNs)
            return;
        _intervalNs = intervalNs;
        _dueNs = nowNs + intervalNs;
    }

    public bool IsDue(ulong nowNs) => _intervalNs != 0 && nowNs >= _dueNs;

    /// <summary>Reads the load and shifts it. Nobody is told: the next frame of an address tells the switch.</summary>
    public void Rebalance(SlbMaps maps, ReadOnlySpan<int> usable, ulong nowNs)
    {
        _dueNs = nowNs + _intervalNs;
        _rebalances++;
        ReadLoad(maps);
        Publish(maps, Buckets.Rebalance(usable));
    }

    public SlbReport Report(SlbMaps maps, SlbSettings settings, long announced)
    {
        ReadLoad(maps);
        List<SlbMemberReport> members = [];
        foreach (int member in settings.Members.Members)
        {
            int buckets = 0;
            long load = 0;
            for (int bucket = 0; bucket < SlbBuckets.Count; bucket++)
            {
                if (Buckets.Members[bucket] != member)
                    continue;
                buckets++;
                load += Buckets.Load[bucket];
            }

            members.Add(new SlbMemberReport(member, buckets, load));
        }

        long[] counted = maps.Counters(Index);
        Dictionary<string, long> counters = [];
        for (SlbCounter counter = 0; counter < SlbCounter.Count; counter++)
            counters[CounterMemory.SnakeCase(counter.ToString())] = counted[(int)counter];
        counters["rebalances"] = _rebalances;
        counters["bucket_moves"] = _moves;
        counters["announced"] = announced;
        return new SlbReport(members, counters);
    }

    private void ReadLoad(SlbMaps maps)
    {
        long[] sent = maps.Load(Index);
        for (int bucket = 0; bucket < SlbBuckets.Count; bucket++)
            Buckets.AddLoad(bucket, sent[bucket] - _read[bucket]);
        sent.CopyTo(_read, 0);
    }

    private List<int> Publish(SlbMaps maps, List<int> moved)
    {
        foreach (int bucket in moved)
            maps.SetMember(Index, bucket, Buckets.Members[bucket]);
        _moves += moved.Count;
        return moved;
    }
}
