// Routes and rules against ip's requests and a real kernel's answers (6.18), and made again through another link.
using System.Net;
using XenFastPath.Netlink;
using static XenFastPath.Interop.Netlink;
using static XenFastPath.Interop.RtNetlink;

namespace XenFastPath.Tests.Netlink;

public sealed class RouteTests
{
    private const int Rtmsg = 12, FibRuleHeader = 12, Ifaddrmsg = 8;
    private const int Ra = 3, Rb = 2, Other = 9;      // Ra and Rb: ifindexes at capture
    private const byte Ours = 120;

    private static IPAddress Ip(string text) => IPAddress.Parse(text);

    private static List<RouteInfo> Routes(string golden) => Golden.Load(golden).Decode<RouteInfo>(RouteInfo.TryDecode);

    private static List<RuleInfo> Rules => Golden.Load("dump-rules").Decode<RuleInfo>(RuleInfo.TryDecode);

    [Fact]
    public void Route_requests_are_those_of_ip()
    {
        RouteInfo route = RouteInfo.To(false, null, 0, Ip("192.0.2.1"), Ra, Ours, metric: 50);
        Golden.Load("req-route-default").AssertSame(FakeKernel.CaptureRtnl(r => r.AddRoute(route)), Rtmsg);
        // ip does not say the scope of what it deletes; we say all that we know.
        Golden.Load("req-route-del").AssertSame(FakeKernel.CaptureRtnl(r => r.DeleteRoute(route)), Rtmsg, headerIgnored: true);
        RouteInfo link = RouteInfo.To(false, Ip("203.0.113.0"), 24, null, Ra, Ours);
        Golden.Load("req-route-link").AssertSame(FakeKernel.CaptureRtnl(r => r.AppendRoute(link)), Rtmsg);
        RouteInfo six = RouteInfo.To(true, null, 0, Ip("2001:db8::1"), Ra, Ours);
        byte[] request = FakeKernel.CaptureRtnl(r => r.ReplaceRoute(six));
        // ip spells the destination of an IPv6 default route out.
        Golden.Load("req-route-default6").AssertSame(request, Rtmsg, attributesIgnored: "/1");
    }

    [Fact]
    public void Dumps_ask_for_one_link_or_one_maker()
    {
        List<byte[]> requests = [];
        var kernel = new FakeKernel(request =>
        {
            requests.Add(request);
            return [FakeKernel.Done(request)];
        });
        using var rtnl = new Rtnl(new NetlinkSocket(kernel));
        Assert.Empty(rtnl.GetRoutes(isIpv6: true, Ra));
        Assert.Empty(rtnl.GetRoutesOf(isIpv6: false, Ours));
        Assert.Empty(rtnl.GetRules(isIpv6: false));
        Assert.Equal([10, 2, 2], requests.Select(r => (int)r[NLMSG_HDRLEN]));
        Assert.Equal(Ra, new NetlinkAttributes(requests[0].AsSpan(NLMSG_HDRLEN + Rtmsg)).Find(RTA_OIF).S32);
        Assert.Equal(Ours, requests[1][NLMSG_HDRLEN + 5]);
        Golden.Load("dump-rules").AssertSame(requests[2], FibRuleHeader);
    }

    [Fact]
    public void Routes_of_a_kernel()
    {
        List<RouteInfo> all = Routes("dump-routes");
        RouteInfo gateway = all.Single(r => r is { PrefixLength: 0, Table: 254 });
        Assert.Equal((Ra, Ip("192.0.2.1"), 50u, Ip("192.0.2.10"), 1400),
            (gateway.Ifindex, gateway.Gateway!, gateway.Metric, gateway.PreferredSource!, gateway.MtuBytes));
        Assert.Equal((RTPROT_DHCP, RTN_UNICAST, AddressScope.Universe), (gateway.Protocol, gateway.Type, gateway.Scope));
        Assert.Equal("default via 192.0.2.1 metric 50", gateway.ToString());
        RouteInfo onLink = all.Single(r => r.Table == 100);
        Assert.Equal((true, Ip("203.0.113.77"), "10.0.0.0/8 via 203.0.113.77 table 100"), (onLink.IsOnLink, onLink.Gateway!, onLink.ToString()));
        RouteInfo multi = all.Single(r => r.Table == 1000);
        Assert.Equal([new RouteHop(Ra, Ip("192.0.2.1"), 2, false), new RouteHop(Rb, Ip("198.51.100.1"), 3, false)], multi.Hops);
        Assert.Equal((0, true, true, false), (multi.Ifindex, multi.Uses(Ra), multi.Uses(Rb), multi.Uses(Other)));
        Assert.Equal(Ip("fe80::1"), all.Single(r => Ip("10.2.0.0").Equals(r.Destination)).Gateway);
        Assert.Equal((RTN_BLACKHOLE, 0), all.Where(r => Ip("10.3.0.0").Equals(r.Destination)).Select(r => (r.Type, r.Ifindex)).Single());
        RouteInfo prefix = all.Single(r => Ip("192.0.2.0").Equals(r.Destination) && r.Table == 254);
        Assert.Equal((RTPROT_KERNEL, AddressScope.Link, 24), (prefix.Protocol, prefix.Scope, prefix.PrefixLength));
    }

    [Fact]
    public void Ipv6_routes_of_a_kernel()
    {
        List<RouteInfo> all = Routes("dump-routes6");
        Assert.All(all, r => Assert.True(r.IsIpv6));
        RouteInfo table = all.Single(r => r.Table == 200);
        Assert.Equal((Ra, Ip("2001:db8::1"), 1024u), (table.Ifindex, table.Gateway!, table.Metric));
        RouteInfo expiring = all.Single(r => Ip("2001:db8:3::").Equals(r.Destination));
        Assert.InRange(expiring.ExpiresSeconds ?? 0, 590u, 601u);
        Assert.Contains(all, r => r.Protocol == Ours && r.PrefixLength == 0);
    }

    [Theory]
    [InlineData("dump-routes")]
    [InlineData("dump-routes6")]
    public void A_route_is_made_again_through_another_link(string golden)
    {
        foreach (RouteInfo route in Routes(golden))
        {
            byte[] same = FakeKernel.CaptureRtnl(r => r.AppendRoute(route)), other = FakeKernel.CaptureRtnl(r => r.AppendRoute(route.Through(Ra, Other)));
            RouteInfo again = Decode(same), moved = Decode(other);
            Assert.Equal(route, again);
            Assert.Equal(route.GetHashCode(), again.GetHashCode());
            Assert.Equal(route.Uses(Ra), moved.Uses(Other));
            Assert.False(moved.Uses(Ra));
            Assert.Equal(route.Uses(Ra), !route.Equals(moved));
            Assert.Equal(route, moved.Through(Other, Ra));
            Assert.Equal(route.ToString(), moved.ToString());
        }
    }

    [Fact]
    public void Rule_requests_are_those_of_ip()
    {
        RuleInfo rule = Rules.Single(r => r.Priority == 100);
        // The kernel reports what ip leaves at its default: protocol (21) and suppressed prefix length (14); the table also in full (15).
        string[] reported = ["/14", "/15", "/21"];
        byte[] add = Without(FakeKernel.CaptureRtnl(r => r.AddRule(rule)), reported);
        Golden.Load("req-rule-add").AssertSame(add, FibRuleHeader);
        byte[] delete = FakeKernel.CaptureRtnl(r => r.DeleteRule(rule));
        Assert.Equal(RTM_DELRULE, FakeKernel.Header(delete).nlmsg_type);
    }

    [Fact]
    public void Rules_of_a_kernel()
    {
        RuleInfo from = Rules.Single(r => r.Priority == 100), fwmark = Rules.Single(r => r.Priority == 101), gone = Rules.Single(r => r.Priority == 102);
        Assert.Equal((Ip("192.0.2.0"), "ra", null, 100u), (from.Source!, from.InputDevice, from.OutputDevice, from.Table));
        Assert.Equal("100: from 192.0.2.0/24 iif ra lookup 100", from.ToString());
        Assert.Equal((null, "ra", 1000u), (fwmark.InputDevice, fwmark.OutputDevice, fwmark.Table));
        Assert.True(fwmark.Names("ra") && !fwmark.Names("rb") && gone.Names("gone"));
        RuleInfo moved = fwmark.For("ra", "xenbr0");
        Assert.Equal("101: oif xenbr0 lookup 1000", moved.ToString());
        Assert.NotEqual(fwmark, moved);
        Assert.Equal(fwmark, moved.For("xenbr0", "ra"));
        Assert.Equal(fwmark, fwmark.For("rb", "xenbr0"));
        byte[] request = FakeKernel.CaptureRtnl(r => r.AddRule(moved));
        Assert.True(NetlinkMessage.TryRead(request, out NetlinkMessage message) && RuleInfo.TryDecode(message, out RuleInfo? again) && again.Equals(moved));
    }

    [Fact]
    public void An_address_keeps_lifetimes_metric_and_maker()
    {
        var address = new AddressInfo(Ra, Ip("2001:db8:1::10"), 64)
        {
            Metric = 77,
            ValidSeconds = 3600,
            PreferredSeconds = 1800,
            Flags = AddressFlags.NoDuplicateDetection | AddressFlags.ManagesTemporary,
        };
        byte[] request = FakeKernel.CaptureRtnl(r => r.AddAddress(address));
        Golden.Load("req-addr-add-timed").AssertSame(request, Ifaddrmsg, headerIgnored: true);
        Assert.True(NetlinkMessage.TryRead(FakeKernel.CaptureRtnl(r => r.AddAddress(address with { Protocol = Ours })), out NetlinkMessage message));
        Assert.True(AddressInfo.TryDecode(message, out AddressInfo? again));
        Assert.Equal(address with { Protocol = Ours }, again);
    }

    private static RouteInfo Decode(byte[] request) =>
        NetlinkMessage.TryRead(request, out NetlinkMessage message) && RouteInfo.TryDecode(message, out RouteInfo? route)
            ? route : throw new InvalidDataException("no route");

    private static byte[] Without(byte[] request, string[] paths)
    {
        var writer = new NetlinkWriter(new byte[request.Length]);
        writer.Begin(FakeKernel.Header(request).nlmsg_type, FakeKernel.Header(request).nlmsg_flags);
        byte[] header = request[NLMSG_HDRLEN..(NLMSG_HDRLEN + FibRuleHeader)];
        writer.Header(System.Runtime.InteropServices.MemoryMarshal.Read<XenFastPath.Interop.fib_rule_hdr>(header));
        foreach (NetlinkAttribute attribute in new NetlinkAttributes(request.AsSpan(NLMSG_HDRLEN + FibRuleHeader)))
        {
            if (!paths.Contains($"/{attribute.Type}"))
                writer.Bytes(attribute.Type, attribute.Value);
        }

        return writer.Written.ToArray();
    }
}
