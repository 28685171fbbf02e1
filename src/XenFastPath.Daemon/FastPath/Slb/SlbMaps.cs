// The maps of the balance-slb programs, as control uses them.
using XenFastPath.Dataplane;

namespace XenFastPath.Daemon.FastPath.Slb;

/// <summary>Typed access. The bonds with their tables are mapped memory; the rest are system calls. One thread.</summary>
internal sealed unsafe class SlbMaps : IDisposable
{
    private const int BatchMax = 4096;

    private readonly int _devices, _sources, _load, _counts;
    private readonly SharedMemory _bonds;
    private readonly ulong[] _keys = new ulong[BatchMax];
    private readonly SlbSource[] _values = new SlbSource[BatchMax];

    public SlbMaps(BpfProgram program)
    {
        _devices = program.Map("xfp_slb_devices");
        _sources = program.Map("xfp_slb_sources");
        _load = program.Map("xfp_slb_load");
        _counts = program.Map("xfp_slb_counts");
        BondsFd = program.Map("xfp_slb_bonds");
        _bonds = SharedMemory.OpenReadWrite(SharedMemory.Duplicate(BondsFd), SlbLayout.BondsMax * (long)sizeof(SlbBond), "xfp_slb_bonds");
    }

    /// <summary>The map of bonds and tables, for whoever else transmits for a bond: may be mapped. Not to be closed.</summary>
    public int BondsFd { get; }

    /// <summary>The bonds, by index.</summary>
    public SlbBond* Bonds => (SlbBond*)_bonds.Address;

    public void SetMember(int bond, int bucket, int member) => Volatile.Write(ref Bonds[bond].Member[bucket], (uint)member);

    public void SetDevice(int ifindex, int bond) => BpfMap.Set(_devices, ifindex, bond, "enter a device of a balance-slb bond");

    public void DeleteDevice(int ifindex) => BpfMap.Delete(_devices, ifindex);

    /// <summary>All bonds and members entered, by this daemon or by the one before it.</summary>
    public List<(int Ifindex, int Bond)> Devices() => [.. BpfMap.Entries<int, int>(_devices).Where(e => e.Value is >= 0 and < SlbLayout.BondsMax)];

    /// <summary>Bytes sent by bucket, by the program and by the forwarder, since the maps were made, or the bond was.</summary>
    public long[] Load(int bond)
    {
        long[] load = BpfMap.Row(_load, bond, SlbLayout.Buckets);
        for (int bucket = 0; bucket < load.Length; bucket++)
            load[bucket] += (long)Volatile.Read(ref Bonds[bond].FastBytes[bucket]);
        return load;
    }

    /// <summary>Indexed by <see cref="SlbCounter"/>.</summary>
    public long[] Counters(int bond) => BpfMap.Row(_counts, bond, SlbLayout.CounterSlots);

    public void ClearRows(int bond)
    {
        BpfMap.ClearRow(_load, bond, SlbLayout.Buckets);
        BpfMap.ClearRow(_counts, bond, SlbLayout.CounterSlots);
    }

    /// <summary>Every source that is noted, old ones too. Those that come or go meanwhile may be missed.</summary>
    public void EachSource(Action<ulong, SlbSource> action) =>
        BpfMap.Each(_sources, "read the sources of balance-slb bonds", _keys, _values, action);

    public void DeleteSource(ulong key) => BpfMap.Delete(_sources, key);

    public void DeleteSources(Func<ulong, SlbSource, bool> condition)
    {
        List<ulong> doomed = [];
        EachSource((key, source) =>
        {
            if (condition(key, source))
                doomed.Add(key);
        });
        foreach (ulong key in doomed)
            DeleteSource(key);
    }

    public void Dispose() => _bonds.Dispose();
}
