// A fast path that only remembers, and checks at every call what must hold at that moment.
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Tests.Reconcile;

internal sealed class ModelFastPath(KernelModel kernel) : IFastPath
{
    private readonly Dictionary<int, PortSettings> _ports = [];
    private readonly Dictionary<int, string> _failures = [];
    private readonly Dictionary<ushort, string> _muted = [];

    public IReadOnlyDictionary<int, PortSettings> Ports => _ports;

    public IReadOnlyDictionary<int, string> Failures => _failures;

    public IReadOnlyDictionary<ushort, string> Muted => _muted;

    /// <summary>Devices on which AF_XDP sockets cannot be bound.</summary>
    public HashSet<int> Unfit { get; } = [];

    /// <summary>Devices whose policy hook cannot be attached.</summary>
    public HashSet<int> WithoutHook { get; } = [];

    public bool HasXdp(int ifindex) => _ports.TryGetValue(ifindex, out PortSettings? s) && s.Path == PortPath.Afxdp;

    public void Mute(ushort network, string reason) => _muted[network] = reason;

    public void Configure(int ifindex, string device, PortSettings settings)
    {
        LinkInfo link = kernel.Find(ifindex) ?? throw new RefusalException(device, "policy hook: ENODEV");
        if (WithoutHook.Contains(ifindex))
            throw new RefusalException(device, "policy hook: EPERM");
        Assert.Equal(link.Name, device);
        bool isAttached = link.MasterIndex != 0 && link.MasterIndex == settings.BridgeIfindex;
        Assert.True(settings.Path == PortPath.Bridge || isAttached, $"{device}: afxdp before it is attached");
        bool forwards = isAttached && link.BridgePort is { State: BridgePortState.Forwarding };
        Assert.True(!settings.IsForwarding || forwards, $"{device}: said to forward, but the bridge does not");
        if (settings.Path == PortPath.Afxdp && Unfit.Contains(ifindex))
            _failures[ifindex] = "bind: EOPNOTSUPP";
        _ports[ifindex] = settings;
    }

    public void Remove(int ifindex, string device)
    {
        Assert.True(_ports.Remove(ifindex), $"{device} is no port");
        _failures.Remove(ifindex);
    }

    public void Forgive(int ifindex) => _failures.Remove(ifindex);
}
