// The FDB mirror: a thread that follows the kernel's forwarding database and keeps the fast path's two copies in step.
using System.Collections.Concurrent;
using Tmds.Linux;
using XenFastPath.Dataplane;
using XenFastPath.Interop;
using XenFastPath.Netlink;
using static Tmds.Linux.LibC;

namespace XenFastPath.Daemon.FastPath;

/// <summary>
/// Follows learn, move, age-out and flush. Control's heartbeat is this thread's: it is written only when everything that the kernel
/// had notified was applied and the controller is not late. Other threads talk to it through commands, as <see cref="Run"/>, done in the order they came.
/// </summary>
internal sealed unsafe class FdbMirror : IMirrorTables, IDisposable
{
    /// <summary>The longest sleep; an eighth of what makes the heartbeat stale.</summary>
    private const int TickMs = (int)(Layout.ControlStaleNs / 1_000_000 / 8);

    private const int MessagesPerDrain = 8192, BridgesDumpedOneByOne = 8;

    private readonly Rtnl _rtnl;
    private readonly BpfMaps _maps;
    private readonly NetlinkMonitor _monitor;
    private readonly MirrorState _state;
    private readonly Reaper _reaper;
    private readonly ConcurrentQueue<Action> _commands = new();
    private readonly int _wake;
    private readonly Thread _thread;
    private bool _stop;
    private bool _isPublishing;
    private long _resyncs;

    /// <summary>Starts to listen; nothing is published before <see cref="Publish"/>.</summary>
    public FdbMirror(BpfMaps maps, Reaper reaper, int macsMax)
    {
        _rtnl = new Rtnl();
        _maps = maps;
        _reaper = reaper;
        _state = new MirrorState(this);
        _monitor = new NetlinkMonitor(Interop.Netlink.NETLINK_ROUTE, [RtNetlink.RTNLGRP_NEIGH], receiveBufferBytes: 32 << 20);
        Table = new MacTableWriter(macsMax);
        _wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        _thread = new Thread(Loop) { IsBackground = true, Name = "fdb-mirror" };
        _thread.Start();
    }

    /// <summary>The forwarder's copy. Its descriptor may be passed on by any thread; its contents are this thread's.</summary>
    public MacTableWriter Table { get; }

    /// <summary>
    /// Has the controller not served what it was told for so long that port states may be old? The heartbeat speaks for them too,
    /// so it stops. Called on the mirror's thread.
    /// </summary>
    public Func<bool> IsControllerLate { get; set; } = () => false;

    /// <summary>Called on the mirror's thread when the set of muted Networks changes.</summary>
    public Action? MutedChanged { get; set; }

    /// <summary>Is control's heartbeat young, so that the program trusts the tables? Not before <see cref="Publish"/>.</summary>
    public bool IsTrusted => (long)(Clock.NowNs() - Volatile.Read(ref _maps.Heartbeats->ControlNs)) < Layout.ControlStaleNs;

    /// <summary>Does something on the mirror's thread, after everything notified so far has been applied; waits for it.</summary>
    public void Run(Action<MirrorState> action)
    {
        using ManualResetEventSlim done = new();
        Exception? failure = null;
        Post(action, e =>
        {
            failure = e;
            done.Set();
        });
        done.Wait();
        if (failure is not null)
            throw failure;
    }

    /// <summary>Takes ports in, changes or removes them, and reads what lies on them. In force when this returns.</summary>
    public void SetPorts(IReadOnlyList<MirrorPort> set, IReadOnlyList<int> remove) => Run(state => SetPorts(state, set, remove));

    /// <summary>The same without waiting, for ports that may take the kernel's way a little longer. What is asked for later comes later.</summary>
    public void BeginSetPorts(IReadOnlyList<MirrorPort> set) => Post(state => SetPorts(state, set, []), failure =>
    {
        if (failure is not null)
            Log.Error("fdb mirror: " + failure.Message);
    });

    private void SetPorts(MirrorState state, IReadOnlyList<MirrorPort> set, IReadOnlyList<int> remove)
    {
        foreach (int ifindex in remove)
            state.RemovePort(ifindex);
        HashSet<int> bridges = [];
        foreach (MirrorPort port in set)
        {
            if (state.SetPort(port))
                bridges.Add(port.BridgeIfindex);
        }

        Resync([.. bridges]);
    }

    /// <summary>Returns when everything notified before the call is in force: the number of entries in the tables.</summary>
    public int Sync()
    {
        int entries = 0;
        Run(state => entries = state.EntryCount);
        return entries;
    }

    /// <summary>From now on the program's table is written too; what an earlier daemon left in it is brought in line first.</summary>
    public void Publish() => Run(state =>
    {
        ulong nowNs = Clock.NowNs();
        foreach (ulong key in _maps.Fdb.Keys().Where(k => !state.Contains(k)))
            _maps.Fdb.Remove(key);
        MacTable reader = Table.Reader;
        foreach (ulong key in state.Keys)
        {
            if (reader.Lookup(key) is not (0 or MacTable.BusyWord) and ulong word
                && !(_maps.Fdb.TryGet(key, out FdbValue value) && value.Word == word && value.SuspectNs == 0))
                _maps.Fdb.TrySet(key, new FdbValue(word, nowNs, nowNs, 0));
        }

        _isPublishing = true;
    });

    /// <summary>Counters for <c>stats</c>.</summary>
    public Dictionary<string, long> Counters()
    {
        Dictionary<string, long> counters = [];
        Run(state =>
        {
            counters["entries"] = state.EntryCount;
            counters["events"] = state.Events;
            counters["moves"] = state.Moves;
            counters["mutes"] = state.Mutes;
            counters["table_full"] = state.TableFull;
            counters["resyncs"] = _resyncs;
        });
        return counters;
    }

    bool IMirrorTables.TrySet(ulong key, ulong word)
    {
        // Forwarder's copy first: as soon as the program redirects, the forwarder must know where to.
        // The entry's times start now: the kernel has just seen it.
        ulong nowNs = Clock.NowNs();
        if (Table.TrySet(key, word) && (!_isPublishing || _maps.Fdb.TrySet(key, new FdbValue(word, nowNs, nowNs, 0))))
            return true;
        ((IMirrorTables)this).Remove(key);
        return false;
    }

    void IMirrorTables.Remove(ulong key)
    {
        // The program's copy first; frames that it redirected already still need the other one, until the reaper says so.
        _maps.Fdb.Remove(key);
        _reaper.Defer(key);
    }

    /// <summary>Reaper: removes keys from the forwarder's copy, unless they have come back meanwhile, or came and went again.</summary>
    public void Reap(IReadOnlyList<ulong> keys) => Run(state =>
    {
        foreach (ulong key in keys)
        {
            if (!state.Contains(key) && !_reaper.IsDeferred(key))
                Table.Remove(key);
        }
    });

    public void Dispose()
    {
        Volatile.Write(ref _stop, true);
        Wake();
        _thread.Join();
        _monitor.Dispose();
        _rtnl.Dispose();
        Table.Dispose();
        close(_wake);
    }

    private void Loop()
    {
        pollfd* polled = stackalloc pollfd[2];
        while (!Volatile.Read(ref _stop))
        {
            Progress progress = Drain();
            // Before Publish the program's table is an earlier daemon's: nobody vouches for it.
            if (progress == Progress.CaughtUp && _isPublishing && !IsControllerLate())
                Volatile.Write(ref _maps.Heartbeats->ControlNs, Clock.NowNs());
            RunCommands();
            if (progress == Progress.More)
                continue;
            polled[0] = new pollfd { fd = _monitor.Fd, events = POLLIN };
            polled[1] = new pollfd { fd = _wake, events = POLLIN };
            poll(polled, 2, TickMs);
            ulong count;
            if (polled[1].revents != 0)
                read(_wake, &count, sizeof(ulong));
        }
    }

    private enum Progress
    {
        CaughtUp,
        More,

        /// <summary>netlink fails: no heartbeat until it works again, so that the program sends everything the kernel's way.</summary>
        Failed,
    }

    /// <summary>Applies what the kernel has notified.</summary>
    private Progress Drain()
    {
        try
        {
            Handler handler = new(_state, Clock.NowNs());
            NetlinkDrain drained = _monitor.Drain(ref handler, MessagesPerDrain);
            _state.Apply(Clock.NowNs());
            _state.UnmuteDue(Clock.NowNs());
            _state.ResyncDue |= drained.Overrun;
            if (_state.MutedChanged)
                FollowMuted();
            if (_state.ResyncDue && !drained.More)
            {
                _state.ResyncDue = false;
                Resync(_state.BridgesToDump);
                return Progress.More;   // what came in during the dump is newer than the dump
            }

            return drained.More ? Progress.More : Progress.CaughtUp;
        }
        catch (NetlinkException e)
        {
            Log.Error("fdb mirror: " + e.Message);
            _state.ResyncDue = true;
            return Progress.Failed;
        }
    }

    /// <summary>Reads bridges anew. Changes that the kernel makes meanwhile are in the monitor's queue and are applied after.</summary>
    private void Resync(int[] bridges)
    {
        if (bridges.Length == 0)
            return;
        _resyncs++;
        _state.Apply(Clock.NowNs());
        HashSet<ulong> unseen = _state.BeginResync(bridges);
        foreach (FdbEntry entry in Dump(bridges))
        {
            _state.Take(entry, Clock.NowNs(), isDumped: true);
            unseen.Remove(_state.KeyOf(entry));
        }

        _state.EndResync(unseen);
        _state.Apply(Clock.NowNs());
    }

    /// <summary>
    /// For the dump of one bridge the kernel walks all devices of the namespace, as it does for the dump of everything: many bridges
    /// are one walk together, and one each otherwise.
    /// </summary>
    private IEnumerable<FdbEntry> Dump(int[] bridges)
    {
        if (bridges.Length <= BridgesDumpedOneByOne)
            return bridges.SelectMany(Dump);
        HashSet<int> wanted = [.. bridges];
        return _rtnl.GetFdb().Where(e => wanted.Contains(e.MasterIndex));
    }

    /// <summary>A bridge that has gone holds nothing; its ports' next Configure names the one in its place.</summary>
    private List<FdbEntry> Dump(int bridge)
    {
        try
        {
            return _rtnl.GetFdb(bridge);
        }
        catch (NetlinkException e) when (e.Errno == Errno.ENODEV)
        {
            return [];
        }
    }

    private void FollowMuted()
    {
        _state.MutedChanged = false;
        int[] muted = _state.MutedPorts;
        _monitor.MuteNeighbours(muted.AsSpan(0, Math.Min(muted.Length, NetlinkMonitor.MutedMax)));
        MutedChanged?.Invoke();
    }

    private void RunCommands()
    {
        // Only what was queued when we began: a command that queues another must not starve the notifications.
        for (int count = _commands.Count; count > 0 && _commands.TryDequeue(out Action? command); count--)
        {
            // Everything notified before the command was queued is in force before it runs.
            while (Drain() == Progress.More)
            {
            }

            command();
        }
    }

    /// <summary>As <see cref="Run"/>, but <paramref name="done"/> is told instead, on the mirror's thread.</summary>
    private void Post(Action<MirrorState> action, Action<Exception?> done)
    {
        _commands.Enqueue(() =>
        {
            Exception? failure = null;
            try
            {
                action(_state);
            }
            catch (Exception e) when (e is NetlinkException or SystemCallException)
            {
                _state.ResyncDue = true;    // a port may be set and not read
                failure = e;
            }

            done(failure);
        });
        Wake();
    }

    private void Wake()
    {
        ulong one = 1;
        Libc.write(_wake, &one, sizeof(ulong));
    }

    private readonly struct Handler(MirrorState state, ulong nowNs) : INetlinkHandler
    {
        public void Handle(NetlinkMessage message)
        {
            if (FdbEntry.TryDecode(message, out FdbEntry entry))
                state.Take(entry, nowNs);
        }
    }
}
