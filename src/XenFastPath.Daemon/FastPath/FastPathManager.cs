// The fast path as the reconciler sees it: ports in, ports out, in the order that never redirects a frame to nowhere.
using XenFastPath.Daemon.FastPath.Slb;
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
    private readonly string _runDir;
    private readonly PinFolder _pins;
    private readonly BpfProgram _program;
    private readonly BpfMaps _maps;
    private readonly PortHooks _hooks;
    private readonly RedirectLosses _losses;
    private readonly Reaper _reaper;
    private readonly FdbMirror _mirror;
    private readonly ForwarderSupervisor _forwarder;
    private readonly PortSlots _slots = new();
    private readonly Dictionary<int, FastPathPort> _ports = [];
    private readonly Dictionary<int, PortSettings> _settings = [];
    private readonly Dictionary<int, string> _failures = [];
    private readonly HashSet<int> _lasting = [];

    /// <summary>Members that have a failure, by ifindex, with their bond's: it outlives the port.</summary>
    private readonly Dictionary<int, int> _failedMembers = [];

    /// <summary>Loads the program, takes over what an earlier daemon left, starts the mirror. The forwarder comes with <see cref="Start"/>.</summary>
    /// <exception cref="FastPathException">What is missing.</exception>
    public FastPathManager(string bpffs, string runDir, ForwarderStart forwarder, Rtnl rtnl, int macsMax = Limits.MacsDefault)
    {
        ExpeditedGrace.Mend(runDir);
        _runDir = runDir;
        _pins = new PinFolder(bpffs, runDir, macsMax);
        _program = BpfProgram.Load(bpffs, _pins);
        _maps = new BpfMaps(_program);
        _maps.Heartbeats->Netns = (uint)NetworkNamespace.OfThread();
        _losses = new RedirectLosses(bpffs, _pins);
        _hooks = new PortHooks(_program, _pins, rtnl);
        // With every doubling of the descriptors the kernel waits for a grace period (expand_fdtable()); there is one for each link.
        using (ExpeditedGrace.Begin(runDir))
            _hooks.TakeOver();
        Slb = new SlbManager(bpffs, _pins, rtnl);
        _rtnl = rtnl;
        _announcer = new Announcer((bond, _) => _toldMembers.GetValueOrDefault(bond));
        _forwarder = new ForwarderSupervisor(runDir, _maps, forwarder);
        _reaper = new Reaper { Barrier = TryBarrier };
        _mirror = new FdbMirror(_maps, _reaper, macsMax);
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

    /// <summary>The balance-slb bonds.</summary>
    public SlbManager Slb { get; }

    ISlb IFastPath.Slb => Slb;

    /// <summary>Ports that the forwarder serves.</summary>
    public int ServedCount => _ports.Values.Count(p => p.IsServed);

    /// <summary>The port of a device, if it is one.</summary>
    public FastPathPort? PortOf(int ifindex) => _ports.GetValueOrDefault(ifindex);

    /// <summary>What the program counted for a port; any thread.</summary>
    public long[] ProgramCounters(FastPathPort port) => _maps.Counters(port.Id);

    /// <summary>Is this MAC of the Network in the program's table, and when was it last seen on the fast path?</summary>
    public bool IsMirrored(ushort network, MacAddress mac, out ulong seenNs)
    {
        bool found = _maps.Fdb.TryGet(MirrorState.KeyOf(network, mac), out FdbValue value);
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
            PortSettings old = port.Settings;
            bool isAnother = old.NetworkId != settings.NetworkId || old.TrunkIfindex != settings.TrunkIfindex || old.Tag != settings.Tag
                || old.BondIfindex != settings.BondIfindex;
            bool hasSockets = port.Queues > 0;
            bool isReopened = port.IsServed && (settings.Path != PortPath.Afxdp || (hasSockets && settings.Queues != port.Queues));
            if (isAnother || isReopened)
                LeaveForwarder(port);
            if (isAnother)
            {
                port.Generation++;
                Slb.Forget(ifindex);
            }

            port.Settings = settings;
            Follow(port, old.TrunkIfindex, settings.TrunkIfindex);
            SetTags(port, old);
            Publish(port);
            _hooks.AttachPolicy(ifindex, device);
            if (settings.Path == PortPath.Afxdp && !port.IsServed)
                JoinForwarder(port);
            SetXdp(port);
            UpdateBond(port.IsBond ? port : BondOf(port));
            Publish(port);
            TellMirror([port.Mirror, .. RejoinVlans(port)]);
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
        // A member leaves when one of them could not be taken in: to forget that would begin anew. It is forgotten with the bond.
        if (PortOf(ifindex) is not { Settings.BondIfindex: not 0 })
            Forgive(ifindex);
        _settings.Remove(ifindex);
        if (!_ports.Remove(ifindex, out FastPathPort? port))
            return;
        try
        {
            Discharge(port);
        }
        catch (Exception e) when (e is FastPathException or SystemCallException or NetlinkException)
        {
            throw new Model.RefusalException(device, e.Message);
        }
    }

    /// <summary>All that the program, the mirror and the forwarder know of a port, and its hooks.</summary>
    private void Discharge(FastPathPort port)
    {
        int ifindex = port.Ifindex;
        _batch?.Expedite();
        Follow(port, port.Settings.TrunkIfindex, 0);
        LeaveForwarder(port);
        ClearDeviceSlot(port);
        Slb.Forget(ifindex);
        ForgetInMirror(ifindex);
        _maps.DeletePortId(ifindex);
        ClearTags(port);
        ClearMembers(port);
        _toldMembers.Remove(ifindex);
        _announcer.Forget(ifindex);
        _maps.SetWord(port.Id, PortEntry.Pack(port.Generation, 0, PortFlags.None));
        _hooks.DetachAll(ifindex);
        _slots.ReturnId(port.Id);
    }

    public void Forgive(int ifindex)
    {
        _failures.Remove(ifindex);
        _lasting.Remove(ifindex);
        foreach (FastPathPort vlan in VlansOf(ifindex))
            Forgive(vlan.Ifindex);
        foreach ((int member, int _) in _failedMembers.Where(m => m.Value == ifindex))
        {
            _failedMembers.Remove(member);
            Forgive(member);
        }

        if (_failedMembers.Remove(ifindex, out int bond))
            Forgive(bond);
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
        Slb.Dispose();
        _announcer.Dispose();
        _losses.Dispose();
        _maps.Dispose();
        _program.Dispose();
    }

    /// <summary>Gives a device an id and enters it, with its policy but off the fast path.</summary>
    private FastPathPort Enrol(int ifindex, string device, PortSettings settings)
    {
        _batch?.Expedite();
        ushort id = _slots.TakeId();
        // Ids are used again, generations of an id are not: an old entry that names this id is void.
        FastPathPort port = new(ifindex, device, id, settings) { Generation = PortEntry.GenerationOf(_maps.Ports[id].Word) + 1 };
        _maps.ClearCounters(id);
        _ports[ifindex] = port;
        Follow(port, 0, settings.TrunkIfindex);
        SetTags(port, settings);
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
        entry->Bridge = (uint)port.Settings.BridgeIfindex;
        entry->Tag = port.Settings.Tag;
        entry->Trunk = TrunkOf(port)?.Id ?? 0;
        entry->Bond = BondOf(port)?.Id ?? 0;
        _maps.SetWord(port.Id, PortEntry.Pack(port.Generation, port.Settings.NetworkId, port.Flags));
    }
}
