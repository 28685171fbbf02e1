// May this device be used so? The checks of a request that need to look at the machine.
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

/// <summary>Each check returns what the request needs, or refuses with the reason; nothing is changed.</summary>
public static class Admission
{
    /// <summary>The device that is to be a PIF: no bridge, no member of a bond.</summary>
    /// <exception cref="RefusalException">It does not fit.</exception>
    public static LinkInfo Pif(string name, Observed observed)
    {
        LinkInfo device = Device(name, observed);
        if (device.Kind is "bridge")
            throw new RefusalException(name, "is a bridge, not a network card");
        RefuseMember(device, observed);
        return device;
    }

    /// <summary>Can this device be the uplink of a Network on this bridge? It may come from the bridge of another of our Networks.</summary>
    /// <exception cref="RefusalException">It is in another bridge, or cannot take the MTU.</exception>
    public static void Uplink(LinkInfo device, string bridge, int mtu, Observed observed, Network? from = null)
    {
        RefuseMember(device, observed);
        LinkInfo? master = observed.Link(device.MasterIndex);
        if (master is not null && master.Name != bridge && master.Name != from?.Bridge)
            throw new RefusalException(device.Name, $"is in {Kind(master)} {master.Name} already");
        Mtu(device, mtu);
    }

    /// <summary>Can the addresses of this host move from a NIC to a bridge? <paramref name="routes"/> are those through the NIC.</summary>
    /// <exception cref="RefusalException">The bridge has addresses of its own, or a route cannot be made again.</exception>
    public static void Host(LinkInfo device, string bridge, Observed observed, IEnumerable<RouteInfo> routes)
    {
        if (observed.Link(bridge) is { } adopted && HostAddresses.AreOn(adopted, observed))
        {
            AddressInfo here = observed.Addresses.First(a => a.Ifindex == device.Index && !a.Local.IsIPv6LinkLocal);
            AddressInfo there = observed.Addresses.First(a => a.Ifindex == adopted.Index && !a.Local.IsIPv6LinkLocal);
            throw new RefusalException(device.Name, $"carries {here}, and bridge {bridge} has {there} already; "
                + $"take one of them away first (ip address del {here} dev {device.Name})");
        }

        if (routes.FirstOrDefault(r => r.NexthopId != 0) is { } route)
        {
            throw new RefusalException(device.Name, $"route {route} goes by next-hop object {route.NexthopId}, which cannot change its device; "
                + "give the route a gateway of its own (ip route replace)");
        }
    }

    /// <summary>Can a NIC leave this Network for another place than its own? Addresses go back to the NIC or stay, but nowhere else.</summary>
    /// <exception cref="RefusalException">This host's addresses are on the Network's bridge.</exception>
    public static void Leaving(LinkInfo device, Network from, Observed observed)
    {
        if (observed.BridgeOf(from) is { } bridge && OwnOn(bridge, observed) is { } own)
        {
            throw new RefusalException(device.Name, $"this host has {own} on {bridge.Name}, the bridge of its network {from.Label}; "
                + $"take the network's pif away first (xfp network set {from.Label} --no-pif)");
        }
    }

    /// <summary>
    /// May a bond be left out of a document? Unlike <c>bond destroy</c>, which gives what the bond carries to its primary, that would
    /// leave this host's addresses nowhere, unless the Network has another uplink then.
    /// </summary>
    /// <exception cref="RefusalException">This host's addresses are on the bond, or on its Network's bridge.</exception>
    public static void LeftOut(Bond bond, bool hasOtherUplink, HostState state, Observed observed)
    {
        Pif master = state.MasterOf(bond);
        Network? network = master is { IsPlugged: true, Network: { } uuid } ? state.NetworkOf(uuid) : null;
        LinkInfo? place = network is null ? observed.DeviceOf(master) : observed.BridgeOf(network);
        if ((network is not null && hasOtherUplink) || place is null || OwnOn(place, observed) is not { } own)
            return;
        string where = network is null ? "it" : $"{place.Name}, the bridge of its network {network.Label}", primary = state.PifOf(bond.Members[0]).Device;
        throw new RefusalException(bond.Device, $"is not in the document, but this host has {own} on {where}; "
            + $"xfp bond destroy {bond.Device} first, and its network and the addresses go to {primary}");
    }

    /// <summary>May a bond be destroyed? Addresses that were requested go to its primary; others would go with its device.</summary>
    /// <exception cref="RefusalException">There are such addresses on the bond itself.</exception>
    public static void Destroy(Bond bond, HostState state, Observed observed)
    {
        Pif master = state.MasterOf(bond);
        bool isLeased = master.Ip is { Ipv4.Mode: IpMode.Dhcp } or { Ipv6.Mode: IpMode.Dhcp or IpMode.Autoconf };
        if (isLeased || observed.DeviceOf(master) is not { } device || device.Alias != Plan.MarkOf(bond.Uuid))
            return;
        if (observed.Addresses.FirstOrDefault(a => a.Ifindex == device.Index && !a.Local.IsIPv6LinkLocal && a.Protocol != HostMover.Maker) is { } own)
        {
            throw new RefusalException(bond.Device, $"carries {own}, which would go with it; take it away first (ip address del {own} dev {device.Name}), "
                + $"or move it to the bridge of a network, where it stays (xfp network set LABEL --pif {bond.Device})");
        }
    }

    /// <summary>May a PIF that is to be so have addresses of this host? <paramref name="state"/> is what was wanted before.</summary>
    /// <exception cref="RefusalException">It is, and will be, in a bridge that is no Network's: a port receives nothing for itself.</exception>
    public static void Addresses(Pif pif, HostState state, Observed observed)
    {
        if (pif is { Network: not null, IsPlugged: true } || observed.DeviceOf(pif) is not { MasterIndex: not 0 } device)
            return;
        LinkInfo? master = observed.Link(device.MasterIndex);
        Pif? was = state.Pifs.FirstOrDefault(p => p.Uuid == pif.Uuid);
        bool isLeaving = was is not null && (state.BondOfMember(was) is not null
            || (!pif.WasInBridge && was is { IsPlugged: true, Network: { } uuid } && observed.BridgeOf(state.NetworkOf(uuid))?.Index == device.MasterIndex));
        if (!isLeaving)
            throw new RefusalException(pif.Device, $"is in {master?.Name ?? "a bridge"}, which is no network's bridge: addresses on a port do not work");
    }

    private static AddressInfo? OwnOn(LinkInfo device, Observed observed) =>
        observed.Addresses.FirstOrDefault(a => a.Ifindex == device.Index && !a.Local.IsIPv6LinkLocal);

    /// <summary>
    /// The device of a PIF that is to carry a VLAN, and the subinterface that is there already; null if it is to be made.
    /// </summary>
    /// <exception cref="RefusalException">The device is missing, cannot take the MTU, or the subinterface is in use.</exception>
    public static LinkInfo? Vlan(Pif pif, int tag, Network network, Observed observed)
    {
        LinkInfo device = observed.DeviceOf(pif) ?? throw new RefusalException(pif.Device, "the device is missing");
        if (device.Vlan is not null)
            throw new RefusalException(pif.Device, "is a vlan itself; tags within tags are not supported");
        Mtu(device, network.Mtu);
        LinkInfo? existing = observed.VlanOf(device, tag);
        if (existing is not null && observed.Link(existing.MasterIndex) is { } master && master.Name != network.Bridge)
            throw new RefusalException(existing.Name, $"is in {Kind(master)} {master.Name} already; take it out first (ip link set {existing.Name} nomaster)");
        if (existing is not null && OwnOn(existing, observed) is { } own)
        {
            throw new RefusalException(existing.Name, $"carries {own}, which would stop working in a bridge; "
                + $"take it away first (ip address del {own} dev {existing.Name})");
        }

        return existing;
    }

    /// <summary>Can this PIF be a member of a bond that serves <paramref name="network"/>? Addresses on that Network's bridge stay there.</summary>
    /// <exception cref="RefusalException">It is no card, somebody else uses it, or this host's addresses are on it.</exception>
    public static void Member(Pif pif, Network? network, HostState state, Observed observed)
    {
        LinkInfo device = observed.DeviceOf(pif) ?? throw new RefusalException(pif.Device, "the device is missing");
        if (device.Kind is "bond" or "vlan")
            throw new RefusalException(pif.Device, $"is a {device.Kind}; members of a bond are network cards");
        if (observed.Link(device.MasterIndex) is { } master && state.Networks.All(n => n.Bridge != master.Name))
            throw new RefusalException(pif.Device, $"is in {Kind(master)} {master.Name} already; take it out first (ip link set {device.Name} nomaster)");
        if (OwnOn(device, observed) is { } own)
        {
            string label = network?.Label ?? "LABEL";
            throw new RefusalException(pif.Device, $"carries {own}, which would stop working in a bond; move it to the bridge of the bond's network first "
                + $"(xfp network set {label} --pif {pif.Device}), where it stays");
        }

        if (pif is { Network: { } uuid, IsPlugged: true } && uuid != network?.Uuid)
            Leaving(device, state.NetworkOf(uuid), observed);
        // The kernel would hand the frames of such a subinterface to a card that is no host's any more.
        HashSet<int> ours = [.. state.Vlans.Where(v => !v.WasThere).Select(v => observed.DeviceOf(v, state)?.Index ?? 0)];
        if (observed.Links.FirstOrDefault(l => Observed.IsVlanOf(l, device) && !ours.Contains(l.Index)) is { } foreign)
            throw new RefusalException(pif.Device, $"carries {foreign.Name}, which was not made by us; delete it first (ip link del {foreign.Name})");
    }

    /// <summary>The device that is to be a VIF of a Network; it may come from the bridge of another of our Networks.</summary>
    /// <exception cref="RefusalException">It does not fit.</exception>
    public static LinkInfo Vif(string name, Network network, Observed observed, Network? from = null)
    {
        LinkInfo device = Device(name, observed);
        if (device.Kind is "bridge" or "bond" or "vlan")
            throw new RefusalException(name, $"is a {device.Kind}, not a guest's interface");
        if (PathRule.IsHardware(device))
            throw new RefusalException(name, $"is a network card; make it the uplink: network set {network.Label} --pif {name}");
        LinkInfo? master = observed.Link(device.MasterIndex);
        if (master is not null && master.Name != network.Bridge && master.Name != from?.Bridge)
            throw new RefusalException(name, $"is in {Kind(master)} {master.Name} already; take it out first (ip link set {name} nomaster)");
        Mtu(device, network.Mtu);
        return device;
    }

    /// <summary>Can the device of a VIF have its trunks?</summary>
    /// <exception cref="RefusalException">It is missing, cannot take an MTU, or somebody has made a subinterface with a tag.</exception>
    public static void Trunks(Vif vif, HostState state, Observed observed)
    {
        LinkInfo device = observed.DeviceOf(vif) ?? throw new RefusalException(vif.Device, "the device is missing");
        foreach (Vlan vlan in state.VlansOf(vif))
        {
            Mtu(device, state.NetworkOf(vlan.Network).Mtu);
            if (observed.VlanOf(device, vlan.Tag) is { } there && there.Alias != Plan.MarkOf(vif.Uuid))
                throw new RefusalException(device.Name, $"has {there.Name} with tag {vlan.Tag}, which is not ours; delete it first (ip link del {there.Name})");
        }
    }

    /// <summary>The bridge that a Network would adopt; null if it is to be made.</summary>
    /// <exception cref="RefusalException">There is a device of that name which is no bridge.</exception>
    public static LinkInfo? Bridge(string name, Observed observed)
    {
        LinkInfo? link = observed.Link(name);
        return link is null || link.Bridge is not null
            ? link
            : throw new RefusalException(name, $"exists and is no bridge but a {link.Kind ?? "network card"}");
    }

    /// <summary>May the bridge of a Network go? Not with ports in it that are not ours.</summary>
    /// <exception cref="RefusalException">There are such ports.</exception>
    public static void Destroy(Network network, HostState state, Observed observed)
    {
        if (observed.BridgeOf(network) is not { } bridge || bridge.Alias != Plan.MarkOf(network.Uuid))
            return;
        LinkInfo? uplink = state.PifOf(network) is { } pif ? observed.DeviceOf(pif) : state.VlanOf(network) is { } vlan ? observed.DeviceOf(vlan, state) : null;
        HashSet<int> ours = [.. observed.TagsIn(network, state).Select(t => t.Index).Append(uplink?.Index ?? 0)];
        string[] foreign = [.. observed.PortsOf(bridge)
            .Where(p => !ours.Contains(p.Index) && !state.Vifs.Any(v => observed.DeviceOf(v)?.Index == p.Index)).Select(p => p.Name)];
        if (foreign.Length > 0)
        {
            throw new RefusalException(network.Label, $"bridge {bridge.Name} has ports that were not plugged here: {string.Join(", ", foreign)}; "
                + "take them out first (ip link set DEVICE nomaster)");
        }
    }

    private static LinkInfo Device(string name, Observed observed)
    {
        LinkInfo device = observed.Link(name) ?? throw new RefusalException(name, "no such device");
        return (device.Flags & LinkFlags.Loopback) == 0 ? device : throw new RefusalException(name, "is the loopback device");
    }

    private static void RefuseMember(LinkInfo device, Observed observed)
    {
        if (device.SlaveKind == "bond")
            throw new RefusalException(device.Name, $"is a member of bond {observed.Link(device.MasterIndex)?.Name}; use the bond");
    }

    private static string Kind(LinkInfo master) => master.Bridge is null ? "device" : "bridge";

    private static void Mtu(LinkInfo device, int mtu)
    {
        if (device.MaxMtu > 0 && mtu > device.MaxMtu)
            throw new RefusalException(device.Name, $"the network's MTU {mtu} is over the device's maximum of {device.MaxMtu}");
        if (mtu < device.MinMtu)
            throw new RefusalException(device.Name, $"the network's MTU {mtu} is under the device's minimum of {device.MinMtu}");
    }
}
