// The controller: one thread that owns the desired state and brings the machine in line with it.
using System.Collections.Concurrent;
using XenFastPath.Api;
using XenFastPath.Daemon.FastPath;
using XenFastPath.Daemon.Host;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.Control;

/// <summary>
/// Requests, link events and the forwarder's fate all become work for this one thread, one piece after the other. Everything
/// below it is single-threaded for that reason.
/// </summary>
internal sealed partial class Controller : IDisposable
{
    /// <summary>A plan that is not empty after so many passes does not converge: somebody else works against us.</summary>
    private const int PassesMax = 10;

    /// <summary>How often the forwarder is looked after; zero-copy ports allow it 300 ms.</summary>
    private const int TickMs = 100;

    /// <summary>What failed is tried again after this, doubled each time up to the maximum.</summary>
    private const int RetryMsMin = 1000, RetryMsMax = 60_000;

    private readonly BlockingCollection<Action> _work = [];
    private readonly StateFile _file;
    private readonly Rtnl _rtnl;
    private readonly Applier _applier;
    private readonly Thread _thread;
    private readonly CancellationTokenSource _stop = new();
    private Dictionary<string, string> _lastPaths = [];
    private readonly HashSet<PlanAction> _stuck = [];
    private Dictionary<string, string> _failing = [];

    /// <summary>What is being undone, until all of it is: a later look must know as much.</summary>
    private Undoing? _undoing;
    private long _retryAtMs;
    private int _retryMs = RetryMsMin;

    public Controller(StateFile file, HostState state, RollbackFile rollbackFile, Action startGuard,
        Rtnl rtnl, GenericNetlink generic, FastPathManager fastPath, Observer observer, EventHub events, Func<Action, HostServices> host)
    {
        Host = host(Poke);
        _file = file;
        _rollbackFile = rollbackFile;
        _startGuard = startGuard;
        _rtnl = rtnl;
        FastPath = fastPath;
        Observer = observer;
        Events = events;
        _applier = new Applier(rtnl, generic, fastPath, Announcement.Send);
        State = state;
        _pending = rollbackFile.Load();
        fastPath.Forwarder.Died = client => Post(() => ForwarderDied(client));
        fastPath.Mirror.MutedChanged = () => Post(MutedChanged);
        fastPath.Mirror.IsControllerLate = IsLate;
        _thread = new Thread(Run) { Name = "controller" };
    }

    public HostState State { get; private set; }

    public FastPathManager FastPath { get; }

    public Observer Observer { get; }

    public EventHub Events { get; }

    public Rtnl Rtnl => _rtnl;

    /// <summary>DHCP clients, DNS, and who else manages devices.</summary>
    public HostServices Host { get; }

    /// <summary>The latest problems that reconciling found: a missing device, a foreign bridge in the way.</summary>
    public IReadOnlyList<RefusalException> Problems { get; private set; } = [];

    /// <summary>Brings the machine in line with the state file, finds the forwarder, and starts the thread.</summary>
    public void Start()
    {
        Converge(mustRollBack: false);
        if (_pending is not null)
            GoOnWaiting();
        _thread.Start();
    }

    /// <summary>
    /// Brings the machine in line with the state file: with what was wanted before, if a change was not confirmed in time, or if
    /// it is to be undone now.
    /// </summary>
    public void Converge(bool mustRollBack)
    {
        // The bridges work without it; ports that ask for afxdp say why they have not got it.
        TryForwarder(FastPath.Start);
        if (_pending is not null && (mustRollBack || IsPendingDue))
            RollBack(WhyDue);
        else
            Reconcile("start");
        TryForwarder(FastPath.GoUp);
    }

    /// <summary>Asks the controller's thread for something; exceptions come back to the caller.</summary>
    public Task<T> Ask<T>(Func<T> question)
    {
        TaskCompletionSource<T> answer = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Post(() =>
        {
            try
            {
                answer.SetResult(question());
            }
            catch (RefusalException e)
            {
                answer.SetException(new RefusedException(e.Subject, e.Reason));
            }
            catch (NetlinkException e)
            {
                answer.SetException(new RefusedException(e.ObjectName, e.Message));
            }
            catch (Exception e) when (IsExpected(e))
            {
                answer.SetException(new RefusedException("xenfastpathd", e.Message));
            }
            catch (Exception e)
            {
                answer.SetException(e);
            }
        });
        return answer.Task;
    }

    /// <summary>Tells subscribers and the log.</summary>
    public void Announce(string kind, string subject, string message)
    {
        Log.Info($"{subject}: {message}");
        Events.Publish(new EventInfo(DateTimeOffset.UtcNow, kind, subject, message));
    }

    public void Dispose()
    {
        _stop.Cancel();
        if (_thread.IsAlive)
            _thread.Join();
        _work.Dispose();
        _stop.Dispose();
    }

    private void Post(Action work)
    {
        if (!_stop.IsCancellationRequested)
            _work.Add(work);
    }

    private void Run()
    {
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                if (_work.TryTake(out Action? work, SleepMs, _stop.Token))
                    work();
                Tick();
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (Exception e) when (IsExpected(e))
            {
                Log.Error(e.Message);
                ScheduleRetry();
            }
        }
    }

    private void Tick()
    {
        RollBackIfDue();    // first: whatever else goes wrong
        FastPath.Tick();
        if (FastPath.CheckForwarder())
        {
            Log.Info("forwarder: answers again");
            RestartForwarder();
        }

        if (_isLookWaiting && Environment.TickCount64 >= _lookNotBeforeMs)
            LookAfterEvent();
        if (Host.IsDue)
            LookAgain("DHCP client");
        if (_retryAtMs == 0 || Environment.TickCount64 < _retryAtMs)
            return;
        _retryAtMs = 0;
        // None could be had so far. One that was given up is CheckForwarder's, one that died its watcher's.
        if (FastPath.Forwarder.Latest is not { } client || (client.IsConnected && !FastPath.Forwarder.IsUp))
            RestartForwarder();
        FastPath.ForgivePassing();
        _stuck.Clear();
        LookAgain("retry");
    }

    private void ForwarderDied(ForwarderClient client)
    {
        if (FastPath.Forwarder.Latest != client)
            return;
        Announce("forwarder.down", "forwarder", "died; frames go the bridge's way while another is started");
        RestartForwarder();
    }

    private void RestartForwarder()
    {
        if (!TryForwarder(FastPath.Restart))
            return;
        Announce("forwarder.up", "forwarder", $"pid {FastPath.Forwarder.Client?.Pid} serves {FastPath.ServedCount} ports");
        Reconcile("new forwarder");
    }

    /// <summary>Does something that needs the forwarder; what fails is tried again later.</summary>
    private bool TryForwarder(Action step)
    {
        try
        {
            step();
            return true;
        }
        catch (Exception e) when (e is FastPathException or Interop.SystemCallException)
        {
            Log.Error("forwarder: " + e.Message);
            ScheduleRetry();
            return false;
        }
    }

    private void MutedChanged()
    {
        FastPath.RefreshMuted();
        AnnouncePaths(Observer.Look(State));
    }

    /// <summary>
    /// Looks, plans, applies, until there is nothing to do or nothing that can be done. Returns what failed. A step that failed
    /// before is not tried again at every event, but when its time comes or somebody asks.
    /// </summary>
    private IReadOnlyList<RefusalException> Reconcile(string why, Undoing? undoing = null)
    {
        Dictionary<string, RefusalException> failures = [];
        Observed? known = null;
        _undoing = undoing ?? _undoing;
        using IDisposable lines = Log.Batch();
        for (int pass = 0; ; pass++)
        {
            Observed observed = known ?? Observer.Look(State);
            if (known is null)
                FollowDevices(observed);
            Plan plan = Plan.Diff(State, observed, _undoing);
            Problems = plan.Problems;
            known = plan.Actions.All(a => Follow.LeavesLinks(a, observed)) ? observed : null;
            PlanAction? last = null;
            foreach (StepFailure failure in _applier.Apply(plan, _stuck, action => Keep(Follow.Before(State, action, observed)), action =>
            {
                Log.Info($"{last = action} ({why})");
                Host.Done(action);
                Keep(Follow.After(State, action, observed));
            }))
            {
                failures.TryAdd(failure.Reason.Subject, failure.Reason);
                _stuck.Add(failure.Step);
            }

            if (last is not null && pass < PassesMax)
                continue;
            if (last is not null)
            {
                failures[last.Subject] = new RefusalException(last.Subject, $"does not stay as it is set: {last}");
                _stuck.Add(last);
            }

            Host.Converge(State, observed);
            AnnouncePaths(observed);
            Remember(failures);
            if (_stuck.Count == 0)
                _undoing = null;
            Volatile.Write(ref _failedSinceMs, 0);
            return [.. failures.Values];
        }
    }

    /// <summary>Each failure is logged once, and tried again later.</summary>
    private void Remember(Dictionary<string, RefusalException> failures)
    {
        foreach (RefusalException failure in failures.Values)
        {
            if (!_failing.TryGetValue(failure.Subject, out string? known) || known != failure.Message)
                Log.Error(failure.Message);
            _failing[failure.Subject] = failure.Message;
        }

        if (_stuck.Count == 0)
            _failing.Clear();
        if (_stuck.Count > 0 || FastPath.HasPassingFailures)
            ScheduleRetry();
        else if (_retryAtMs == 0)
            _retryMs = RetryMsMin;
    }

    /// <summary>What a step has done or is about to do, on the disk too.</summary>
    /// <exception cref="RefusalException">It could not be written; the state is as it was.</exception>
    private void Keep(HostState state)
    {
        if (ReferenceEquals(state, State))
            return;
        if (!IsRollingBack)
            Save(state, State);     // a rollback goes to the disk as a whole, when it is in force
        State = state;
    }

    private void FollowDevices(Observed observed)
    {
        (HostState state, IReadOnlyList<Happening> happenings) = Follow.Devices(State, observed);
        if (ReferenceEquals(state, State))
            return;
        State = state;
        if (!IsRollingBack)
            _file.Save(State);
        foreach (Happening happening in happenings)
            Announce(happening.Kind, happening.Subject, happening.Message);
    }

    /// <summary>Tells what has become of each port since the last look.</summary>
    private void AnnouncePaths(Observed observed)
    {
        Dictionary<string, string> paths = [];
        foreach (Network network in State.Networks)
        {
            foreach ((LinkInfo device, bool isPif) in Views.PortsOf(network, State, observed))
            {
                string state = Views.StateOf(device);
                PortPathInfo path = Views.PathOf(network, device, isPif, observed, FastPath);
                paths[device.Name] = $"{state}, path {path.Path} ({path.Reason})";
                if (!_lastPaths.TryGetValue(device.Name, out string? before) || before != paths[device.Name])
                    Announce("port.changed", device.Name, paths[device.Name]);
            }
        }

        _lastPaths = paths;
    }

    private static bool IsExpected(Exception e) =>
        e is NetlinkException or FastPathException or Interop.SystemCallException or IOException or UnauthorizedAccessException;

    private void ScheduleRetry()
    {
        if (_retryAtMs != 0)
            return;
        _retryAtMs = Environment.TickCount64 + _retryMs;
        _retryMs = Math.Min(_retryMs * 2, RetryMsMax);
    }
}
