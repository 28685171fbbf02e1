// The controller: one thread that owns the desired state and brings the machine in line with it.
using System.Collections.Concurrent;
using XenFastPath.Api;
using XenFastPath.Daemon.FastPath;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.Control;

/// <summary>
/// Requests, link events and the forwarder's fate all become work for this one thread, one piece after the other. Everything
/// below it is single-threaded for that reason.
/// </summary>
internal sealed class Controller : IDisposable
{
    /// <summary>A plan that is not empty after so many passes does not converge: somebody else works against us.</summary>
    private const int PassesMax = 6;

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
    private int _poked;
    private long _retryAtMs;
    private int _retryMs = RetryMsMin;

    public Controller(StateFile file, Rtnl rtnl, GenericNetlink generic, FastPathManager fastPath, Observer observer, EventHub events)
    {
        _file = file;
        _rtnl = rtnl;
        FastPath = fastPath;
        Observer = observer;
        Events = events;
        _applier = new Applier(rtnl, generic, fastPath);
        State = file.Load();
        fastPath.Forwarder.Died = () => Post(ForwarderDied);
        fastPath.Mirror.MutedChanged = () => Post(MutedChanged);
        _thread = new Thread(Run) { Name = "controller" };
    }

    public HostState State { get; private set; }

    public FastPathManager FastPath { get; }

    public Observer Observer { get; }

    public EventHub Events { get; }

    public Rtnl Rtnl => _rtnl;

    /// <summary>The latest problems that reconciling found: a missing device, a foreign bridge in the way.</summary>
    public IReadOnlyList<RefusalException> Problems { get; private set; } = [];

    /// <summary>Brings the machine in line with the state file, finds the forwarder, and starts the thread.</summary>
    public void Start()
    {
        try
        {
            FastPath.Start();
        }
        catch (FastPathException e)
        {
            // The bridges work without it; ports that ask for afxdp say why they have not got it.
            Log.Error("forwarder: " + e.Message);
            _retryAtMs = Environment.TickCount64 + RetryMsMin;
        }

        Reconcile("start");
        FastPath.GoUp();
        _thread.Start();
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
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or Interop.SystemCallException)
            {
                answer.SetException(new RefusedException(_file.Path, e.Message));
            }
            catch (Exception e)
            {
                answer.SetException(e);
            }
        });
        return answer.Task;
    }

    /// <summary>Something may have changed: look again. Any thread; many pokes become one look.</summary>
    public void Poke()
    {
        if (Interlocked.Exchange(ref _poked, 1) == 0)
            Post(() => LookAgain("link event"));
    }

    /// <summary>Makes a new desired state real, or nothing at all: if a step fails, everything goes back and the request is refused.</summary>
    public void Commit(HostState wanted, string why)
    {
        HostState before = State;
        // Written first: after a crash from here on, the next daemon finishes what was asked.
        _file.Save(wanted);
        State = wanted;
        IReadOnlyList<RefusalException> failures = Reconcile(why);
        if (failures.Count == 0)
            return;
        IEnumerable<DoomedBridge> made = wanted.Networks.Where(n => before.Networks.All(b => b.Uuid != n.Uuid)).Select(n => new DoomedBridge(n.Uuid, n.Bridge));
        State = before with { Doomed = [.. before.Doomed, .. made] };
        _file.Save(State);
        Reconcile($"undo {why}");
        throw failures[0];
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
                if (_work.TryTake(out Action? work, TickMs, _stop.Token))
                    work();
                Tick();
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (Exception e) when (e is NetlinkException or FastPathException or Interop.SystemCallException or IOException or UnauthorizedAccessException)
            {
                Log.Error(e.Message);
                ScheduleRetry();
            }
        }
    }

    private void Tick()
    {
        if (FastPath.CheckForwarder())
        {
            Log.Info("forwarder: answers again");
            FastPath.Start();
            LookAgain("forwarder is back");
            FastPath.GoUp();
        }

        if (_retryAtMs != 0 && Environment.TickCount64 >= _retryAtMs)
        {
            _retryAtMs = 0;
            if (FastPath.Forwarder.Latest is not { } client || !client.IsConnected && FastPath.Forwarder.IsStale)
                ForwarderDied();
            foreach (int ifindex in FastPath.Failures.Keys.ToList())
                FastPath.Forgive(ifindex);
            LookAgain("retry");
        }
    }

    private void LookAgain(string why)
    {
        Volatile.Write(ref _poked, 0);
        Reconcile(why);
    }

    private void ForwarderDied()
    {
        Announce("forwarder.down", "forwarder", "died; frames go the bridge's way while another is started");
        FastPath.Restart();
        Announce("forwarder.up", "forwarder", $"pid {FastPath.Forwarder.Client?.Pid} serves all ports");
        Reconcile("new forwarder");
    }

    private void MutedChanged()
    {
        FastPath.RefreshMuted();
        AnnouncePaths(Observer.Look(State));
    }

    /// <summary>Looks, plans, applies, until there is nothing to do. Returns what failed.</summary>
    private IReadOnlyList<RefusalException> Reconcile(string why)
    {
        for (int pass = 0; ; pass++)
        {
            Observed observed = Observer.Look(State);
            FollowDevices(observed);
            Plan plan = Plan.Diff(State, observed);
            Problems = plan.Problems;
            if (plan.IsEmpty)
            {
                AnnouncePaths(observed);
                if (FastPath.Failures.Count > 0)
                    ScheduleRetry();
                else
                    _retryMs = RetryMsMin;
                return [];
            }

            IReadOnlyList<RefusalException> failures = _applier.Apply(plan, action => Log.Info($"{action} ({why})"));
            if (failures.Count == 0 && pass < PassesMax)
                continue;
            if (failures.Count == 0)
                failures = [new RefusalException(plan.Actions[0].Subject, $"does not stay as it is set: {plan.Actions[0]}")];
            foreach (RefusalException failure in failures)
                Log.Error(failure.Message);
            ScheduleRetry();
            return failures;
        }
    }

    private void FollowDevices(Observed observed)
    {
        (HostState state, IReadOnlyList<Happening> happenings) = Follow.Devices(State, observed);
        if (ReferenceEquals(state, State))
            return;
        State = state;
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

    private void ScheduleRetry()
    {
        if (_retryAtMs != 0)
            return;
        _retryAtMs = Environment.TickCount64 + _retryMs;
        _retryMs = Math.Min(_retryMs * 2, RetryMsMax);
    }
}
