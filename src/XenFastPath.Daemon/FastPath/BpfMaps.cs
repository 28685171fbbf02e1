// The maps of the BPF program, as control uses them.
using XenFastPath.Dataplane;
using XenFastPath.Interop;

namespace XenFastPath.Daemon.FastPath;

/// <summary>
/// Typed access to the maps. The port table, the addresses and the heartbeats are mapped memory; the rest are system calls. One thread at a time
/// for each map; reading counters is free for all.
/// </summary>
internal sealed unsafe class BpfMaps : IDisposable
{
    private readonly int _portIds, _nearIds;
    private readonly int _vlans;
    private readonly int _devs;
    private readonly int _counts;
    private readonly SharedMemory _ports;
    private readonly SharedMemory _heartbeats;

    public BpfMaps(BpfProgram program)
    {
        _portIds = program.Map("xfp_port_ids");
        _nearIds = program.Map("xfp_near_ids");
        _vlans = program.Map("xfp_vlans");
        _devs = program.Map("xfp_devs");
        _counts = program.Map("xfp_counts");
        Xsks = program.Map("xfp_xsks");
        PortsFd = program.Map("xfp_ports");
        HeartbeatsFd = program.Map("xfp_heartbeats");
        _ports = SharedMemory.OpenReadWrite(SharedMemory.Duplicate(PortsFd), Layout.PortsMax * (long)sizeof(PortEntry), "xfp_ports");
        _heartbeats = SharedMemory.OpenReadWrite(SharedMemory.Duplicate(HeartbeatsFd), sizeof(Heartbeats), "xfp_heartbeats");
        int fdb = program.Map("xfp_fdb");
        Fdb = new FdbMap(SharedMemory.Duplicate(fdb), BpfMap.InfoOf(fdb).max_entries);
    }

    /// <summary>The addresses.</summary>
    public FdbMap Fdb { get; }

    public int Xsks { get; }

    public int PortsFd { get; }

    public int HeartbeatsFd { get; }

    /// <summary>The port table, indexed by port id.</summary>
    public PortEntry* Ports => (PortEntry*)_ports.Address;

    public Heartbeats* Heartbeats => (Heartbeats*)_heartbeats.Address;

    /// <summary>Kernel id of the XSKMAP, by which control and forwarder find out whether they mean the same maps.</summary>
    public uint XsksId => BpfMap.InfoOf(Xsks).id;

    /// <summary>Publishes a port's word: one store, so no reader sees half of it.</summary>
    public void SetWord(ushort port, ulong word) => Volatile.Write(ref Ports[port].Word, word);

    public void SetPortId(int ifindex, uint id)
    {
        BpfMap.Set(_portIds, ifindex, id, "enter a port");
        if (ifindex < Layout.NearIfindexes)
            BpfMap.Set(_nearIds, ifindex, id, "enter a port");
    }

    public void DeletePortId(int ifindex)
    {
        if (ifindex < Layout.NearIfindexes)
            BpfMap.Set(_nearIds, ifindex, 0u, "take a port out");
        BpfMap.Delete(_portIds, ifindex);
    }

    /// <summary>All ports entered, by this daemon or by the one before it.</summary>
    public List<(int Ifindex, ushort Id)> PortIds() =>
        [.. BpfMap.Entries<int, uint>(_portIds).Where(e => e.Value is > 0 and < Layout.PortsMax).Select(e => (e.Key, (ushort)e.Value))];

    /// <summary>Enters a tag of a trunk (<see cref="VlanKey"/>) with the VLAN's port id, or 0 for a VLAN device that is not ours.</summary>
    /// <exception cref="SystemCallException">The map holds no more.</exception>
    public void SetVlan(uint key, uint id) => BpfMap.Set(_vlans, key, id, "enter a VLAN tag");

    public void DeleteVlan(uint key) => BpfMap.Delete(_vlans, key);

    /// <summary>All tags entered, by this daemon or by the one before it.</summary>
    public List<(uint Key, ushort Id)> Vlans() => [.. BpfMap.Entries<uint, uint>(_vlans).Select(e => (e.Key, (ushort)e.Value))];

    /// <summary>The device that XDP frames for a port are given to.</summary>
    /// <exception cref="SystemCallException">The kernel refuses it.</exception>
    public void SetDevice(ushort port, int ifindex) => BpfMap.Set(_devs, (uint)port, (uint)ifindex, "enter a device for XDP frames");

    public void DeleteDevice(ushort port) => BpfMap.Delete(_devs, (uint)port);

    /// <summary>A port's counters, summed over the CPUs; indexed by <see cref="ProgramCounter"/>.</summary>
    public long[] Counters(ushort port) => BpfMap.Row(_counts, port, Layout.CounterSlots)[..(int)ProgramCounter.Count];

    public void ClearCounters(ushort port) => BpfMap.ClearRow(_counts, port, Layout.CounterSlots);

    public void Dispose()
    {
        _ports.Dispose();
        _heartbeats.Dispose();
        Fdb.Dispose();
    }
}
