// A packet loop with simulated ports, one Network unless the test says otherwise.
using System.Runtime.InteropServices;
using XenFastPath.Dataplane;

namespace XenFastPath.Tests.Dataplane;

internal sealed unsafe class LoopFixture : IDisposable
{
    public const ushort Network = 7;
    public const uint Generation = 3;

    private readonly PortEntry* _ports;
    private readonly ulong* _loopCounters;
    private readonly ulong* _heartbeat;
    private readonly SharedMemory _table;

    public LoopFixture(int frames = 1024, int tableEntries = 1024)
    {
        Now = 1_000_000_000;
        Arena = new Arena(frames * (long)Limits.FrameBytes);
        _ports = (PortEntry*)NativeMemory.AllocZeroed(Layout.PortsMax, (nuint)sizeof(PortEntry));
        _loopCounters = (ulong*)NativeMemory.AllocZeroed((nuint)LoopCounter.Count, sizeof(ulong));
        _heartbeat = (ulong*)NativeMemory.AllocZeroed(1, sizeof(ulong));
        Loop = new PacketLoop(Arena, _ports, _heartbeat, _loopCounters, &ReadClock);
        Table = new MacTableWriter(tableEntries);
        _table = SharedMemory.OpenReadOnly(Tmds.Linux.LibC.dup(Table.Fd), Table.Bytes, "macs");
        Loop.PostSetTable(_table.Address);
        Loop.Round(Now);
    }

    public Arena Arena { get; }

    public PacketLoop Loop { get; }

    public MacTableWriter Table { get; }

    public List<SimulatedPort> Ports { get; } = [];

    public List<SimulatedVlan> Vlans { get; } = [];

    [ThreadStatic]
    private static ulong s_now;

    /// <summary>The loop's clock; it stands still unless a test moves it. One fixture at a time and thread.</summary>
    public ulong Now
    {
        get => s_now;
        set => s_now = value;
    }

    private static ulong ReadClock() => s_now;

    public ulong Heartbeat => *_heartbeat;

    public ulong this[LoopCounter counter] => _loopCounters[(int)counter];

    public PortEntry* Entry(ushort id) => _ports + id;

    /// <summary>Adds a port to the loop; ports have ids 1, 2, 3, ...</summary>
    public SimulatedPort AddPort(ushort network = Network, PortFlags flags = PortFlags.Unfinished, uint frameBytesMax = 1514, uint fillFrames = 64,
        uint txFrames = 64, uint startIndex = 0, QueueFlags queueFlags = QueueFlags.None)
    {
        ushort id = (ushort)(Ports.Count + 1);
        SimulatedPort port = new(Arena, id, (ushort)Ports.Count, fillFrames, txFrames, startIndex, queueFlags);
        Ports.Add(port);
        _ports[id] = new PortEntry { Word = PortEntry.Pack(Generation, network, flags | PortFlags.Ingress | PortFlags.Egress), FrameBytesMax = frameBytesMax };
        Loop.PostAttach(id, port.Output(Generation));
        Loop.Round(Now);
        Assert.True(Loop.IsIdle);
        return port;
    }

    /// <summary>Adds a VLAN's port to the loop, carried by a port; it takes an id as any other.</summary>
    public SimulatedVlan AddVlan(SimulatedPort trunk, ushort tag, ushort network, PortFlags flags = PortFlags.None, uint frameBytesMax = 1514,
        uint generation = Generation)
    {
        SimulatedVlan vlan = new((ushort)(Ports.Count + Vlans.Count + 101), tag);
        Vlans.Add(vlan);
        ulong word = PortEntry.Pack(generation, network, flags | PortFlags.Ingress | PortFlags.Egress);
        _ports[vlan.Id] = new PortEntry { Word = word, FrameBytesMax = frameBytesMax, Tag = tag, Trunk = trunk.Id };
        Loop.PostAttachVlan(vlan.Id, vlan.Output(trunk, generation), trunk.VlanTable);
        Loop.Round(Now);
        Assert.True(Loop.IsIdle);
        return vlan;
    }

    /// <summary>Says that a MAC lives on a VLAN's port.</summary>
    public void Learn(string mac, SimulatedVlan vlan, ushort network, uint generation = Generation) =>
        Assert.True(Table.TrySet(FdbKey.Make(network, Frames.MacValue(mac)), FdbWord.Make(generation, vlan.Id)));

    /// <summary>Says that a MAC lives on a port.</summary>
    public void Learn(string mac, SimulatedPort port, ushort network = Network, uint generation = Generation) =>
        Assert.True(Table.TrySet(FdbKey.Make(network, Frames.MacValue(mac)), FdbWord.Make(generation, port.Id)));

    /// <summary>One round at the present time.</summary>
    public uint Round() => Loop.Round(Now);

    public bool Audit()
    {
        Loop.PostAudit();
        Round();
        return Loop.Result == 0;
    }

    public void Dispose()
    {
        foreach (SimulatedPort port in Ports)
            port.Dispose();
        foreach (SimulatedVlan vlan in Vlans)
            vlan.Dispose();
        Table.Dispose();
        _table.Dispose();
        Arena.Dispose();
        NativeMemory.Free(_ports);
        NativeMemory.Free(_loopCounters);
        NativeMemory.Free(_heartbeat);
    }
}
