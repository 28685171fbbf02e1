// A fast path that only remembers, and checks at every call what must hold at that moment.
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Tests.Reconcile;

internal sealed class ModelFastPath(KernelModel kernel) : IFastPath, ISlb
{
    private readonly Dictionary<int, SlbSettings> _slb = [];
    private readonly Dictionary<int, PortSettings> _ports = [];
    private readonly Dictionary<int, int> _told = [];
    private readonly Dictionary<int, string> _failures = [];
    private readonly Dictionary<ushort, string> _muted = [];

    public IReadOnlyDictionary<int, PortSettings> Ports => _ports;

    public IReadOnlyDictionary<int, string> Failures => _failures;

    public IReadOnlyDictionary<ushort, string> Muted => _muted;

    public ISlb Slb => this;

    public IReadOnlyDictionary<int, SlbSettings> Bonds => _slb;

    /// <summary>Devices on which AF_XDP sockets cannot be bound.</summary>
    public HashSet<int> Unfit { get; } = [];

    /// <summary>Devices whose policy hook cannot be attached.</summary>
    public HashSet<int> WithoutHook { get; } = [];

    public bool HasXdp(int ifindex) => _ports.TryGetValue(ifindex, out PortSettings? s) && HasXdp(s);

    private static bool HasXdp(PortSettings settings) => settings.Path == PortPath.Afxdp || settings.HasXdpHook;

    public void Mute(ushort network, string reason) => _muted[network] = reason;

    public IDisposable Begin() => new Batch();

    public void Configure(int ifindex, string device, PortSettings settings)
    {
        LinkInfo link = kernel.Find(ifindex) ?? throw new RefusalException(device, "policy hook: ENODEV");
        if (WithoutHook.Contains(ifindex))
            throw new RefusalException(device, "policy hook: EPERM");
        Assert.Equal(link.Name, device);
        bool isAttached = link.MasterIndex != 0 && link.MasterIndex == settings.BridgeIfindex;
        bool isMember = link.MasterIndex != 0 && link.MasterIndex == settings.BondIfindex;
        Assert.True(settings.Path == PortPath.Bridge || isAttached || isMember, $"{device}: {settings.Path} before it is attached");
        bool forwards = isAttached && link.BridgePort is { State: BridgePortState.Forwarding };
        Assert.True(!settings.IsForwarding || forwards, $"{device}: said to forward, but the bridge does not");
        Assert.True(!settings.HasXdpHook || !kernel.StrippingTags.Contains(ifindex), $"{device}: XDP with tags stripped");
        if (HasXdp(settings) && Unfit.Contains(ifindex))
            _failures[ifindex] = "bind: EOPNOTSUPP";
        _ports[ifindex] = settings;
    }

    public void Remove(int ifindex, string device)
    {
        Assert.True(_ports.Remove(ifindex, out PortSettings? settings), $"{device} is no port");
        if (settings.BondIfindex == 0)
            _failures.Remove(ifindex);
        _told.Remove(ifindex);
    }

    public IReadOnlyDictionary<int, int> ToldMembers => _told;

    public void TellMember(int bond, string device, int member, IReadOnlyList<UplinkPort> uplinks)
    {
        Assert.Equal(member, kernel.Find(bond)!.Bond!.ActiveSlaveIndex);
        Assert.All(uplinks, u => Assert.NotNull(kernel.Find(u.BridgeIfindex)!.Bridge));
        _told[bond] = member;
    }

    public void Forgive(int ifindex) => _failures.Remove(ifindex);

    void ISlb.Configure(int ifindex, string device, SlbSettings settings)
    {
        LinkInfo link = kernel.Find(ifindex) ?? throw new RefusalException(device, "hook: ENODEV");
        Assert.Equal(BondMode.Xor, link.Bond!.Mode);
        _slb[ifindex] = settings;
    }

    void ISlb.Remove(int ifindex, string device) => Assert.True(_slb.Remove(ifindex), $"{device} has no balance-slb");

    void ISlb.Forget(int portIfindex)
    {
    }

    SlbReport? ISlb.ReportOf(int ifindex) => !_slb.TryGetValue(ifindex, out SlbSettings? settings) ? null
        : new SlbReport([.. settings.Members.Members.ToArray().Select(m => new SlbMemberReport(m, 100 + m, 1000 * m))],
            new Dictionary<string, long> { ["out_bucket"] = ifindex });

    private sealed class Batch : IDisposable
    {
        public void Dispose()
        {
        }
    }
}
