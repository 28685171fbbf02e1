// Many changes one after the other, as a plan makes them: what can wait until its end does.

namespace XenFastPath.Daemon.FastPath;

internal sealed unsafe partial class FastPathManager
{
    /// <summary>
    /// Ports that the mirror is still to be told of, by ifindex. To tell it of one waits for its thread, which takes longer than all
    /// the rest of a port that is not on the fast path.
    /// </summary>
    private readonly Dictionary<int, MirrorPort> _untold = [];

    /// <summary>Ports that are on the fast path as far as the mirror knows.</summary>
    private readonly HashSet<int> _toldFast = [];

    private Batch? _batch;

    public IDisposable Begin() => _batch = new Batch(this);

    /// <summary>
    /// Tells the mirror of ports: at once where frames took the fast path by one of them until now. Those of a port that is new to it take
    /// the kernel's way until the mirror knows it, so that can wait.
    /// </summary>
    private void TellMirror(IReadOnlyList<MirrorPort> ports)
    {
        foreach (MirrorPort port in ports)
            _untold[port.Ifindex] = port;
        if (_batch is null || ports.Any(p => _toldFast.Contains(p.Ifindex)))
            _mirror.SetPorts(TakeUntold(), []);
    }

    private MirrorPort[] TakeUntold()
    {
        MirrorPort[] ports = [.. _untold.Values];
        _untold.Clear();
        foreach (MirrorPort port in ports)
        {
            if (port.IsFast)
                _toldFast.Add(port.Ifindex);
            else
                _toldFast.Remove(port.Ifindex);
        }

        return ports;
    }

    private void ForgetInMirror(int ifindex)
    {
        _untold.Remove(ifindex);
        _toldFast.Remove(ifindex);
        _mirror.SetPorts([], [ifindex]);
    }

    private sealed class Batch(FastPathManager manager) : IDisposable
    {
        private ExpeditedGrace? _grace;

        /// <summary>Programs are about to be hung on a device, or taken off.</summary>
        public void Expedite() => _grace ??= ExpeditedGrace.Begin(manager._runDir);

        public void Dispose()
        {
            manager._batch = null;
            _grace?.Dispose();
            if (manager.TakeUntold() is { Length: > 0 } ports)
                manager._mirror.BeginSetPorts(ports);
        }
    }
}
