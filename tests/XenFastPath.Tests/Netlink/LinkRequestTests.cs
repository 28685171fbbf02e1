// Link requests against those of ip, bridge and bpftool.
using System.Net;
using XenFastPath.Netlink;
using static XenFastPath.Interop.Netlink;

namespace XenFastPath.Tests.Netlink;

public sealed class LinkRequestTests
{
    private const int Ifinfomsg = 16;
    private const int Va = 5, Vb = 4, Bridge = 2;      // ifindexes at capture

    private static void Same(string golden, Action<Rtnl> client) =>
        Golden.Load(golden).AssertSame(FakeKernel.CaptureRtnl(client), Ifinfomsg);

    [Fact]
    public void Create_bridge() => Same("req-create-bridge", r => r.CreateLink(
        "xbr0",
        new BridgeSettings
        {
            ForwardDelay = TimeSpan.Zero,
            AgeingTime = TimeSpan.FromSeconds(300),
            Stp = false,
            MulticastSnooping = false,
            GroupForwardMask = 0x4000,
            Priority = 4096,
            CallsIptables = true,
            CallsIp6tables = false,
            CallsArptables = true,
        },
        new LinkSettings { Mtu = 1400, Address = MacAddress.Parse("52:54:00:00:00:01") }));

    [Fact]
    public void Create_bridge_with_vlan_filtering() => Same("req-create-bridge-vlan", r =>
        r.CreateLink("xbr9", new BridgeSettings { VlanFiltering = true, VlanDefaultPvid = 0 }));

    [Fact]
    public void Create_veth()
    {
        var peer = new LinkSettings { Name = "vb", TxQueues = 2, Address = MacAddress.Parse("52:54:00:00:00:0b") };
        byte[] request = FakeKernel.CaptureRtnl(r =>
            r.CreateLink("va", new VethSettings(peer), new LinkSettings { Mtu = 1300, TxQueues = 2, RxQueues = 2 }));
        Golden.Load("req-create-veth").AssertSame(request, Ifinfomsg, nestedHeaders: VethPeerHeader);
    }

    [Fact]
    public void Create_veth_with_peer_in_another_namespace()
    {
        var peer = new LinkSettings { Name = "vd", NamespaceFd = 4 };
        byte[] request = FakeKernel.CaptureRtnl(r => r.CreateLink("vc", new VethSettings(peer)));
        Golden.Load("req-create-veth-netns").AssertSame(request, Ifinfomsg, nestedHeaders: VethPeerHeader);
    }

    [Fact]
    public void Create_vlan() => Same("err-create-vlan", r => r.CreateLink("va.5", new VlanSettings(Va, 5)),
        "/18/2/5");     // IFLA_VLAN_PROTOCOL: ip leaves 802.1Q to the kernel

    [Fact]
    public void Create_vlan_of_8021ad() =>
        Same("req-create-qinq", r => r.CreateLink("va.7", new VlanSettings(Va, 7, 0x88a8)));

    [Fact]
    public void Create_bond() => Same("err-create-bond", r => r.CreateLink("bond0", new BondSettings
    {
        Mode = BondMode.Lacp,
        MiiMonitorMs = 100,
        UpDelayMs = 200,
        DownDelayMs = 300,
        UseCarrier = true,
        HashPolicy = BondHashPolicy.Layer34,
        MinLinks = 1,
        LacpRateFast = true,
        FailOverMac = 0,
    }));

    [Fact]
    public void Create_bond_with_arp_monitor() => Same("req-create-bond-arp", r => r.CreateLink(
        "bond1",
        new BondSettings
        {
            Mode = BondMode.ActiveBackup,
            ArpIntervalMs = 500,
            ArpTargets = [IPAddress.Parse("192.0.2.1"), IPAddress.Parse("192.0.2.2")],
        }));

    [Fact]
    public void Create_vxlan() => Same("req-create-vxlan", r => r.CreateLink("vx0", new VxlanSettings(42)
    {
        Remote = IPAddress.Parse("192.0.2.1"),
        Local = IPAddress.Parse("192.0.2.2"),
        LowerIndex = Va,
        Ttl = 64,
        Learning = false,
    }));

    [Fact]
    public void Create_vxlan_over_ipv6() => Same("req-create-vxlan6", r => r.CreateLink("vx6", new VxlanSettings(43)
    {
        Remote = IPAddress.Parse("ff05::1"),
        Local = IPAddress.Parse("2001:db8::2"),
        LowerIndex = Va,
        Port = 8472,
        Learning = true,
    }));

    [Fact]
    public void Alias_and_link_local_take_a_second_request_that_also_sets_up()
    {
        var kernel = new FakeKernel();
        using var rtnl = new Rtnl(new NetlinkSocket(kernel));
        rtnl.CreateLink(
            "xbr0", new BridgeSettings(), new LinkSettings { Alias = "x", Ipv6LinkLocal = false, Up = true });
        Assert.Equal(2, kernel.Requests.Count);
        Assert.Equal("0000000000000000", Golden.Hex(kernel.Requests[0].AsSpan(24, 8)));     // ifi_flags, ifi_change
        Assert.Equal("0100000001000000", Golden.Hex(kernel.Requests[1].AsSpan(24, 8)));
        Assert.Equal(NLM_F_REQUEST | NLM_F_ACK, FakeKernel.Header(kernel.Requests[1]).nlmsg_flags);
        var attributes = new NetlinkAttributes(kernel.Requests[1].AsSpan(32));
        Assert.Equal("xbr0", attributes.Find(3).Text);
        Assert.Equal("x", attributes.Find(20).Text);
    }

    [Fact]
    public void Creation_is_taken_back_when_its_second_request_fails()
    {
        int count = 0;
        var kernel = new FakeKernel(request =>
            [FakeKernel.Ack(request, ++count == 2 ? 34 : 0, count == 2 ? "too long" : null)]);
        using var rtnl = new Rtnl(new NetlinkSocket(kernel));
        NetlinkException e = Assert.Throws<NetlinkException>(
            () => rtnl.CreateLink("xbr0", new BridgeSettings(), new LinkSettings { Alias = "x" }));
        Assert.Equal("create bridge xbr0: ERANGE (Numerical result out of range): too long", e.Message);
        Assert.Equal(17, FakeKernel.Header(kernel.Requests[2]).nlmsg_type);
        Assert.Equal("xbr0", new NetlinkAttributes(kernel.Requests[2].AsSpan(32)).Find(3).Text);
    }

    [Fact]
    public void What_needs_a_second_request_cannot_be_set_in_another_namespace() => CannotCreate(
        new LinkSettings { Alias = "x", NamespaceFd = 3 });

    [Fact]
    public void Change_one_setting()
    {
        Same("req-up", r => r.SetUp(Va, true));
        Same("req-down", r => r.SetUp(Vb, false));
        Same("req-mtu", r => r.SetMtu(Va, 1450));
        Same("req-address", r => r.SetAddress(Va, MacAddress.Parse("52:54:00:00:00:0a")));
        Same("req-rename", r => r.SetName(8, "vx7"));
        Same("req-alias", r => r.SetAlias(Va, "XenFastPath port"));
        Same("req-master", r => r.SetMaster(Va, Bridge));
        Same("req-nomaster", r => r.SetMaster(Va, 0));
        Same("req-addrgenmode", r => r.SetIpv6LinkLocal(Va, false));
        Same("req-netns", r => r.SetNamespace(8, 4));
        Same("req-altname-add", r => r.AddAltName(Va, "a-long-alternative-name"));
        Same("req-altname-del", r => r.RemoveAltName(Va, "a-long-alternative-name"));
        Same("req-delete", r => r.DeleteLink(7));
    }

    [Fact]
    public void Several_settings_go_into_one_request()
    {
        byte[] request = FakeKernel.CaptureRtnl(r =>
            r.ChangeLink(Va, new LinkSettings { Mtu = 9000, Up = true, MasterIndex = Bridge, TxQueueLength = 500 }));
        var attributes = new NetlinkAttributes(request.AsSpan(32));
        Assert.Equal(9000u, attributes.Find(4).U32);
        Assert.Equal(2u, attributes.Find(10).U32);
        Assert.Equal(500u, attributes.Find(13).U32);
        Assert.Equal("05000000" + "01000000" + "01000000", Golden.Hex(request.AsSpan(20, 12)));
    }

    [Fact]
    public void Change_bridge() => Same("req-bridge-change", r => r.ChangeLink(
        Bridge, new BridgeSettings { AgeingTime = TimeSpan.FromSeconds(10), Stp = true, CallsArptables = false }));

    [Fact]
    public void Change_bridge_port() => Same("req-brport", r => r.SetBridgePort(Va, AllPortSettings(true) with
    {
        State = BridgePortState.Forwarding,
        PathCost = 7,
        Priority = 9,
    }));

    [Fact]
    public void Change_bridge_port_back() => Same("req-brport-reset", r => r.SetBridgePort(Va, AllPortSettings(false)));

    [Fact]
    public void Attach_and_detach_xdp()
    {
        Same("req-xdp-attach", r => r.SetXdp(Vb, 3, XdpFlags.OnlyIfNone | XdpFlags.Generic));
        Same("req-xdp-detach", r => r.SetXdp(Vb, -1, XdpFlags.OnlyIfNone | XdpFlags.Generic));
    }

    [Fact]
    public void Replacing_an_expected_xdp_program_says_so()
    {
        byte[] request = FakeKernel.CaptureRtnl(r => r.SetXdp(Vb, 9, XdpFlags.Driver, expectedFd: 8));
        NetlinkAttributes xdp = new NetlinkAttributes(request.AsSpan(32)).Find(43).Nested;
        Assert.Equal((9, 16u | 4u, 8), (xdp.Find(1).S32, xdp.Find(3).U32, xdp.Find(8).S32));
    }

    [Fact]
    public void Get_link_by_name_altname_and_all()
    {
        byte[] byName = CaptureGet(r => r.GetLink("nosuch0"));
        byte[] byAltName = CaptureGet(r => r.GetLink("a-long-alternative-name"));
        const string ExtMask = "/29";      // ip asks for VF information as well
        Golden.Load("err-get-link").AssertSame(byName, Ifinfomsg, NLM_F_ACK, attributesIgnored: ExtMask);
        Golden.Load("get-link-altname").AssertSame(byAltName, Ifinfomsg, NLM_F_ACK, attributesIgnored: ExtMask);
        byte[] dump = CaptureGet(r => r.GetLinks());
        // The family of ip's dump is AF_PACKET.
        Golden.Load("dump-links").AssertSame(dump, Ifinfomsg, headerIgnored: true, attributesIgnored: ExtMask);
        Assert.Equal(new string('0', 32), Golden.Hex(dump.AsSpan(16, 16)));
        byte[] bare = CaptureGet(r => r.GetLinks(withCounters: false));
        Assert.Equal(8u, new NetlinkAttributes(bare.AsSpan(32)).Find(29).U32);     // IFLA_EXT_MASK: RTEXT_FILTER_SKIP_STATS
    }

    private static void CannotCreate(LinkSettings settings) => Assert.Throws<ArgumentException>(
        () => FakeKernel.CaptureRtnl(r => r.CreateLink("x", new PlainKind("dummy"), settings)));

    private static readonly Dictionary<string, int> VethPeerHeader = new() { ["/18/2/1"] = Ifinfomsg };

    private static void Same(string golden, Action<Rtnl> client, params string[] ignored) =>
        Golden.Load(golden).AssertSame(FakeKernel.CaptureRtnl(client), Ifinfomsg, attributesIgnored: ignored);

    private static byte[] CaptureGet(Action<Rtnl> client)
    {
        var kernel = new FakeKernel(request => [FakeKernel.Done(request)]);
        using var rtnl = new Rtnl(new NetlinkSocket(kernel));
        client(rtnl);
        return kernel.Requests[0];
    }

    private static BridgePortSettings AllPortSettings(bool on) => new()
    {
        Guard = on,
        Hairpin = on,
        FastLeave = on,
        Protect = on,
        Learning = on,
        UnicastFlood = on,
        MulticastFlood = on,
        BroadcastFlood = on,
        NeighbourSuppress = on,
        Isolated = on,
        Locked = on,
    };
}
