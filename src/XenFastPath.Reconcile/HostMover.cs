// Does the steps about this host's addresses. The order keeps connections alive: at every moment the address is on some device, and
// some route leads out.
using System.Diagnostics;
using System.Net;
using XenFastPath.Interop;
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

/// <summary>Turns host steps into requests. Every part may be there or gone already: a step that was cut short is done again.</summary>
internal sealed class HostMover(Rtnl rtnl, Action<int, MacAddress, IEnumerable<IPAddress>> announce)
{
    /// <summary>RTPROT_ and IFA_PROTO number of what we add: what bears it is ours to take away, also after a restart.</summary>
    public const byte Maker = 120;

    /// <summary>A bridge has carrier as soon as its first port forwards; the kernel opens its queue a moment later.</summary>
    private const int CarrierMsMax = 1000;

    // What the kernel only reports of an address, and what it works out by itself.
    private const AddressFlags Kept = AddressFlags.NoPrefixRoute | AddressFlags.ManagesTemporary;

    public void Do(PlanAction action)
    {
        switch (action)
        {
            case MoveHostAddresses move:
                Move(move);
                break;
            case AddHostAddress add:
                Add(add);
                break;
            case RemoveHostAddress remove:
                Ignore(Errno.EADDRNOTAVAIL, () => rtnl.DeleteAddress(remove.Address));
                break;
            case AddHostRoute add:
                Add(add);
                break;
            case RemoveHostRoute remove:
                Ignore(Errno.ESRCH, () => rtnl.DeleteRoute(remove.Route));
                break;
            case SpeakIpv6 speak:
                Ipv6Sysctl.Speak(speak.Device, speak.TakesAdvertisements);
                break;
        }
    }

    /// <summary>Both devices receive for the host meanwhile: Linux takes a packet for any of its addresses on any device.</summary>
    private void Move(MoveHostAddresses move)
    {
        LinkInfo to = rtnl.GetLink(move.To) ?? throw new RefusalException(move.To, "the device is missing");
        if (to.Bridge is not null)
            Ipv6Sysctl.TakeOver(move.From, move.To);
        // The address brings a route, which must not lead to a bridge that does not send yet.
        to = AwaitCarrier(to, rtnl.GetLink(move.FromIfindex));
        // A question asked by one of the two would be answered to the other, and asked again after a second.
        foreach (NeighbourInfo neighbour in rtnl.GetNeighbours(move.FromIfindex))
            rtnl.SetNeighbour(neighbour with { Ifindex = to.Index });
        foreach (AddressInfo address in move.Addresses)
            Ignore(Errno.EEXIST, () => rtnl.AddAddress(On(to, address)));
        foreach (RouteInfo route in move.Routes)
            MoveRoute(route, move.FromIfindex, to.Index);
        foreach (RuleInfo rule in move.Rules)
        {
            Ignore(Errno.EEXIST, () => rtnl.AddRule(rule.For(move.From, move.To)));
            Ignore(Errno.ENOENT, () => rtnl.DeleteRule(rule));
        }

        // From the last to the first: with the first address of a subnet the kernel takes the others away.
        foreach (AddressInfo address in move.Addresses.Reverse())
            Ignore(Errno.EADDRNOTAVAIL, () => rtnl.DeleteAddress(address));
        if (to.Address is { } mac)
            announce(to.Index, mac, move.Addresses.Select(a => a.Local));
    }

    private void Add(AddHostAddress step)
    {
        LinkInfo device = Device(step.Device);
        AddressInfo address = new(device.Index, step.Address, step.PrefixLength) { Protocol = Maker };
        if (!address.IsIpv6 && step.PrefixLength < 31)
        {
            byte[] bytes = IpRules.Masked(step.Address, step.PrefixLength).GetAddressBytes();
            for (int bit = step.PrefixLength; bit < 32; bit++)
                bytes[bit / 8] |= (byte)(0x80 >> (bit % 8));
            address = address with { Broadcast = new IPAddress(bytes) };
        }

        Ignore(Errno.EEXIST, () => rtnl.AddAddress(address));
        if (device.Address is { } mac)
            announce(device.Index, mac, [step.Address]);
    }

    private void Add(AddHostRoute step)
    {
        RouteInfo route = RouteInfo.To(step.IsIpv6, step.Destination, step.PrefixLength, step.Gateway, Device(step.Device).Index, Maker);
        try
        {
            rtnl.AddRoute(route);
        }
        catch (NetlinkException e) when (e.Errno == Errno.EEXIST)
        {
            throw new RefusalException(step.Device, $"there is another route {route.ToString().Split(" via ")[0]} with the same metric; "
                + "remove it first, or leave the gateway out");
        }
    }

    private LinkInfo Device(string name) => rtnl.GetLink(name) ?? throw new RefusalException(name, "the device is missing");

    // Several ways: in the place of the old one. One way: beside it, then the old one goes, and with it nothing else.
    private void MoveRoute(RouteInfo route, int from, int to)
    {
        RouteInfo moved = route.Through(from, to);
        if (route.Hops.Count > 0)
        {
            rtnl.ReplaceRoute(moved);
            return;
        }

        Ignore(Errno.EEXIST, () => rtnl.AppendRoute(moved));
        Ignore(Errno.ESRCH, () => rtnl.DeleteRoute(route));
    }

    private static AddressInfo On(LinkInfo to, AddressInfo address)
    {
        string? label = address.Label is { } old && old.Contains(':') ? to.Name + old[old.IndexOf(':')..] : null;
        return address with
        {
            Ifindex = to.Index,
            Flags = address.Flags & Kept | (address.IsIpv6 ? AddressFlags.NoDuplicateDetection : 0),      // it was checked where it comes from
            Label = label is null || Rules.IsDeviceName(label.Replace(':', '.')) ? label : null,
        };
    }

    // Until then what the bridge sends would be lost; what leaves by the NIC's routes is not.
    private LinkInfo AwaitCarrier(LinkInfo to, LinkInfo? from)
    {
        Stopwatch watch = Stopwatch.StartNew();
        while (from is { IsLowerUp: true } && to.OperState != OperState.Up && watch.ElapsedMilliseconds < CarrierMsMax)
        {
            Thread.Sleep(1);
            to = rtnl.GetLink(to.Index) ?? to;
        }

        return to;
    }

    private static void Ignore(int errno, Action request)
    {
        try
        {
            request();
        }
        catch (NetlinkException e) when (e.Errno == errno)
        {
            // Done already, before somebody killed us or by the kernel itself.
        }
    }
}
