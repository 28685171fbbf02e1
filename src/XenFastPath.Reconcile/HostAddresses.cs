// Where this host is on the network: its addresses, routes and rules, on a NIC or on the bridge that the NIC is in. A port of a bridge
// receives nothing for itself, so all of it lives on the bridge while the NIC is in one. Pure.
using XenFastPath.Interop;
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

/// <summary>Which devices are to give their addresses to which; decided from links and addresses alone.</summary>
public static class HostAddresses
{
    /// <summary>Does a device carry addresses of this host? Those that the kernel makes of its MAC do not count.</summary>
    public static bool AreOn(LinkInfo device, Observed observed) =>
        observed.Addresses.Any(a => a.Ifindex == device.Index && !a.Local.IsIPv6LinkLocal);

    /// <summary>Into the bridge: a plugged PIF that still carries addresses. <paramref name="bridge"/> is null if it is to be made.</summary>
    public static bool MustEnter(LinkInfo pif, LinkInfo? bridge, Observed observed) =>
        AreOn(pif, observed) && (pif.MasterIndex == 0 || pif.MasterIndex == bridge?.Index);

    /// <summary>
    /// Back to the NIC that leaves its bridge: all that is on a bridge that we made, which will go or be without uplink. On one that was
    /// there before us, only if it was the NIC that brought them.
    /// </summary>
    public static bool MustLeave(LinkInfo port, LinkInfo bridge, HostState desired, Observed observed, bool isUndone)
    {
        bool broughtThem = isUndone || desired.Pifs.Any(p => p.HadAddresses && observed.DeviceOf(p)?.Index == port.Index);
        bool isOurs = bridge.Alias?.StartsWith(Plan.MarkPrefix, StringComparison.Ordinal) == true;
        return (isOurs || broughtThem) && AreOn(bridge, observed);
    }

    /// <summary>The devices that may have to give their addresses away, whichever way: their routes are worth reading.</summary>
    public static IEnumerable<LinkInfo> Movers(HostState desired, Observed observed)
    {
        List<LinkInfo> found = [];
        foreach (Pif pif in desired.Pifs.Where(p => p is { Network: not null, IsPlugged: true }))
        {
            LinkInfo? bridge = observed.BridgeOf(desired.NetworkOf(pif.Network!.Value));
            if (observed.DeviceOf(pif) is { } device && MustEnter(device, bridge, observed))
                found.Add(device);
        }

        HashSet<int> wanted = [.. desired.Pifs.Where(p => p is { Network: not null, IsPlugged: true }).Select(p => observed.DeviceOf(p)?.Index ?? 0)];
        foreach ((int ifindex, PortSettings settings) in observed.FastPath.Ports)
        {
            bool leaves = settings.IsPhysical && !wanted.Contains(ifindex);
            if (leaves && observed.Link(observed.Link(ifindex)?.MasterIndex ?? 0) is { } bridge && AreOn(bridge, observed))
                found.Add(bridge);
        }

        return found;
    }

    /// <summary>
    /// The step. The kernel makes the route of a prefix with the address; a link-local address belongs to a MAC and goes only where
    /// the MAC is the same.
    /// </summary>
    public static MoveHostAddresses Move(LinkInfo port, LinkInfo from, string to, MacAddress? toMac, Observed observed)
    {
        AddressInfo[] addresses =
            [.. observed.Addresses.Where(a => a.Ifindex == from.Index && (!a.Local.IsIPv6LinkLocal || toMac is null || toMac == from.Address))];
        RouteInfo[] routes = [.. observed.Routes.Where(r => r.Uses(from.Index) && !IsMadeByKernel(r, addresses))
            // What is on the link first: the kernel takes a gateway only if it can be reached.
            .OrderBy(r => r.Gateway is not null || r.Hops.Count > 0)];
        return new MoveHostAddresses(port.Name, from.Name, from.Index, to, addresses, routes, [.. observed.Rules.Where(r => r.Names(from.Name))]);
    }

    private static bool IsMadeByKernel(RouteInfo route, AddressInfo[] addresses)
    {
        bool isReception = route.Type is RtNetlink.RTN_LOCAL or RtNetlink.RTN_BROADCAST or RtNetlink.RTN_ANYCAST or RtNetlink.RTN_MULTICAST;
        if (route.Table == RtNetlink.RT_TABLE_LOCAL || isReception)
            return true;
        if (route.Protocol != RtNetlink.RTPROT_KERNEL || route.Destination is not { } subnet)
            return false;
        return subnet.IsIPv6LinkLocal || addresses.Any(a => !a.Flags.HasFlag(AddressFlags.NoPrefixRoute) && a.PrefixLength == route.PrefixLength
            && IpRules.Contains(subnet, route.PrefixLength, a.Peer ?? a.Local));
    }
}
