// The addresses, routes and rules of the kernel in memory.
using XenFastPath.Interop;
using XenFastPath.Netlink;
using XenFastPath.Tests.Netlink;
using static XenFastPath.Interop.Netlink;
using static XenFastPath.Interop.RtNetlink;

namespace XenFastPath.Tests.Reconcile;

internal sealed partial class KernelModel
{
    public List<AddressInfo> Addresses { get; } = [];

    public List<RouteInfo> Routes { get; } = [];

    public List<RuleInfo> Rules { get; } = [];

    /// <summary>Told of each host request, before it is done: what, and the device.</summary>
    public Action<string> HostRequest { get; set; } = _ => { };

    /// <summary>A route as the kernel shows one that goes by a next-hop object.</summary>
    public static RouteInfo ByNexthop(RouteInfo route, uint id)
    {
        byte[] request = FakeKernel.CaptureRtnl(r => r.AddRoute(route));
        var writer = new NetlinkWriter(new byte[request.Length + 64]);
        writer.Begin(RTM_NEWROUTE, 0);
        writer.Header(System.Runtime.InteropServices.MemoryMarshal.Read<rtmsg>(request.AsSpan(NLMSG_HDRLEN)));
        foreach (NetlinkAttribute attribute in new NetlinkAttributes(request.AsSpan(NLMSG_HDRLEN + 12)))
            writer.Bytes(attribute.Type, attribute.Value);
        writer.U32(RTA_NH_ID, id);
        NetlinkMessage.TryRead(writer.Written, out NetlinkMessage message);
        return RouteInfo.TryDecode(message, out RouteInfo? made) ? made : throw new InvalidDataException("no route");
    }

    /// <summary>A rule "PRIORITY: iif DEVICE lookup TABLE".</summary>
    public static RuleInfo Rule(uint priority, string input, byte table)
    {
        var writer = new NetlinkWriter(new byte[128]);
        writer.Begin(RTM_NEWRULE, 0);
        writer.Header(new fib_rule_hdr { family = AF_INET, table = table, action = 1 });
        writer.U32(FibRules.FRA_PRIORITY, priority);
        writer.String(FibRules.FRA_IIFNAME, input);
        NetlinkMessage.TryRead(writer.Written, out NetlinkMessage message);
        return RuleInfo.TryDecode(message, out RuleInfo? made) ? made : throw new InvalidDataException("no rule");
    }

    /// <summary>An address is shown as it was asked for.</summary>
    private IEnumerable<Datagram> GetAddresses(byte[] request) =>
    [
        .. Addresses.Select(a => FakeKernel.CaptureRtnl(r => r.AddAddress(a)))
            .Select(a => (Datagram)FakeKernel.Reply(request, RTM_NEWADDR, a.AsSpan(NLMSG_HDRLEN), NLM_F_MULTI)),
        FakeKernel.Done(request),
    ];

    private int ChangeHost(NetlinkMessage message)
    {
        bool isNew = message.Type is RTM_NEWADDR or RTM_NEWROUTE or RTM_NEWRULE;
        if (AddressInfo.TryDecode(message, out AddressInfo? address))
        {
            if (Refuses(address.Ifindex, $"{(isNew ? "add" : "delete")} address {address}") is var errno and not 0)
                return errno;
            AddressInfo? same = Addresses.Find(
                a => a.Ifindex == address.Ifindex && a.Local.Equals(address.Local) && a.PrefixLength == address.PrefixLength);
            return Change(Addresses, address, same, isNew, Errno.EADDRNOTAVAIL);
        }

        if (RouteInfo.TryDecode(message, out RouteInfo? route))
        {
            if (Refuses(route.Ifindex, $"{(isNew ? "add" : "delete")} route {route}") is var errno and not 0)
                return errno;
            if ((message.Flags & NLM_F_REPLACE) != 0)
            {
                Routes.RemoveAll(r => Equals(r.Destination, route.Destination)
                    && (r.Table, r.Metric, r.PrefixLength) == (route.Table, route.Metric, route.PrefixLength));
            }

            return Change(Routes, route, Routes.Find(route.Equals), isNew, Errno.ESRCH);
        }

        if (!RuleInfo.TryDecode(message, out RuleInfo? rule))
            return Errno.EINVAL;
        HostRequest($"{(isNew ? "add" : "delete")} rule {rule}");
        return Change(Rules, rule, Rules.Find(rule.Equals), isNew, Errno.ENOENT);
    }

    private int Refuses(int ifindex, string request)
    {
        if (!_links.TryGetValue(ifindex, out LinkInfo? link))
            return Errno.ENODEV;
        HostRequest($"{request} {link.Name}");
        return Fault(link.Name);
    }

    private static int Change<T>(List<T> things, T thing, T? same, bool isNew, int missing) where T : class
    {
        if (isNew == (same is not null))
            return isNew ? Errno.EEXIST : missing;
        if (isNew)
            things.Add(thing);
        else
            things.Remove(same!);
        return 0;
    }
}
