// The fast path as the reconciler sees it: ports in, ports out, in the order that never redirects a frame to nowhere.
using XenFastPath.Dataplane;
using XenFastPath.Interop;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.FastPath;

/// <summary>
/// Owns program, maps, hooks, mirror and the connection to the forwarder. Every member is called on the controller's thread
/// unless it says otherwise.
/// </summary>
internal sealed unsafe partial class FastPathManager : IFastPath, IDisposable
{
    private readonly PinFolder _pins;
    private readonly BpfProgram _program;
    private readonly BpfMaps _maps;
    private readonly PortHooks _hooks;
    private readonly Reaper _reaper;
    private readonly FdbMirror _mirror;
    private readonly ForwarderSupervisor _forwarder;
    private readonly PortSlots _slots = new();
    private readonly Dictionary<int, FastPathPort> _ports = [];
    private readonly Dictionary<int, PortSettings> _settings = [];
    private readonly Dictionary<int, string> _failures = [];
    private readonly HashSet<int> _lasting = [];

    /// <summary>Loads the program, takes over what an earlier daemon left, starts the mirror. The forwarder comes with <see cref="Start"/>.</summary>
    /// <exception cref="FastPathException">What is missing.</exception>
    public FastPathManager(string bpffs, string runDir, string? forwarderBinary, Rtnl rtnl)
    {
        _pins = new PinFolder(bpffs, runDir);
        _program = BpfProgram.Load(bpffs, _pins);
        _maps = new BpfMaps(_program);
        _hooks = new PortHooks(_program, _pins, rtnl);
        _hooks.TakeOver();
        _forwarder = new ForwarderSupervisor(runDir, _maps, forwarderBinary);
        _reaper = new Reaper { Barrier = TryBarrier };
        _mirror = new FdbMirror(_maps, _reaper);
        _reaper.Remove = _mirror.Reap;
        _reaper.Start();
        TakeOverPorts();
    }

    public IReadOnlyDictionary<int, PortSettings> Ports => _settings;

    public IReadOnlyDictionary<int, string> Failures => _failures;

    public IReadOnlyDictionary<ushort, string> Muted { get; private set; } = new Dictionary<ushort, string>();

    public FdbMirror Mirror => _mirror;

    public ForwarderSupervisor Forwarder => _forwarder;

    public PinFolder Pins => _pins;

    /// <summary>Ports that the forwarder serves.</summary>
    public int ServedCount => _ports.Values.Count(p => p.IsServed);

    /// <summary>The port of a device, if it is one.</summary>
    public FastPathPort? PortOf(int ifindex) => _ports.GetValueOrDefault(ifindex);

    /// <summary>What the program counted for a port; any thread.</summary>
    public long[] ProgramCounters(FastPathPort port) => _maps.Counters(port.Id);

    /// <summary>Is this MAC of the Network in the program's table, and when was it last seen on the fast path?</summary>
    public bool IsMirrored(ushort network, MacAddress mac, out ulong seenNs)
    {
        bool found = _maps.TryGetFdb(MirrorState.KeyOf(network, mac), out FdbValue value);
        seenNs = value.SeenNs;
        return found;
    }

    public bool HasXdp(int ifindex) => _hooks.HasXdp(ifindex);

    public void Configure(int ifindex, string device, PortSettings settings)
    {
        try
        {
            if (!_ports.TryGetValue(ifindex, out FastPathPort? port))
                port = Enrol(ifindex, device, settings);
            port.Device = device;
            if (port.Settings.NetworkId != settings.NetworkId || (port.IsServed && (settings.Path == PortPath.Bridge || settings.Queues != port.Queues)))
                LeaveForwarder(port);
            if (port.Settings.NetworkId != settings.NetworkId)
                port.Generation++;
            port.Settings = settings;
            Publish(port);
            _hooks.AttachPolicy(ifindex, device);
            if (settings.Path == PortPath.Afxdp && !port.IsServed)
                JoinForwarder(port);
            Publish(port);
            _mirror.SetPorts([port.Mirror], []);
            _settings[ifindex] = settings;
        }
        catch (Exception e) when (e is FastPathException or SystemCallException or NetlinkException)
        {
            _settings[ifindex] = settings with { IsWhole = false };
            throw new Model.RefusalException(device, e.Message);
        }
    }

    public void Remove(int ifindex, string device)
    {
        Forgive(ifindex);
        _settings.Remove(ifindex);
        if (!_ports.Remove(ifindex, out FastPathPort? port))
            return;
        LeaveForwarder(port);
        _mirror.SetPorts([], [ifindex]);
        _maps.DeletePortId(ifindex);
        _maps.SetWord(port.Id, PortEntry.Pack(port.Generation, 0, PortFlags.None));
        _hooks.DetachAll(ifindex);
        _slots.ReturnId(port.Id);
    }

    public void Forgive(int ifindex)
    {
        _failures.Remove(ifindex);
        _lasting.Remove(ifindex);
    }

    /// <summary>Forgets the failures that may pass by themselves. True if there were any.</summary>
    public bool ForgivePassing()
    {
        int[] passing = [.. _failures.Keys.Where(f => !_lasting.Contains(f))];
        foreach (int ifindex in passing)
            Forgive(ifindex);
        return passing.Length > 0;
    }

    /// <summary>Is there a failure that is worth another try without anybody asking?</summary>
    public bool HasPassingFailures => _failures.Keys.Any(f => !_lasting.Contains(f));

    /// <summary>Reads the mirror's muted Networks; call when the mirror says that they changed.</summary>
    public void RefreshMuted()
    {
        IReadOnlyDictionary<ushort, string> muted = Muted;
        _mirror.Run(state => muted = state.Muted);
        Muted = muted.ToDictionary(m => m.Key, m => $"{m.Value} floods source addresses; the fast path rests");
    }

    /// <summary>Nothing is left on this machine: no pin, no forwarder. Only when there is no port.</summary>
    public void Withdraw()
    {
        _forwarder.Died = null;
        try
        {
            _forwarder.Client?.Shutdown();
        }
        catch (ForwarderGoneException)
        {
            _forwarder.Kill("it does not answer");
        }

        PinFolder.Remove(_pins.Path);
        Directory.Delete(_pins.InstancePath);
    }

    public void Dispose()
    {
        _reaper.Dispose();
        _mirror.Dispose();
        _forwarder.Dispose();
        _maps.Dispose();
        _program.Dispose();
    }

    /// <summary>Gives a device an id and enters it, with its policy but off the fast path.</summary>
    private FastPathPort Enrol(int ifindex, string device, PortSettings settings)
    {
        ushort id = _slots.TakeId();
        // Ids are used again, generations of an id are not: an old entry that names this id is void.
        FastPathPort port = new(ifindex, device, id, settings) { Generation = PortEntry.GenerationOf(_maps.Ports[id].Word) + 1 };
        _maps.ClearCounters(id);
        _ports[ifindex] = port;
        Publish(port);
        _maps.SetPortId(ifindex, id);
        return port;
    }

    /// <summary>Writes the port into the program's table; the word with its flags last.</summary>
    private void Publish(FastPathPort port)
    {
        PortEntry* entry = _maps.Ports + port.Id;
        entry->Ifindex = (uint)port.Ifindex;
        entry->FrameBytesMax = (uint)port.Settings.FrameBytesMax;
        entry->RefreshNs = (ulong)port.Settings.RefreshInterval.TotalNanoseconds;
        entry->XskBase = port.XskBase;
        entry->Queues = (ushort)port.Queues;
        entry->Worker = 0;
        entry->Bridge = (uint)port.Settings.BridgeIfindex;
        _maps.SetWord(port.Id, PortEntry.Pack(port.Generation, port.Settings.NetworkId, port.Flags));
    }
}
