// The part of the fast path that is about redirect: which ports have the XDP program besides the hook at tc ingress, and which
// devices take XDP frames.
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.FastPath;

internal sealed unsafe partial class FastPathManager
{
    /// <summary>Brings a port's XDP program and its device slot in line with its settings, as far as those are not the forwarder's business.</summary>
    private void SetXdp(FastPathPort port)
    {
        if (port.IsVlan)
            return;     // its trunk has both
        if (port.Settings.Path != PortPath.Afxdp && port.Settings.HasXdpHook != _hooks.HasXdp(port.Ifindex))
        {
            if (port.Settings.HasXdpHook)
                AttachForRedirect(port);
            else
                _hooks.DetachXdp(port.Ifindex);
        }

        if (!port.Settings.TakesXdpFrames || !_hooks.HasXdp(port.Ifindex))
        {
            ClearDeviceSlot(port);
        }
        else if (!port.HasDeviceSlot)
        {
            _losses.Count();
            _maps.SetDevice(port.Id, port.Ifindex);
            port.HasDeviceSlot = true;
        }
    }

    /// <summary>A failure is remembered; the port then stays on its hook at tc ingress.</summary>
    private void AttachForRedirect(FastPathPort port)
    {
        if (_failures.ContainsKey(port.Ifindex) || Attach(port, mayBeGeneric: false) is not { } failure)
            return;
        if (port.Settings.IsPhysical && !port.Settings.MayBeUnfinished)
            _lasting.Add(port.Ifindex);
        _failures[port.Ifindex] = failure;
        Log.Warning($"{port.Device}: redirects at tc only: {failure}");
    }

    /// <summary>No XDP frame is given to the port's device from now on.</summary>
    private void ClearDeviceSlot(FastPathPort port)
    {
        if (!port.HasDeviceSlot)
            return;
        port.HasDeviceSlot = false;
        Publish(port);
        _maps.DeleteDevice(port.Id);
    }
}
