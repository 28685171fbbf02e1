// The steps of a plan that are about this host's own addresses. As with the others, their text is stable.
using System.Net;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

/// <summary>
/// Moves addresses, routes of all tables and rules between a NIC and its bridge in one go. By name: the bridge may have been made by an
/// earlier step. <paramref name="Device"/> is the NIC, whichever way it goes.
/// </summary>
public sealed record MoveHostAddresses(string Device, string From, int FromIfindex, string To,
    IReadOnlyList<AddressInfo> Addresses, IReadOnlyList<RouteInfo> Routes, IReadOnlyList<RuleInfo> Rules) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"move {string.Join(", ", Addresses)} from {From} to {To}" + List("route", Routes) + List("rule", Rules);

    // Lifetimes tick; it is the same step all the same.
    public bool Equals(MoveHostAddresses? other) => other is not null && FromIfindex == other.FromIfindex && Text == other.Text;

    public override int GetHashCode() => Text.GetHashCode(StringComparison.Ordinal);

    private static string List<T>(string noun, IReadOnlyList<T> things) =>
        things.Count == 0 ? "" : $"; {noun}{(things.Count == 1 ? "" : "s")} {string.Join(", ", things)}";
}

/// <summary>Gives a device one of the addresses that a request has asked for.</summary>
public sealed record AddHostAddress(string Device, IPAddress Address, int PrefixLength) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"add address {Address}/{PrefixLength} to {Device}";
}

/// <summary>Takes away an address that we gave.</summary>
public sealed record RemoveHostAddress(string Device, AddressInfo Address) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"remove address {Address} from {Device}";
}

/// <summary>Adds a route that a request has asked for; <paramref name="Destination"/> null is the default one.</summary>
public sealed record AddHostRoute(string Device, bool IsIpv6, IPAddress? Destination, int PrefixLength, IPAddress Gateway) : PlanAction
{
    public override string Subject => Device;

    public override string Text =>
        $"add route {(Destination is null ? IsIpv6 ? "::/0" : "default" : $"{Destination}/{PrefixLength}")} via {Gateway} dev {Device}";
}

/// <summary>Removes a route that we added.</summary>
public sealed record RemoveHostRoute(string Device, RouteInfo Route) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"remove route {Route} dev {Device}";
}

/// <summary>Has the kernel speak IPv6 on a device: a link-local address, and addresses from routers' advertisements if asked for.</summary>
public sealed record SpeakIpv6(string Device, bool TakesAdvertisements) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"ipv6 of {Device}: link-local address{(TakesAdvertisements ? ", autoconf" : "")}";
}
