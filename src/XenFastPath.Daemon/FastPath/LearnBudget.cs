// How many new addresses a port may show per second. A guest that floods source addresses must cost nobody but its own Network.
namespace XenFastPath.Daemon.FastPath;

/// <summary>A token bucket: <paramref name="perSecond"/> on average, <paramref name="burst"/> at once. Times are CLOCK_MONOTONIC ns.</summary>
internal struct LearnBudget(int perSecond, int burst)
{
    private double _tokens = burst;
    private ulong _lastNs;

    /// <summary>Takes one token; false if there is none: the port is over its budget.</summary>
    public bool TryTake(ulong nowNs)
    {
        if (_lastNs != 0 && nowNs > _lastNs)
            _tokens = Math.Min(burst, _tokens + (nowNs - _lastNs) * 1e-9 * perSecond);
        _lastNs = nowNs;
        if (_tokens < 1)
            return false;
        _tokens--;
        return true;
    }
}
