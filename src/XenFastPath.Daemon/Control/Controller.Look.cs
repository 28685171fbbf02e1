// When the controller looks at the machine again: after events, as soon as it can be and not more often than it should.
namespace XenFastPath.Daemon.Control;

internal sealed partial class Controller
{
    /// <summary>How long a change of the links may wait to be looked at before the fast path is not to be trusted.</summary>
    private const int LateMsMax = 1000;

    /// <summary>The longest pause between two looks that events ask for; well below <see cref="LateMsMax"/>.</summary>
    private const int LookPauseMsMax = 300;

    private long _pokedAtMs;
    private long _lookingSinceMs;
    private long _failedSinceMs;
    private long _lookNotBeforeMs;
    private bool _isLookWaiting;

    /// <summary>Something may have changed: look again. Any thread; many pokes become one look.</summary>
    public void Poke()
    {
        if (Interlocked.CompareExchange(ref _pokedAtMs, Environment.TickCount64, 0) == 0)
            Post(LookAfterEvent);
    }

    /// <summary>Has something that may have changed not been looked at for so long that port states may be wrong? Any thread.</summary>
    public bool IsLate()
    {
        long failed = Volatile.Read(ref _failedSinceMs), looking = Volatile.Read(ref _lookingSinceMs), poked = Volatile.Read(ref _pokedAtMs);
        long since = failed != 0 ? failed : looking != 0 ? looking : poked;
        return since != 0 && Environment.TickCount64 - since > LateMsMax;
    }

    private int SleepMs => _isLookWaiting ? (int)Math.Clamp(_lookNotBeforeMs - Environment.TickCount64, 0, TickMs) : TickMs;

    /// <summary>
    /// Events come faster than a large host can be looked at: the kernel tells the carriers of thousands of ports over many seconds.
    /// So looks that events ask for take half of the time at most, and what else there is to do has the other half.
    /// </summary>
    private void LookAfterEvent()
    {
        long nowMs = Environment.TickCount64;
        _isLookWaiting = nowMs < _lookNotBeforeMs;
        if (_isLookWaiting)
            return;
        try
        {
            LookAgain("link event");
        }
        finally
        {
            long tookMs = Environment.TickCount64 - nowMs;
            _lookNotBeforeMs = nowMs + tookMs + Math.Min(tookMs, LookPauseMsMax);
        }
    }

    private void LookAgain(string why)
    {
        _isLookWaiting = false;
        long since = Interlocked.Exchange(ref _pokedAtMs, 0);
        Volatile.Write(ref _lookingSinceMs, since);
        try
        {
            Reconcile(why);
        }
        catch (Exception)
        {
            // Not looked at yet, whatever it was: the first such time counts until a look succeeds.
            Interlocked.CompareExchange(ref _failedSinceMs, since != 0 ? since : Environment.TickCount64, 0);
            throw;
        }
        finally
        {
            Volatile.Write(ref _lookingSinceMs, 0);
        }
    }
}
