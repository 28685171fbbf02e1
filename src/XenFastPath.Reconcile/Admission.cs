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
        if (device.SlaveKind == "bond")
            throw new RefusalException(name, $"is a member of bond {observed.Link(device.MasterIndex)?.Name}; use the bond");
        return device;
    }

    /// <summary>Can this device be the uplink of a Network on this bridge?</summary>
    /// <exception cref="RefusalException">It is in another bridge, carries addresses, or cannot take the MTU.</exception>
    public static void Uplink(LinkInfo device, string bridge, int mtu, Observed observed, IEnumerable<AddressInfo> addresses)
    {
        LinkInfo? master = observed.Link(device.MasterIndex);
        if (master is not null && master.Name != bridge)
            throw new RefusalException(device.Name, $"is in {Kind(master)} {master.Name} already");
        Mtu(device, mtu);
        string[] own = [.. addresses.Where(a => a.Ifindex == device.Index && !a.Local.IsIPv6LinkLocal).Select(a => $"{a.Local}/{a.PrefixLength}")];
        if (own.Length > 0)
            throw new RefusalException(device.Name, $"carries {string.Join(", ", own)}, which would stop working in a bridge; "
                + $"move the address to {bridge} first (ip address del {own[0]} dev {device.Name}; ip address add {own[0]} dev {bridge})");
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
        int ours = state.PifOf(network) is { } pif ? observed.DeviceOf(pif)?.Index ?? 0 : 0;
        string[] foreign = [.. observed.PortsOf(bridge)
            .Where(p => p.Index != ours && !state.Vifs.Any(v => observed.DeviceOf(v)?.Index == p.Index)).Select(p => p.Name)];
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

    private static string Kind(LinkInfo master) => master.Bridge is null ? "device" : "bridge";

    private static void Mtu(LinkInfo device, int mtu)
    {
        if (device.MaxMtu > 0 && mtu > device.MaxMtu)
            throw new RefusalException(device.Name, $"the network's MTU {mtu} is over the device's maximum of {device.MaxMtu}");
        if (mtu < device.MinMtu)
            throw new RefusalException(device.Name, $"the network's MTU {mtu} is under the device's minimum of {device.MinMtu}");
    }
}
