// A change that is undone unless somebody confirms it. The daemon watches the time while it lives, a guard process when it does not.
using XenFastPath.Interop;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.Control;

internal sealed partial class Controller
{
    /// <summary>A rollback of which something failed, or that could not be written to the disk, is tried again after this.</summary>
    private const int RollBackRetryMs = 5000;

    /// <summary>What fails for a minute will not come right by waiting, and must not keep everybody from changing things.</summary>
    private const int RollBackTriesMax = 12;

    private readonly RollbackFile _rollbackFile;
    private readonly Action _startGuard;     // a process that undoes the change if this one cannot
    private Rollback? _pending;
    private long _rollBackNotBeforeMs;
    private int _rollBackTries;

    /// <summary>A rollback has begun and is not complete: in force, and on the disk.</summary>
    private bool IsRollingBack => _rollBackTries > 0;

    /// <summary>Seconds until what waits for its confirmation is undone; null if nothing waits.</summary>
    public int? SecondsLeft => _pending?.SecondsLeft(BootClock.BootId, BootClock.NowNs());

    private bool IsPendingDue => _pending?.IsDue(BootClock.BootId, BootClock.NowNs()) == true;

    private string WhyDue => _pending!.BootId != BootClock.BootId ? "the machine was rebooted before it was confirmed"
        : IsPendingDue ? "not confirmed in time" : "asked for";

    /// <summary>
    /// As <see cref="Commit(HostState, Observed, string)"/>, in steps of which the first may fail and the rest only forget: all of them or none. Undone after
    /// <paramref name="confirmSeconds"/> unless it is confirmed.
    /// </summary>
    /// <exception cref="RefusalException">The guard does not start, or a step failed.</exception>
    public void CommitUnlessUndone(IReadOnlyList<HostState> steps, Observed earlier, int? confirmSeconds, string why)
    {
        HostState before = State;
        Rollback? rollback = confirmSeconds is { } seconds ? Arm(steps[^1], earlier, Rollback.Deadline(BootClock.NowNs(), seconds)) : null;
        int done = 0;
        try
        {
            foreach (HostState step in steps)
            {
                Commit(step, done == 0 ? earlier : Observer.Look(State), why);
                done++;
            }
        }
        catch (Exception)
        {
            // Who asked reads that it was refused: what is in force of it must not stay.
            if (done > 0 && rollback is null)
                Undo(before, State, earlier, why);
            _pending = done > 0 ? rollback : null;
            if (_pending is not null)
                RollBack("it was refused");
            else if (rollback is not null)
                Disarm();
            throw;
        }

        _pending = rollback;
        if (SecondsLeft is { } left)
            Announce("state.pending", "state", $"rolled back in {left} s unless confirmed");
    }

    /// <summary>What waits for its confirmation stays.</summary>
    /// <exception cref="RefusalException">Nothing waits.</exception>
    public void Confirm()
    {
        if (_pending is null)
            throw new RefusalException("confirm", "nothing waits for a confirmation");
        if (IsRollingBack)
            throw new RefusalException("confirm", "it is being rolled back already");
        _rollbackFile.Delete();
        _pending = null;
        Announce("state.confirmed", "state", "confirmed");
    }

    /// <summary>Undoes at once what waits for its confirmation; what was undone.</summary>
    /// <exception cref="RefusalException">Nothing waits.</exception>
    public IReadOnlyList<StateChange> RollBack()
    {
        if (_pending is null)
            throw new RefusalException("rollback", "nothing waits for a confirmation");
        return RollBack(WhyDue);
    }

    /// <summary>What was wanted before goes to the disk, and a guard is started, before anything changes.</summary>
    private Rollback Arm(HostState wanted, Observed earlier, long deadlineNs)
    {
        IEnumerable<DeviceBefore> devices = Joining(State, wanted, earlier)
            .Select(d => new DeviceBefore(d.Index, d.MasterIndex != 0, d.Mtu, d.IsUp, d.Ipv6LinkLocal == true, HostAddresses.AreOn(d, earlier)));
        IEnumerable<Guid> plugged = wanted.Vifs.Select(v => v.Uuid).Except(State.Vifs.Select(v => v.Uuid));
        Rollback rollback = new(BootClock.BootId, deadlineNs, State, [.. plugged], [.. devices]);
        try
        {
            _rollbackFile.Save(rollback);
            _startGuard();
            return rollback;
        }
        catch (Exception e) when (IsExpected(e))
        {
            Disarm();
            throw new RefusalException("confirm", $"nothing was changed: {e.Message}");
        }
    }

    private void Disarm()
    {
        try
        {
            _rollbackFile.Delete();
        }
        catch (Exception e) when (IsExpected(e))
        {
            // A guard that finds it puts back what is wanted anyway.
            Log.Error($"{_rollbackFile.Path}: {e.Message}");
        }
    }

    /// <summary>After a restart of the daemon: the guard may have died with the one before.</summary>
    private void GoOnWaiting()
    {
        Announce("state.pending", "state", $"rolled back in {SecondsLeft} s unless confirmed");
        try
        {
            _startGuard();
        }
        catch (Exception e) when (IsExpected(e))
        {
            Log.Error($"guard: {e.Message}");
        }
    }

    private void RollBackIfDue()
    {
        if ((IsPendingDue || IsRollingBack) && Environment.TickCount64 >= _rollBackNotBeforeMs)
            RollBack(WhyDue);
    }

    /// <summary>First the machine, for somebody may wait outside for it; then the disk. A crash between leaves it all to be done again.</summary>
    private IReadOnlyList<StateChange> RollBack(string why)
    {
        Rollback rollback = _pending!;
        HostState now = State;
        if (_rollBackTries++ == 0)
            State = rollback.Undone(now);
        IReadOnlyList<StateChange> changes = StateChange.Between(now, State);
        bool isWhole = false;
        HashSet<string> failing = [.. _failing.Keys];
        _stuck.Clear();
        try
        {
            // Of another boot, there are no such devices.
            DeviceBefore[] devices = rollback.BootId == BootClock.BootId ? [.. rollback.Devices] : [];
            isWhole = GoBack([.. devices.Select(LinkOf)], devices.Where(d => d.HadAddresses).Select(d => d.Ifindex).ToHashSet(), "rollback")
                .All(f => failing.Contains(f.Subject));
        }
        catch (Exception e) when (IsExpected(e) || e is RefusalException)
        {
            Log.Error($"rollback: {e.Message}");
            ScheduleRetry();
        }

        foreach (StateChange change in changes)
            Announce(change.Event, change.Name, change.Detail);
        if (!isWhole && _rollBackTries < RollBackTriesMax)
        {
            Log.Error($"rollback: not all of it is in force; another try in {RollBackRetryMs} ms");
            _rollBackNotBeforeMs = Environment.TickCount64 + RollBackRetryMs;
            return changes;
        }

        try
        {
            _file.Save(State);
            _rollbackFile.Delete();
            _pending = null;
            _rollBackTries = 0;
            Announce("state.rolledback", "state", $"rolled back: {why}");
        }
        catch (Exception e) when (IsExpected(e))
        {
            Log.Error($"rollback: in force, but not on the disk yet: {e.Message}");
            _rollBackNotBeforeMs = Environment.TickCount64 + RollBackRetryMs;
        }

        return changes;
    }

    private static LinkInfo LinkOf(DeviceBefore device) => new()
    {
        Index = device.Ifindex,
        MasterIndex = device.WasInBridge ? -1 : 0,      // which one does not matter: it is left where it is
        Mtu = device.Mtu,
        Flags = device.WasUp ? LinkFlags.Up : 0,
        Ipv6LinkLocal = device.HadLinkLocal ? true : null,
    };

    /// <summary>What is wanted besides would vanish when it is rolled back; guests' interfaces come and go, and those that come are kept.</summary>
    private void RefuseWhilePending(HostState before, HostState wanted)
    {
        if (SecondsLeft is not null && StateChange.Between(before, wanted).Any(c => c is not { Kind: "vif", Verb: "plug" or "unplug" }))
            RefuseWhilePending();
    }

    /// <summary>One change waits at a time.</summary>
    /// <exception cref="RefusalException">One does: how long, and what to do.</exception>
    public void RefuseWhilePending()
    {
        if (SecondsLeft is { } left)
            throw new RefusalException("state", $"an apply waits for its confirmation, {left} s are left; xfp confirm or xfp rollback first");
    }
}
