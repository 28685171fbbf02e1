// The programs of a port: policy on every port, XDP where its path needs it.
using XenFastPath.Interop;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.FastPath;

/// <summary>The two hooks of a port; see <see cref="Hooks"/>.</summary>
internal sealed class PortHooks
{
    private readonly Hooks _hooks;
    private readonly Hook _policy, _xdp;

    public PortHooks(BpfProgram program, PinFolder pins, Rtnl rtnl, bool mayUseTcx = true)
    {
        _policy = new Hook("policy", program.Policy, LibBpf.BPF_TCX_INGRESS, Bypass.OwnFilterPrefix + "policy");
        _xdp = new Hook("xdp", program.Xdp, LibBpf.BPF_XDP);
        _hooks = new Hooks(pins, rtnl, [_policy, _xdp], mayUseTcx);
    }

    /// <inheritdoc cref="Hooks.TakeOver"/>
    public void TakeOver() => _hooks.TakeOver();

    /// <summary>Puts the policy hook on a device, unless it is there.</summary>
    /// <exception cref="FastPathException">The kernel refused.</exception>
    public void AttachPolicy(int ifindex, string device) => _hooks.Attach(_policy, ifindex, device);

    /// <summary>Attaches XDP, unless it is there. Returns 0 or the errno.</summary>
    public int AttachXdp(int ifindex, bool native) => _hooks.AttachXdp(_xdp, ifindex, native);

    public bool HasXdp(int ifindex) => _hooks.Has(_xdp, ifindex);

    public void DetachXdp(int ifindex) => _hooks.Detach(_xdp, ifindex);

    /// <summary>Takes both hooks off; the device may be gone.</summary>
    public void DetachAll(int ifindex)
    {
        DetachXdp(ifindex);
        _hooks.Detach(_policy, ifindex);
    }
}
