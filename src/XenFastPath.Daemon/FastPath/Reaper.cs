// Keys leave the forwarder's copy of the FDB only when no frame can need them any more.
using XenFastPath.Interop;

namespace XenFastPath.Daemon.FastPath;

/// <summary>
/// Collects deleted keys and takes them through two waits: an RCU grace period, after which no run of the program redirects to
/// them, and a barrier in the forwarder, after which no redirected frame waits in a ring. Then they may go.
/// </summary>
internal sealed class Reaper : IDisposable
{
    private readonly Lock _lock = new();
    private readonly AutoResetEvent _work = new(false);
    private readonly Thread _thread;
    private HashSet<ulong> _deferred = [];
    private volatile bool _stop;

    public Reaper()
    {
        _thread = new Thread(Loop) { IsBackground = true, Name = "reaper" };
    }

    /// <summary>How soon a batch that a barrier refused is tried again.</summary>
    internal static TimeSpan RetryAfter { get; } = TimeSpan.FromMilliseconds(200);

    /// <summary>Waits until frames that the program has redirected are through; false if the forwarder does not answer.</summary>
    public Func<bool>? Barrier { get; set; }

    /// <summary>Removes keys from the forwarder's copy.</summary>
    public Action<IReadOnlyList<ulong>>? Remove { get; set; }

    public void Start() => _thread.Start();

    /// <summary>The key is no longer in the program's copy.</summary>
    public void Defer(ulong key)
    {
        lock (_lock)
            _deferred.Add(key);
        _work.Set();
    }

    /// <summary>
    /// Does the key wait for a batch that has not begun? Then it was deleted (again) after the batch that is being removed now was
    /// collected, and frames may have been redirected to it since: it is not that batch's to remove.
    /// </summary>
    public bool IsDeferred(ulong key)
    {
        lock (_lock)
            return _deferred.Contains(key);
    }

    public void Dispose()
    {
        _stop = true;
        _work.Set();
        _thread.Join();
        _work.Dispose();
    }

    /// <summary>No run of the program that began before the call is still going on when this returns.</summary>
    public static void WaitForPrograms()
    {
        const int graceMs = 200;
        if (Libc.MembarrierGlobal() != 0)
            Thread.Sleep(graceMs);      // nohz_full kernels refuse; a run of the program takes microseconds
    }

    private void Loop()
    {
        bool isRefused = false;
        while (!_stop)
        {
            // A refused batch is tried again soon even if no other key is deleted. By then the connection that refused it has been
            // given up; the pause is there so that nothing else can make this thread spin either.
            if (isRefused)
                _work.WaitOne(RetryAfter);
            else
                _work.WaitOne();
            HashSet<ulong> batch;
            lock (_lock)
            {
                batch = _deferred;
                _deferred = [];
            }

            isRefused = false;
            if (batch.Count == 0 || _stop)
                continue;
            WaitForPrograms();
            if (Barrier?.Invoke() != false)
            {
                Remove?.Invoke([.. batch]);
                continue;
            }

            // The forwarder stands still. Whatever it has redirected frames for stays known.
            isRefused = true;
            lock (_lock)
                _deferred.UnionWith(batch);
        }
    }
}
