// The part of the fast path that needs the forwarder: bringing ports to it, taking them away, surviving either side's death.
using XenFastPath.Dataplane;
using XenFastPath.Interop;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.FastPath;

internal sealed unsafe partial class FastPathManager
{
    /// <summary>A forwarder that serves zero-copy ports holds their PASSed frames too: it must not stand still this long.</summary>
    private const long ZeroCopyStallNsMax = 300_000_000;

    /// <summary>When the second look at a forwarder that stands still counts; the controller looks every 100 ms, or more often.</summary>
    private const ulong SecondLookNsMin = 80_000_000, SecondLookNsMax = 250_000_000;

    /// <summary>In copy mode the bridge carries everything meanwhile, so an operator may look at a stopped forwarder in peace.</summary>
    private const long CopyStallNsMax = 30_000_000_000;

    private ulong _sawStuckNs;

    /// <summary>Ports that an earlier daemon entered. What they are to be is the reconciler's to say; until then they stay as they are.</summary>
    private void TakeOverPorts()
    {
        List<(int Ifindex, ushort Id)> entered = _maps.PortIds();
        ILookup<ushort, (int Ifindex, ushort Id)> members = entered.ToLookup(e => _maps.Ports[e.Id].Bond);
        foreach ((int ifindex, ushort id) in entered)
        {
            PortEntry* entry = _maps.Ports + id;
            PortFlags flags = (PortFlags)(ushort)entry->Word;
            _slots.MarkId(id);
            // A VLAN has no program of its own, nor has a bond: its members have.
            bool hasXdp = _hooks.HasXdp(ifindex) || members[id].Any(m => _hooks.HasXdp(m.Ifindex));
            bool redirects = (flags & PortFlags.Redirect) != 0;
            bool isFast = entry->Tag != 0 ? (flags & PortFlags.Ingress) != 0 : hasXdp;
            PortSettings settings = new()
            {
                NetworkId = PortEntry.NetworkOf(entry->Word),
                BridgeIfindex = (int)entry->Bridge,
                // A trunk can have sockets for its VLANs while its own frames are redirected.
                Path = redirects && entry->Queues == 0 ? PortPath.Redirect : isFast ? PortPath.Afxdp : PortPath.Bridge,
                Redirects = redirects,
                HasXdpHook = redirects && _hooks.HasXdp(ifindex),
                TakesXdpFrames = (flags & PortFlags.Xmit) != 0,
                DropsTags = (flags & PortFlags.NoTags) != 0,
                IsPhysical = (flags & PortFlags.NoTags) == 0,
                MayBeUnfinished = (flags & PortFlags.Unfinished) != 0,
                IsForwarding = (flags & PortFlags.Ingress) != 0,
                IsIsolated = (flags & PortFlags.Isolated) != 0,
                IsWatched = (flags & PortFlags.Watch) != 0,
                FrameBytesMax = (int)entry->FrameBytesMax,
                RefreshInterval = TimeSpan.FromTicks((long)entry->RefreshNs / 100),
                Queues = entry->Queues,
                HasNativeXdp = false,
                MayZeroCopy = false,
                HasZeroCopyChecksum = false,
                TrunkIfindex = entry->Tag != 0 ? (int)_maps.Ports[entry->Trunk].Ifindex : 0,
                Tag = entry->Tag,
                IsTrunk = (flags & PortFlags.Trunk) != 0,
                BondIfindex = entry->Bond != 0 ? (int)_maps.Ports[entry->Bond].Ifindex : 0,
                Bond = members.Contains(id) ? TakeOverBond([.. members[id]]) : null,
                IsWhole = false,
            };
            _settings[ifindex] = settings;
            _ports[ifindex] = new FastPathPort(ifindex, $"ifindex {ifindex}", id, settings)
            {
                Generation = PortEntry.GenerationOf(entry->Word),
                XskBase = entry->XskBase,
                IsActiveMember = entry->Bond != 0 && (flags & PortFlags.Ingress) != 0,
            };
            Follow(_ports[ifindex], 0, settings.TrunkIfindex);
        }

        TakeOverTags();
    }

    /// <summary>
    /// Finds or starts the forwarder and takes over the ports that it serves already; those it serves for nobody are closed.
    /// Reconciling brings in the ports that it has not; then <see cref="GoUp"/>.
    /// </summary>
    public void Start()
    {
        ForwarderClient client = _forwarder.Connect();
        foreach (FastPathPort port in _ports.Values)
        {
            _slots.ReturnXsks(port.XskBase, port.Queues);
            port.Queues = 0;
            port.IsCarried = false;
            port.IsZeroCopy = false;
        }

        // Trunks before VLANs: whether these are served depends on those. Bonds, and with them their VLANs, are made anew: the
        // forwarder may have lost one with a member, or may choose by members of a while ago.
        Dictionary<uint, FastPathPort> byId = _ports.Values.ToDictionary(p => (uint)p.Id);
        if (client.Ports.Any(s => byId.GetValueOrDefault(s.Port) is not { } port || !IsSame(port, s)))
            LetPass(client);
        foreach (ForwarderMessage served in client.Ports.OrderBy(p => p.Trunk != 0))
        {
            FastPathPort? port = byId.GetValueOrDefault(served.Port);
            if (port is not null && IsSame(port, served))
            {
                port.Queues = (int)served.QueueCount;
                port.IsCarried = served.Trunk != 0;
                port.XskBase = (ushort)served.XskBase;
                port.IsZeroCopy = TrunkOf(port)?.IsZeroCopy ?? (served.PortFlags & ForwarderPortFlags.ZeroCopy) != 0;
                _slots.MarkXsks(port.XskBase, port.Queues);
            }
            else
            {
                client.RemovePort((ushort)served.Port);
            }
        }
    }

    /// <summary>
    /// Everything for the forwarder is PASS until <see cref="GoUp"/>, and it has sent what it had: the program goes on by the words of the
    /// daemon before, and what a port that is closed receives would be lost.
    /// </summary>
    private void LetPass(ForwarderClient client)
    {
        using ExpeditedGrace grace = ExpeditedGrace.Begin(_runDir);
        _forwarder.SetUp(false);
        Reaper.WaitForPrograms();
        client.Barrier();
    }

    /// <summary>
    /// Hands the mirror's table to the forwarder and lets the program redirect, once the tables are as the kernel's FDB: the mirror may still
    /// be reading, and publishes after that. Until then everything for the forwarder is PASS, so that no frame is judged by one table and
    /// looked up in the other. Path redirect needs no forwarder, and comes up also if there is none or it does not answer.
    /// </summary>
    public void GoUp()
    {
        ForwarderClient? client = _forwarder.Client;
        using ExpeditedGrace grace = ExpeditedGrace.Begin(_runDir);
        _forwarder.SetUp(false);
        Reaper.WaitForPrograms();
        try
        {
            client?.Barrier();
            client?.SetTable(_mirror.Table);
        }
        finally
        {
            _mirror.Publish();
        }

        _forwarder.SetUp(client is not null);
    }

    /// <summary>
    /// After the forwarder died, or was not to be had, or was given up: connects to the one that is there or starts one, brings in
    /// all ports that it does not serve, and goes up.
    /// </summary>
    public void Restart()
    {
        Start();
        foreach (FastPathPort port in _ports.Values.Where(p => p.Settings.Path == PortPath.Afxdp && !p.IsServed).OrderBy(p => p.IsVlan ? 2 : p.IsBond ? 1 : 0))
        {
            JoinForwarder(port);
            UpdateBond(port.IsBond ? port : null);
            Publish(port);
        }

        TellMirror([.. _ports.Values.Select(p => p.Mirror)]);
        if (_forwarder.Client is null)
            throw new ForwarderGoneException("the forwarder has gone again");
        GoUp();
    }

    /// <summary>
    /// Looks whether the forwarder stands still. True: it has come back after its connection was given up, and
    /// <see cref="Start"/> and <see cref="GoUp"/> are due.
    /// </summary>
    public bool CheckForwarder()
    {
        if (_forwarder.Latest is not { } client)
            return false;
        long ageNs = _forwarder.HeartbeatAgeNs;
        bool hasZeroCopy = _ports.Values.Any(p => p.IsZeroCopy);
        if (IsStuck(ageNs > (hasZeroCopy ? ZeroCopyStallNsMax : CopyStallNsMax)))
            _forwarder.Kill($"it has stood still for {ageNs / 1_000_000} ms");
        return !client.IsConnected && ageNs < Layout.ForwarderStaleNs;
    }

    /// <summary>
    /// Two looks saw it, neither too close together nor too far apart. Where the whole machine stood still our own look was late
    /// too, and the forwarder gets the time until the next one.
    /// </summary>
    private bool IsStuck(bool isOld)
    {
        ulong nowNs = Clock.NowNs(), sinceNs = nowNs - _sawStuckNs;
        if (isOld && sinceNs < SecondLookNsMin)
            return false;
        bool isSeenAgain = isOld && sinceNs < SecondLookNsMax;
        _sawStuckNs = isOld && !isSeenAgain ? nowNs : 0;
        return isSeenAgain;
    }

    /// <summary>Attaches XDP and has the forwarder open the port. A failure is remembered; the port then stays on the bridge.</summary>
    private void JoinForwarder(FastPathPort port)
    {
        if (port.IsServed || _failures.ContainsKey(port.Ifindex) || _forwarder.Client is not { } client)
            return;
        if (port.IsBond)
            return;     // UpdateBond brings it in, when it has members
        string? failure = port.IsVlan ? CannotCarry(port) : Attach(port);
        // Attaching resets the link of a real NIC: where that fails it is not tried again and again, only when somebody asks.
        if (failure is not null && !port.IsVlan && port.Settings.IsPhysical && !port.Settings.MayBeUnfinished)
            _lasting.Add(port.Ifindex);
        if (failure is null)
        {
            try
            {
                failure = port.IsVlan ? OpenVlan(port, client) : Open(port, client);
            }
            catch (ForwarderGoneException e)
            {
                failure = e.Message;
            }
        }

        if (failure is null)
            return;
        _hooks.DetachXdp(port.Ifindex);
        _failures[port.Ifindex] = failure;
        if (port.Settings.BondIfindex != 0)
            _failedMembers[port.Ifindex] = port.Settings.BondIfindex;
        Log.Warning($"{port.Device}: no fast path: {failure}");
    }

    /// <summary>Native XDP where the driver has it, generic elsewhere. Null, or why neither.</summary>
    private string? Attach(FastPathPort port, bool mayBeGeneric = true)
    {
        port.IsNativeXdp = port.Settings.HasNativeXdp;
        int error = _hooks.AttachXdp(port.Ifindex, port.IsNativeXdp);
        // On hardware, where a driver refuses native XDP the kernel can run the program; elsewhere super-frames would come in.
        if (error == Errno.EOPNOTSUPP && mayBeGeneric && port.IsNativeXdp && !port.Settings.MayBeUnfinished)
        {
            port.IsNativeXdp = false;
            error = _hooks.AttachXdp(port.Ifindex, native: false);
        }

        return error switch
        {
            0 => null,
            Errno.ENOSPC => "native XDP: the device has fewer receive queues than its peer has transmit queues (ENOSPC)",
            Errno.ERANGE => "native XDP: the MTU is too large for the driver (ERANGE)",
            Errno.EEXIST => "an upper device carries an XDP program (EEXIST)",
            Errno.EBUSY => "somebody else's XDP program is attached (EBUSY)",
            _ => $"XDP attach: {Errno.Describe(error)}",
        };
    }

    private string? Open(FastPathPort port, ForwarderClient client)
    {
        int queues = port.Settings.Queues;
        ushort first = _slots.TakeXsks(queues);
        try
        {
            ForwarderMessage reply = client.AddPort(new ForwarderMessage
            {
                Port = port.Id,
                Generation = port.Generation,
                Ifindex = (uint)port.Ifindex,
                QueueCount = (uint)queues,
                XskBase = first,
                PortFlags = FlagsOf(port),
            });
            if (reply.Error is Errno.EINVAL or Errno.EOPNOTSUPP && port.Settings.IsPhysical && !port.Settings.MayBeUnfinished)
                _lasting.Add(port.Ifindex);
            if (reply.Error != 0)
                return Explain(reply);
            port.XskBase = first;
            port.Queues = queues;
            port.IsZeroCopy = (reply.PortFlags & ForwarderPortFlags.ZeroCopy) != 0;
            return null;
        }
        finally
        {
            if (!port.IsServed)
                _slots.ReturnXsks(first, queues);
        }
    }

    private static ForwarderPortFlags FlagsOf(FastPathPort port)
    {
        ForwarderPortFlags flags = ForwarderPortFlags.None;
        if (port.Settings.MayZeroCopy && port.IsNativeXdp)
            flags |= ForwarderPortFlags.ZeroCopy;
        if (port.Settings.HasZeroCopyChecksum)
            flags |= ForwarderPortFlags.ZeroCopyTxMetadata;
        if (port.Settings.IsPhysical)
            flags |= ForwarderPortFlags.IsPhysical;
        return flags;
    }

    private static string Explain(in ForwarderMessage reply) => reply.Error switch
    {
        Errno.ENOSPC => "the forwarder's packet memory is full (start it with a larger --arena-mib)",
        Errno.ENOBUFS => "AF_XDP: locked memory is limited (CAP_IPC_LOCK or LimitMEMLOCK=infinity)",
        _ => $"AF_XDP {reply.Step}: {Errno.Describe(reply.Error)}",
    };

    /// <summary>
    /// Off the fast path, a trunk after its VLANs: first nothing new is redirected from or to the port, then what was redirected gets
    /// through, then the forwarder lets it go, last XDP is detached.
    /// </summary>
    private void LeaveForwarder(FastPathPort port)
    {
        foreach (FastPathPort vlan in VlansOf(port.Ifindex))
            LeaveForwarder(vlan);
        if (port.IsActiveMember)
            Rest([port]);
        if (BondOf(port) is { IsCarried: true } bond)
            UpdateBond(bond, without: port);
        if (port.IsServed)
        {
            PortSettings settings = port.Settings;
            port.Settings = settings with { IsForwarding = false };
            Publish(port);
            TellMirror([port.Mirror]);
            Reaper.WaitForPrograms();
            TryBarrier();
            try
            {
                _forwarder.Client?.RemovePort(port.Id);
            }
            catch (ForwarderGoneException e)
            {
                Log.Warning($"{port.Device}: {e.Message}");
            }

            _slots.ReturnXsks(port.XskBase, port.Queues);
            port.Queues = 0;
            port.IsCarried = false;
            port.IsZeroCopy = false;
            port.Settings = settings;
        }

        _hooks.DetachXdp(port.Ifindex);
    }

    /// <summary>
    /// True if every frame redirected so far is through, or no forwarder is connected: one that was given up throws what it holds
    /// away when it wakes.
    /// </summary>
    private bool TryBarrier()
    {
        try
        {
            _forwarder.Client?.Barrier();
            return true;
        }
        catch (ForwarderGoneException)
        {
            return false;
        }
    }
}
