// The maps of the BPF program, as control uses them.
using XenFastPath.Dataplane;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;

namespace XenFastPath.Daemon.FastPath;

/// <summary>
/// Typed access to the maps. The port table and the heartbeats are mapped memory; the rest are system calls. One thread at a time
/// for each map; reading counters is free for all.
/// </summary>
internal sealed unsafe class BpfMaps : IDisposable
{
    private readonly int _portIds;
    private readonly int _fdb;
    private readonly int _counts;
    private readonly SharedMemory _ports;
    private readonly SharedMemory _heartbeats;
    private readonly int _cpus = LibBpf.libbpf_num_possible_cpus();

    public BpfMaps(BpfProgram program)
    {
        _portIds = program.Map("xfp_port_ids");
        _fdb = program.Map("xfp_fdb");
        _counts = program.Map("xfp_counts");
        Xsks = program.Map("xfp_xsks");
        PortsFd = program.Map("xfp_ports");
        HeartbeatsFd = program.Map("xfp_heartbeats");
        _ports = SharedMemory.OpenReadWrite(dup(PortsFd), Layout.PortsMax * (long)sizeof(PortEntry), "xfp_ports");
        _heartbeats = SharedMemory.OpenReadWrite(dup(HeartbeatsFd), sizeof(Heartbeats), "xfp_heartbeats");
    }

    public int Xsks { get; }

    public int PortsFd { get; }

    public int HeartbeatsFd { get; }

    /// <summary>The port table, indexed by port id.</summary>
    public PortEntry* Ports => (PortEntry*)_ports.Address;

    public Heartbeats* Heartbeats => (Heartbeats*)_heartbeats.Address;

    /// <summary>Kernel id of the XSKMAP, by which control and forwarder find out whether they mean the same maps.</summary>
    public uint XsksId
    {
        get
        {
            bpf_map_info info = default;
            uint length = (uint)sizeof(bpf_map_info);
            return LibBpf.bpf_obj_get_info_by_fd(Xsks, &info, &length) == 0 ? info.id : 0;
        }
    }

    /// <summary>Publishes a port's word: one store, so no reader sees half of it.</summary>
    public void SetWord(ushort port, ulong word) => Volatile.Write(ref Ports[port].Word, word);

    public void SetPortId(int ifindex, uint id) =>
        Check(LibBpf.bpf_map_update_elem(_portIds, &ifindex, &id, LibBpf.BPF_ANY), "enter a port");

    public void DeletePortId(int ifindex) => LibBpf.bpf_map_delete_elem(_portIds, &ifindex);

    /// <summary>All ports entered, by this daemon or by the one before it.</summary>
    public List<(int Ifindex, ushort Id)> PortIds()
    {
        List<(int, ushort)> found = [];
        int next;
        int* key = null;
        int previous;
        while (LibBpf.bpf_map_get_next_key(_portIds, key, &next) == 0)
        {
            uint id;
            if (LibBpf.bpf_map_lookup_elem(_portIds, &next, &id) == 0 && id is > 0 and < Layout.PortsMax)
                found.Add((next, (ushort)id));
            previous = next;
            key = &previous;
        }

        return found;
    }

    /// <summary>Enters a MAC. Its times start now: the kernel has just seen it.</summary>
    public bool TrySetFdb(ulong key, ulong word, ulong nowNs)
    {
        FdbValue value = new() { Word = word, SeenNs = nowNs, PassedNs = nowNs };
        return LibBpf.bpf_map_update_elem(_fdb, &key, &value, LibBpf.BPF_ANY) == 0;
    }

    public void DeleteFdb(ulong key) => LibBpf.bpf_map_delete_elem(_fdb, &key);

    public bool TryGetFdb(ulong key, out FdbValue value)
    {
        FdbValue found;
        bool exists = LibBpf.bpf_map_lookup_elem(_fdb, &key, &found) == 0;
        value = exists ? found : default;
        return exists;
    }

    /// <summary>All MACs entered, by this daemon or by the one before it.</summary>
    public List<ulong> FdbKeys()
    {
        List<ulong> keys = [];
        ulong next, previous;
        ulong* key = null;
        while (LibBpf.bpf_map_get_next_key(_fdb, key, &next) == 0)
        {
            keys.Add(next);
            previous = next;
            key = &previous;
        }

        return keys;
    }

    /// <summary>A port's counters, summed over the CPUs; indexed by <see cref="ProgramCounter"/>.</summary>
    public long[] Counters(ushort port)
    {
        long[] perCpu = new long[_cpus * Layout.CounterSlots];
        long[] sum = new long[(int)ProgramCounter.Count];
        uint id = port;
        fixed (long* row = perCpu)
        {
            if (LibBpf.bpf_map_lookup_elem(_counts, &id, row) != 0)
                return sum;
        }

        for (int cpu = 0; cpu < _cpus; cpu++)
        {
            for (int i = 0; i < sum.Length; i++)
                sum[i] += perCpu[cpu * Layout.CounterSlots + i];
        }

        return sum;
    }

    public void ClearCounters(ushort port)
    {
        uint id = port;
        long[] zeros = new long[_cpus * Layout.CounterSlots];
        fixed (long* row = zeros)
            LibBpf.bpf_map_update_elem(_counts, &id, row, LibBpf.BPF_ANY);
    }

    public void Dispose()
    {
        _ports.Dispose();
        _heartbeats.Dispose();
    }

    private static void Check(int result, string step)
    {
        if (result != 0)
            throw new SystemCallException(step, -result);
    }
}
