// One packet loop or several with simulated ports, one Network unless the test says otherwise.
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

    public LoopFixture(int frames = 1024, int tableEntries = 1024, int workers = 1, PortFlags flags = PortFlags.Unfinished)
    {
        Flags = flags;
        Now = 1_000_000_000;
        Arena = new Arena(frames * (long)Limits.FrameBytes);
        _ports = (PortEntry*)NativeMemory.AllocZeroed(Layout.PortsMax, (nuint)sizeof(PortEntry));
        _loopCounters = (ulong*)NativeMemory.AllocZeroed((nuint)(workers * (int)LoopCounter.Count), sizeof(ulong));
        _heartbeat = (ulong*)NativeMemory.AllocZeroed((nuint)workers, sizeof(ulong));
        Loops = new PacketLoop[workers];
        for (int i = 0; i < workers; i++)
        {
            Loops[i] = new PacketLoop(Arena, _ports, _heartbeat + i, _loopCounters + i * (int)LoopCounter.Count, &ReadClock, (ushort)i)
            {
                Wake = &CountWake,
                WakeArgument = i,
            };
        }

        PacketLoop.Join(Loops);
        Table = new MacTableWriter(tableEntries);
        _table = SharedMemory.OpenReadOnly(Tmds.Linux.LibC.dup(Table.Fd), Table.Bytes, "macs");
        Command(l => l.PostSetTable(_table.Address));
    }

    public Arena Arena { get; }

    /// <summary>What ports are unless the test says otherwise.</summary>
    public PortFlags Flags { get; }

    public PacketLoop[] Loops { get; }

    /// <summary>The first worker's, or the only one.</summary>
    public PacketLoop Loop => Loops[0];

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

    [ThreadStatic]
    private static int[]? s_wakes;

    /// <summary>How often each worker was woken, by number. One fixture at a time and thread.</summary>
    public int[] Wakes => s_wakes ??= new int[Layout.WorkersMax];

    private static void CountWake(nint worker) => (s_wakes ??= new int[Layout.WorkersMax])[worker]++;

    public ulong Heartbeat => HeartbeatOf(0);

    public ulong HeartbeatOf(int worker) => _heartbeat[worker];

    public ulong this[LoopCounter counter] => this[counter, 0];

    public ulong this[LoopCounter counter, int worker] => _loopCounters[worker * (int)LoopCounter.Count + (int)counter];

    /// <summary>Free frames, as of the workers' latest rounds.</summary>
    public uint FreeCount => (uint)Loops.Select((_, i) => (long)this[LoopCounter.FramesFree, i]).Sum();

    public PortEntry* Entry(ushort id) => _ports + id;

    /// <summary>Adds a port to the loop; ports have ids 1, 2, 3, ...</summary>
    public SimulatedPort AddPort(ushort network = Network, PortFlags? flags = null, uint frameBytesMax = 1514, uint fillFrames = 64,
        uint txFrames = 64, uint startIndex = 0, QueueFlags queueFlags = QueueFlags.None, ushort worker = 0)
    {
        ushort id = (ushort)(Ports.Count + 1);
        SimulatedPort port = new(Arena, id, (ushort)Ports.Count, fillFrames, txFrames, startIndex, queueFlags, worker);
        Ports.Add(port);
        ulong word = PortEntry.Pack(Generation, network, (flags ?? Flags) | PortFlags.Ingress | PortFlags.Egress);
        _ports[id] = new PortEntry { Word = word, FrameBytesMax = frameBytesMax };
        int number = 0;
        Command(l => l.PostAttach(id, port.Output(Generation, number++)));
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
        int worker = 0;
        Command(l =>
        {
            l.PostAttachVlan(vlan.Id, vlan.Output(trunk, generation, worker), trunk.VlanTable + worker * PacketLoop.VlanTableEntries);
            worker++;
        });
        return vlan;
    }

    /// <summary>Says that a MAC lives on a VLAN's port.</summary>
    public void Learn(string mac, SimulatedVlan vlan, ushort network, uint generation = Generation) =>
        Assert.True(Table.TrySet(FdbKey.Make(network, Frames.MacValue(mac)), FdbWord.Make(generation, vlan.Id)));

    /// <summary>Says that a MAC lives on a port.</summary>
    public void Learn(string mac, SimulatedPort port, ushort network = Network, uint generation = Generation) =>
        Assert.True(Table.TrySet(FdbKey.Make(network, Frames.MacValue(mac)), FdbWord.Make(generation, port.Id)));

    /// <summary>One round of each worker at the present time.</summary>
    public uint Round()
    {
        uint work = 0;
        foreach (PacketLoop loop in Loops)
            work += loop.Round(Now);
        return work;
    }

    /// <summary>Posts a command to each worker in turn, as the manager does, and runs until it is carried out.</summary>
    public void Command(Action<PacketLoop> post)
    {
        foreach (PacketLoop loop in Loops)
        {
            post(loop);
            for (int i = 0; i < 10 && !loop.IsIdle; i++)
                loop.Round(Now);
            Assert.True(loop.IsIdle);
        }
    }

    public bool Audit()
    {
        foreach (PacketLoop loop in Loops.Skip(1))
        {
            loop.PostPause();
            loop.Round(Now);
        }

        Loop.PostAudit();
        Loop.Round(Now);
        bool isGood = Loop.Result == 0;
        foreach (PacketLoop loop in Loops.Skip(1))
        {
            loop.PostResume();
            loop.Round(Now);
        }

        return isGood;
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
