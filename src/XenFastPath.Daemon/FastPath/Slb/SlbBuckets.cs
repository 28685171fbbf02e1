// Which member each of a bond's 256 buckets leaves by, and how load is shifted between members: Open vSwitch's ofproto/bond.c.
using XenFastPath.Dataplane;

namespace XenFastPath.Daemon.FastPath.Slb;

/// <summary>The table of one bond with the load of its buckets. Pure: no map, no clock.</summary>
internal sealed class SlbBuckets
{
    public const int Count = SlbLayout.Buckets;

    /// <summary>Below this difference between two members shifting is not worth it: about 1 Mbit/s in Open vSwitch's 10 s.</summary>
    public const long OverloadBytesMin = 100_000;

    private readonly int[] _member = new int[Count];
    private readonly long[] _load = new long[Count];
    private int _turn;

    /// <summary>The member's ifindex by bucket; 0: none is usable.</summary>
    public ReadOnlySpan<int> Members => _member;

    /// <summary>Bytes by bucket: an average that halves at every <see cref="Rebalance"/>.</summary>
    public ReadOnlySpan<long> Load => _load;

    /// <summary>Starts with the table that an earlier daemon left.</summary>
    public void TakeOver(int bucket, int member) => _member[bucket] = member;

    /// <summary>
    /// Gives each bucket whose member is not usable the next usable one, in turn; the others stay where they are. Returns the buckets
    /// that changed.
    /// </summary>
    public List<int> Assign(ReadOnlySpan<int> usable)
    {
        List<int> moved = [];
        for (int bucket = 0; bucket < Count; bucket++)
        {
            int member = _member[bucket];
            if (member != 0 && usable.Contains(member))
                continue;
            int next = usable.IsEmpty ? 0 : usable[_turn++ % usable.Length];
            if (next == member)
                continue;
            _member[bucket] = next;
            moved.Add(bucket);
        }

        _turn = usable.IsEmpty ? 0 : _turn % usable.Length;
        return moved;
    }

    /// <summary>Adds what a bucket sent since the last time.</summary>
    public void AddLoad(int bucket, long bytes) => _load[bucket] += bytes;

    /// <summary>
    /// Shifts load from the most loaded to the least loaded usable member until they are even enough, then lets the past count half.
    /// No bucket moves twice. Returns the buckets that changed.
    /// </summary>
    public List<int> Rebalance(ReadOnlySpan<int> usable)
    {
        List<int> moved = [];
        List<Balance> balances = [];
        foreach (int member in usable)
            balances.Add(new Balance(member, _member, _load));
        // Stable, as the list of Open vSwitch: of equals the first stays the first.
        balances = [.. balances.OrderByDescending(b => b.Bytes)];
        while (balances.Count > 1)
        {
            Balance from = balances[0], to = balances[^1];
            long overload = from.Bytes - to.Bytes;
            if (overload < to.Bytes >> 5 || overload < OverloadBytesMin)
                break;
            List<int> chosen = from.Choose(to.Bytes, _load);
            if (chosen.Count == 0)
            {
                balances.RemoveAt(0);
                continue;
            }

            foreach (int bucket in chosen)
            {
                _member[bucket] = to.Member;
                from.Bytes -= _load[bucket];
                to.Bytes += _load[bucket];
                from.Buckets.Remove(bucket);    // and not into to's: it does not move again
            }

            moved.AddRange(chosen);
            balances = [.. balances.OrderByDescending(b => b.Bytes)];
        }

        for (int bucket = 0; bucket < Count; bucket++)
            _load[bucket] /= 2;
        return moved;
    }

    /// <summary>A member in one run: what it carries, and which loaded buckets may still leave it.</summary>
    private sealed class Balance
    {
        public Balance(int member, int[] members, long[] load)
        {
            Member = member;
            for (int bucket = 0; bucket < Count; bucket++)
            {
                if (members[bucket] != member || load[bucket] == 0)
                    continue;
                Bytes += load[bucket];
                Buckets.Add(bucket);
            }
        }

        public int Member { get; }

        public long Bytes { get; set; }

        public List<int> Buckets { get; } = [];

        /// <summary>
        /// The buckets that bring this member and one with <paramref name="toBytes"/> closest together; none if it has only one, or if
        /// the lower of the two would hardly rise.
        /// </summary>
        public List<int> Choose(long toBytes, long[] load)
        {
            if (Buckets.Count < 2)
                return [];
            long ideal = (Bytes - toBytes) / 2, threshold = ideal / 10, delta = 0;
            List<int> chosen = [];
            int[] descending = [.. Buckets.OrderByDescending(b => load[b])];
            foreach (int bucket in descending)
            {
                if (delta + load[bucket] <= ideal)
                {
                    chosen.Add(bucket);
                    delta += load[bucket];
                }

                if (ideal - delta < threshold)
                    break;
            }

            if (chosen.Count == 0)
            {
                // None fits: the smallest comes closest.
                chosen.Add(descending[^1]);
                delta = load[descending[^1]];
            }

            long low = Math.Min(Bytes - delta, toBytes + delta);
            return low > toBytes && low - toBytes >= threshold ? chosen : [];
        }
    }
}
