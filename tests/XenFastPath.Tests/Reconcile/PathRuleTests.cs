// The path rule as a table: a port for which everything fits, and one thing after the other that speaks against afxdp.
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;
using XenFastPath.Tests.Model;

namespace XenFastPath.Tests.Reconcile;

public sealed class PathRuleTests
{
    private static readonly LinkInfo s_bridge = new()
    {
        Index = 2, Name = "lan", Kind = "bridge", Bridge = new BridgeData { AgeingTime = TimeSpan.FromSeconds(300) } };
    private static readonly LinkInfo s_veth = new() { Index = 3, Name = "vif1.0", Kind = "veth", MasterIndex = 2, BridgePort = new BridgePortData() };
    private static readonly NetdevInfo s_native = new(3, XdpFeatures.Basic | XdpFeatures.Redirect, 0, null, null);
    private static readonly PortFacts s_facts = new(s_native, 1, false, false);
    private static readonly LinkInfo s_nic = new() { Index = 3, Name = "eth0", ParentBusName = "pci", ParentDeviceName = "0000:03:00.0" };

    public static TheoryData<Datapath, int, LinkInfo?, string> Networks => new()
    {
        { Datapath.Afxdp, 1774, s_bridge, "afxdp: as set" },
        { Datapath.Afxdp, 1775, s_bridge, "bridge: MTU 1775 is over the 1774 that one AF_XDP buffer carries" },
        { Datapath.Afxdp, 1500, null, "bridge: the bridge does not exist yet" },
        { Datapath.Afxdp, 1500, s_veth, "bridge: the bridge does not exist yet" },
        { Datapath.Afxdp, 1500, With(b => b with { VlanFiltering = true }), "bridge: the bridge filters VLANs (vlan_filtering 1)" },
        { Datapath.Afxdp, 1500, With(b => b with { AgeingTime = TimeSpan.Zero }), "bridge: the bridge keeps no addresses (ageing_time 0)" },
        { Datapath.Redirect, 9000, s_bridge, "redirect: as set" },
        { Datapath.Redirect, 1500, null, "bridge: the bridge does not exist yet" },
        { Datapath.Redirect, 1500, With(b => b with { VlanFiltering = true }), "bridge: the bridge filters VLANs (vlan_filtering 1)" },
        { Datapath.Redirect, 1500, With(b => b with { AgeingTime = TimeSpan.Zero }), "bridge: the bridge keeps no addresses (ageing_time 0)" },
        { Datapath.Bridge, 1500, s_bridge, "bridge: as set" },
        { Datapath.Auto, 1500, s_bridge, "redirect: " + PathRule.AutoRedirects },
        { Datapath.Auto, 9000, s_bridge, "redirect: " + PathRule.AutoRedirects },
        { Datapath.Auto, 1500, null, "bridge: the bridge does not exist yet" },
        { Datapath.Auto, 1500, With(b => b with { VlanFiltering = true }), "bridge: auto: the bridge filters VLANs (vlan_filtering 1)" },
        { Datapath.Auto, 1500, With(b => b with { AgeingTime = TimeSpan.Zero }), "bridge: auto: the bridge keeps no addresses (ageing_time 0)" },
    };

    public static TheoryData<LinkInfo, PortFacts?, bool, string> Ports => new()
    {
        { s_veth, s_facts, false, "afxdp: as set" },
        { s_veth, s_facts, true, "afxdp: as set" },
        { s_veth with { BridgePort = null }, s_facts, false, "afxdp: as set" },
        { s_veth, null, false, "bridge: the device does not say what it can do" },
        { On(p => p with { Locked = true }), s_facts, false, "bridge: the bridge port is locked (802.1X)" },
        { On(p => p with { MacAuthBypass = true }), s_facts, false, "bridge: the bridge port is locked (802.1X)" },
        { On(p => p with { Learning = false }), s_facts, false, "bridge: learning is off on the bridge port" },
        { On(p => p with { NeighbourSuppress = true }), s_facts, false, "bridge: the bridge answers ARP for the port (neigh_suppress or proxy_arp)" },
        { On(p => p with { ProxyArp = true }), s_facts, false, "bridge: the bridge answers ARP for the port (neigh_suppress or proxy_arp)" },
        { On(p => p with { ProxyArpWifi = true }), s_facts, false, "bridge: the bridge answers ARP for the port (neigh_suppress or proxy_arp)" },
        { On(p => p with { Isolated = true, Hairpin = true }), s_facts, false, "afxdp: as set" },
        { s_veth, s_facts with { Queues = 8 }, false, "afxdp: as set" },
        { s_veth, s_facts with { Queues = 9 }, false, "bridge: 9 receive queues; at most 8 (ethtool -L vif1.0 combined 8)" },
        { s_nic, s_facts with { StripsTags = true }, true, "afxdp: as set" },
        { s_nic, s_facts with { HidesTags = true }, true,
            "bridge: the driver takes VLAN tags out of frames and cannot be told not to (rx-vlan-hw-parse)" },
        { s_veth, s_facts with { Xdp = null }, false, "afxdp: as set" },        // such kernels are asked by trying
        { s_veth, Xdp(XdpFeatures.Basic), false, NoNative },
        { s_veth, Xdp(XdpFeatures.Redirect), false, NoNative },
        { s_veth, Xdp(XdpFeatures.None), false, NoNative },
        { s_nic, Xdp(XdpFeatures.None), true, "afxdp: as set" },                // in generic mode
        { s_nic, s_facts, false, "afxdp: as set" },
        { s_veth with { Kind = "tun", Tun = new TunData(TunType.Tap, false, false, false, 1) }, s_facts, false, "afxdp: as set" },
        { s_veth with { Kind = "tun", Tun = new TunData(TunType.Tap, true, false, false, 1) }, s_facts, false,
            "bridge: a tap with virtio headers delivers GSO frames" },
        { s_veth with { Kind = "tun" }, s_facts, false, "bridge: a tap with virtio headers delivers GSO frames" },
        { s_veth with { Kind = null, ParentBusName = "xen-backend" }, s_facts, false, "bridge: netback delivers the guest's GSO frames" },
        { s_veth with { Kind = "bond", Bond = new() { Mode = BondMode.RoundRobin } }, s_facts, true, "bridge: a balance-rr bond is not carried by afxdp" },
        { s_veth with { Kind = "bond", Bond = new() { Mode = BondMode.Lacp } }, null, true,
            "bridge: the bond has 0 members; 1 to 8 can be carried by afxdp" },
        { s_veth with { Kind = "dummy" }, s_facts, false, "bridge: a dummy is no vif that afxdp knows" },
        { s_veth with { Kind = null }, s_facts, false, "bridge: a device without a kind is no vif that afxdp knows" },
        { s_veth with { Kind = null }, s_facts, true, "bridge: a device of kind unknown is not carried by afxdp yet" },
        { s_veth with { Xdp = new XdpAttachment(XdpMode.Generic, 77, 0, 77, 0) }, s_facts, false,
            "bridge: the device carries somebody else's XDP program (id 77)" },
    };

    /// <summary>The same ports in a Network on redirect: all of them take it, and the reason says whether with XDP.</summary>
    public static TheoryData<LinkInfo, PortFacts?, bool, string> Redirecting => new()
    {
        { s_veth, Xdp(Native | XdpFeatures.Transmit), false, "redirect: XDP between ports that carry XDP frames, tc elsewhere" },
        { s_veth, s_facts, false, "redirect: tc: frames are skbs, the other end takes no XDP frames" },
        { s_veth, Xdp(XdpFeatures.None), false, "redirect: tc: frames are skbs, native XDP is off" },
        { s_veth, s_facts with { Xdp = null }, false, "redirect: tc: the device does not say whether it takes XDP frames" },
        { s_veth, null, false, "redirect: tc: the device does not say whether it takes XDP frames" },
        { s_nic, s_facts, true, "redirect: XDP between ports that carry XDP frames, tc elsewhere" },
        { s_nic, s_facts with { Queues = 64 }, true, "redirect: XDP between ports that carry XDP frames, tc elsewhere" },
        { s_nic, Xdp(XdpFeatures.None), true, "redirect: tc: frames are skbs, native XDP is off" },
        { s_nic, s_facts with { HidesTags = true }, true,
            "redirect: tc: the driver takes VLAN tags out of frames and cannot be told not to (rx-vlan-hw-parse)" },
        { s_nic with { Xdp = new XdpAttachment(XdpMode.Driver, 77, 77, 0, 0) }, s_facts, true,
            "redirect: tc: the device carries somebody else's XDP program (id 77)" },
        { s_veth with { Kind = "tun", Tun = new TunData(TunType.Tap, true, false, false, 1) }, s_facts, false, "redirect: tc: frames are skbs" },
        { s_veth with { Kind = null, ParentBusName = "xen-backend" }, s_facts, false, "redirect: tc: frames are skbs" },
        { s_veth with { Kind = "bond", Bond = new() { Mode = BondMode.RoundRobin } }, null, true, "redirect: tc: the kernel picks the bond's member" },
        { s_veth with { Kind = "dummy" }, s_facts, false, "redirect: tc: frames are skbs" },
        { On(p => p with { Learning = false }), s_facts, false, "bridge: learning is off on the bridge port" },
        { On(p => p with { Locked = true }), s_facts, false, "bridge: the bridge port is locked (802.1X)" },
    };

    private static XdpFeatures Native => XdpFeatures.Basic | XdpFeatures.Redirect;

    private static string NoNative =>
        "bridge: native XDP is off (has the veth fewer receive queues than its peer has transmit queues?); without it GSO frames come in";

    [Theory]
    [MemberData(nameof(Networks))]
    public void Of_a_network(Datapath datapath, int mtu, LinkInfo? bridge, string expected) =>
        Assert.Equal(expected, TextOf(PathRule.Decide(Make.Network(1, "lan", mtu: mtu, datapath: datapath), bridge, Filtered())));

    [Theory]
    [InlineData(Datapath.Auto, "bridge: auto: filters are in use, which other paths bypass: nft chain bridge t c, qdisc tbf on vif1.0")]
    [InlineData(Datapath.Redirect, "redirect: as set")]     // somebody has said so, and is told
    [InlineData(Datapath.Afxdp, "afxdp: as set")]
    [InlineData(Datapath.Bridge, "bridge: as set")]
    public void Of_a_network_with_filters(Datapath datapath, string expected) => Assert.Equal(expected,
        TextOf(PathRule.Decide(Make.Network(1, "lan", datapath: datapath), s_bridge, Filtered("nft chain bridge t c", "qdisc tbf on vif1.0"))));

    [Theory]
    [MemberData(nameof(Ports))]
    public void Of_a_port(LinkInfo port, PortFacts? facts, bool isPif, string expected)
    {
        Observed observed = Look(port, facts, new ModelFastPath(new KernelModel()));
        Assert.Equal(expected, TextOf(PathRule.Decide(new PathDecision(PortPath.Afxdp, "as set"), port, isPif, observed)));
        // A Network on the bridge has no port elsewhere, whatever the port could do.
        PathDecision bridge = new(PortPath.Bridge, "why not");
        Assert.Equal(bridge, PathRule.Decide(bridge, port, isPif, observed));
    }

    [Theory]
    [MemberData(nameof(Redirecting))]
    public void Of_a_port_that_redirects(LinkInfo port, PortFacts? facts, bool isPif, string expected)
    {
        Observed observed = Look(port, facts, new ModelFastPath(new KernelModel()));
        Assert.Equal(expected, TextOf(PathRule.Decide(new PathDecision(PortPath.Redirect, "as set"), port, isPif, observed)));
    }

    [Fact]
    public void Our_own_program_and_a_failure()
    {
        Host host = new();
        LinkInfo vif = host.AddVeth("vif1.0");
        host.Plug("vif1.0", host.Create("lan", datapath: Datapath.Afxdp));
        host.Converge();
        host.Kernel.Edit(vif.Index, l => l with { Xdp = new XdpAttachment(XdpMode.Driver, 5, 5, 0, 0) });
        Assert.Equal("afxdp: as set", Decide(host));
        host.FastPath.Unfit.Add(vif.Index);
        host.FastPath.Configure(vif.Index, "vif1.0", host.FastPath.Ports[vif.Index]);
        Assert.Equal("bridge: bind: EOPNOTSUPP", Decide(host));
        host.FastPath.Forgive(vif.Index);
        Assert.Equal("afxdp: as set", Decide(host));
    }

    [Fact]
    public void A_flood_changes_what_is_in_force_and_nothing_else()
    {
        Host host = new();
        Network lan = host.Create("lan", datapath: Datapath.Afxdp), dmz = host.Create("dmz", datapath: Datapath.Afxdp);
        host.FastPath.Mute(lan.Id, "vif1.0 floods");
        PathDecision fast = new(PortPath.Afxdp, "as set"), slow = new(PortPath.Bridge, "as set");
        Assert.Equal(new PathDecision(PortPath.Bridge, "vif1.0 floods"), PathRule.InForce(fast, lan, host.FastPath));
        Assert.Equal(fast, PathRule.InForce(fast, dmz, host.FastPath));
        Assert.Equal(slow, PathRule.InForce(slow, lan, host.FastPath));
    }

    private static string Decide(Host host)
    {
        Observed observed = host.Look();
        Network lan = host.State.NetworkOf("lan");
        return TextOf(PathRule.Decide(PathRule.Decide(lan, observed.BridgeOf(lan), observed), observed.Link("vif1.0")!, false, observed));
    }

    private static LinkInfo With(Func<BridgeData, BridgeData> edit) => s_bridge with { Bridge = edit(s_bridge.Bridge!) };

    private static LinkInfo On(Func<BridgePortData, BridgePortData> edit) => s_veth with { BridgePort = edit(s_veth.BridgePort!) };

    private static PortFacts Xdp(XdpFeatures features) => s_facts with { Xdp = s_native with { Features = features } };

    private static Observed Filtered(params string[] filters) => new([s_bridge], "", 0, new Dictionary<int, PortFacts>(),
        filters.Length == 0 ? new Dictionary<string, IReadOnlyList<string>>() : new() { ["lan"] = filters }, new ModelFastPath(new KernelModel()));

    private static Observed Look(LinkInfo port, PortFacts? facts, IFastPath fastPath) => new(
        [s_bridge, port], "", 0, facts is null ? new Dictionary<int, PortFacts>() : new() { [port.Index] = facts },
        new Dictionary<string, IReadOnlyList<string>>(), fastPath);

    private static string TextOf(PathDecision decision) => $"{decision.Path.ToString().ToLowerInvariant()}: {decision.Reason}";
}
