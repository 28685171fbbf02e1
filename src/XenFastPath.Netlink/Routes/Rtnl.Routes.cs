// Requests about routes: RTM_GETROUTE, RTM_NEWROUTE, RTM_DELROUTE.
using XenFastPath.Interop;
using static XenFastPath.Interop.Netlink;
using static XenFastPath.Interop.RtNetlink;
using Errno = XenFastPath.Interop.Errno;

namespace XenFastPath.Netlink;

public sealed partial class Rtnl
{
    private const int RouteRequestBytes = 8192;     // a route of many hops is long

    /// <summary>The routes of one family through a link, of all tables; 0 is every link.</summary>
    public List<RouteInfo> GetRoutes(bool isIpv6, int ifindex = 0) => DumpRoutes(isIpv6, ifindex, 0).FindAll(r => ifindex == 0 || r.Uses(ifindex));

    /// <summary>The routes of one family that bear this RTPROT_ number, of all tables and links.</summary>
    public List<RouteInfo> GetRoutesOf(bool isIpv6, byte protocol) => DumpRoutes(isIpv6, 0, protocol).FindAll(r => r.Protocol == protocol);

    /// <summary>Adds a route; EEXIST if there is one to the same destination with the same metric.</summary>
    public void AddRoute(RouteInfo route) => ChangeRoute(route, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, "add");

    /// <summary>Adds a route behind those to the same destination; EEXIST only if it is there exactly so.</summary>
    public void AppendRoute(RouteInfo route) => ChangeRoute(route, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_APPEND, "append");

    /// <summary>Puts a route in the place of the first to the same destination with the same metric, in one step.</summary>
    public void ReplaceRoute(RouteInfo route) => ChangeRoute(route, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, "replace");

    /// <summary>Deletes exactly this route; ESRCH if there is none.</summary>
    public void DeleteRoute(RouteInfo route) => ChangeRoute(route, RTM_DELROUTE, 0, "delete");

    // The kernel (>= 4.20) sorts out what was not asked for; an older one sends all.
    private List<RouteInfo> DumpRoutes(bool isIpv6, int ifindex, byte protocol)
    {
        rtmsg header = new() { rtm_family = isIpv6 ? AF_INET6 : AF_INET, rtm_protocol = protocol };
        NetlinkWriter request = Request(stackalloc byte[RequestBytes], RTM_GETROUTE, 0, header);
        request.S32(RTA_OIF, ifindex == 0 ? null : ifindex);
        try
        {
            return _socket.Dump<RouteInfo>(request.Written, RouteInfo.TryDecode, "dump routes");
        }
        catch (NetlinkException e) when (e.Errno is Errno.EAFNOSUPPORT or Errno.EOPNOTSUPP)
        {
            return [];      // a kernel without IPv6 has no routes of it
        }
    }

    private void ChangeRoute(RouteInfo route, ushort type, ushort flags, string verb)
    {
        NetlinkWriter request = Request(new byte[RouteRequestBytes], type, flags, route.Header);
        foreach (NetlinkAttribute attribute in new NetlinkAttributes(route.RawAttributes))
            request.Bytes(attribute.RawType, attribute.Value);
        request.U32(RTA_EXPIRES, type == RTM_NEWROUTE ? route.ExpiresSeconds : null);
        Execute(request, $"{verb} route {route} through", route.Ifindex);
    }
}
