// The desired state of a host as one immutable value, and the changes that requests make to it. A change that would break a
// rule is refused; the value it was asked of stays as it was.
using System.Collections.Immutable;

namespace XenFastPath.Model;

/// <summary>Everything that is wanted of this host.</summary>
public sealed partial record HostState(
    ImmutableArray<Network> Networks, ImmutableArray<Pif> Pifs, ImmutableArray<Vif> Vifs, ImmutableArray<DoomedBridge> Doomed)
{
    /// <summary>The VLANs.</summary>
    public ImmutableArray<Vlan> Vlans { get; init; } = [];

    /// <summary>The bonds.</summary>
    public ImmutableArray<Bond> Bonds { get; init; } = [];

    /// <summary>Devices of VLANs and bonds that are to go.</summary>
    public ImmutableArray<DoomedLink> DoomedLinks { get; init; } = [];

    /// <summary>
    /// Cards that were told by us to leave VLAN tags in the frames, and are to be told otherwise when no fast path needs it. What was
    /// done, not what is wanted: it goes over from any state to the one that replaces it.
    /// </summary>
    public ImmutableArray<DeviceBinding> TagsKept { get; init; } = [];

    /// <summary>Nothing is wanted.</summary>
    public static HostState Empty { get; } = new([], [], [], []);

    /// <summary>The same, after it was read from a file of before there were VLANs, bonds and marks on cards.</summary>
    internal HostState Whole() => this with
    {
        Vlans = Vlans.IsDefault ? [] : Vlans,
        Bonds = Bonds.IsDefault ? [] : Bonds,
        DoomedLinks = DoomedLinks.IsDefault ? [] : DoomedLinks,
        TagsKept = TagsKept.IsDefault ? [] : TagsKept,
    };

    /// <summary>Finds a Network by uuid, label or bridge name.</summary>
    /// <exception cref="RefusalException">There is none.</exception>
    public Network NetworkOf(string name) =>
        Networks.FirstOrDefault(n => Matches(n.Uuid, name) || n.Label == name) ?? Networks.FirstOrDefault(n => n.Bridge == name)
        ?? throw new RefusalException(name, "no such network");

    /// <summary>Finds a PIF by uuid or device.</summary>
    /// <exception cref="RefusalException">There is none.</exception>
    public Pif PifOf(string name) =>
        Pifs.FirstOrDefault(p => Matches(p.Uuid, name) || p.Device == name) ?? throw new RefusalException(name, "no such pif");

    /// <summary>Finds a VIF by uuid or device.</summary>
    /// <exception cref="RefusalException">There is none.</exception>
    public Vif VifOf(string name) =>
        Vifs.FirstOrDefault(v => Matches(v.Uuid, name) || v.Device == name) ?? throw new RefusalException(name, "no such vif");

    /// <summary>The Network with this uuid.</summary>
    public Network NetworkOf(Guid uuid) => Networks.First(n => n.Uuid == uuid);

    /// <summary>The PIF of a Network, if it has one.</summary>
    public Pif? PifOf(Network network) => _lookups.PifsOf(this)[network.Uuid].FirstOrDefault();

    /// <summary>The VIFs plugged into a Network.</summary>
    public IEnumerable<Vif> VifsOf(Network network) => _lookups.VifsOf(this)[network.Uuid];

    /// <summary>Adds a Network.</summary>
    /// <exception cref="RefusalException">Label, bridge or MTU is not acceptable.</exception>
    public HostState Add(Network network)
    {
        Rules.CheckLabel(network.Label);
        Rules.CheckBridgeName(network.Bridge);
        Rules.CheckMtu(network.Label, network.Mtu);
        if (Networks.Any(n => n.Label == network.Label))
            throw new RefusalException(network.Label, "there is a network with this label already");
        if (Networks.FirstOrDefault(n => n.Bridge == network.Bridge) is { } other)
            throw new RefusalException(network.Bridge, $"this is the bridge of network {other.Label} already");
        return this with { Networks = Networks.Add(network) };
    }

    /// <summary>Replaces a Network by a changed one with the same uuid.</summary>
    /// <exception cref="RefusalException">The new values are not acceptable.</exception>
    public HostState Change(Network network)
    {
        Rules.CheckMtu(network.Label, network.Mtu);
        return this with { Networks = Networks.Replace(NetworkOf(network.Uuid), network) };
    }

    /// <summary>Removes a Network, and the VLAN that is its uplink; its PIF stays known, without a Network.</summary>
    /// <exception cref="RefusalException">VIFs are plugged into it, or its PIF's addresses would be left on a port of a bridge.</exception>
    public HostState Remove(Network network)
    {
        if (PifOf(network) is { } uplink)
            RefuseIfStranded(uplink, network);
        Vif[] vifs = [.. VifsOf(network)];
        if (vifs.Length > 0)
        {
            string some = string.Join(", ", vifs.Take(8).Select(v => v.Device));
            throw new RefusalException(network.Label, $"{Plural(vifs.Length, "vif")} still plugged ({some}); unplug first");
        }

        DoomedBridge doomed = new(network.Uuid, network.Bridge);
        HostState without = this with { Networks = Networks.Remove(network), Doomed = Doomed.Add(doomed) };
        if (VlanOf(network) is { } vlan)
            without = without.Remove(vlan);
        return PifOf(network) is { } pif ? without.Change(pif with { Network = null, IsPlugged = false }) : without;
    }

    /// <summary>Makes a PIF the uplink of a Network.</summary>
    /// <exception cref="RefusalException">The PIF serves another Network, or the Network has another PIF.</exception>
    public HostState Connect(Pif pif, Network network, bool wasInBridge, bool hadLinkLocal)
    {
        if (pif.Network is { } current && current != network.Uuid)
            throw new RefusalException(pif.Device, $"this is the pif of network {NetworkOf(current).Label} already");
        RefuseIfBonded(pif);
        if (PifOf(network)?.Uuid != pif.Uuid)
            RefuseIfHasUplink(network);
        Pif connected = pif with { Network = network.Uuid, IsPlugged = true, WasInBridge = wasInBridge, HadLinkLocal = hadLinkLocal };
        return this with { Pifs = Pifs.Replace(pif, connected) };
    }

    /// <summary>Takes the PIF away from a Network that stays, if it has one: it leaves the bridge even if it was in it before us.</summary>
    public HostState Disconnect(Network network) =>
        PifOf(network) is { } pif ? Change(pif with { Network = null, IsPlugged = false, WasInBridge = false }) : this;

    /// <summary>Adds a PIF without a Network.</summary>
    /// <exception cref="RefusalException">The device or its key is known already.</exception>
    public HostState Add(Pif pif)
    {
        if (Pifs.Any(p => p.Device == pif.Device))
            throw new RefusalException(pif.Device, "this device is a pif already");
        bool isReal = pif is { Binding: null, Bond: null };
        if (isReal && Pifs.FirstOrDefault(p => p is { Binding: null, Bond: null } && p.Mac == pif.Mac && p.BusPath == pif.BusPath) is { } same)
            throw new RefusalException(pif.Device, $"pif {same.Device} has the same address {pif.Mac}; forget that one first");
        RefuseIfVif(pif.Device);
        return this with { Pifs = Pifs.Add(pif) };
    }

    /// <summary>Replaces a PIF by a changed one with the same uuid.</summary>
    public HostState Change(Pif pif) => this with { Pifs = Pifs.Replace(Pifs.First(p => p.Uuid == pif.Uuid), pif) };

    /// <summary>Forgets a PIF.</summary>
    /// <exception cref="RefusalException">It serves a Network, carries VLANs or addresses that were requested, or is a bond or in one.</exception>
    public HostState Remove(Pif pif)
    {
        RefuseIfBonded(pif);
        if (pif.Ip is { IsNone: false })
            throw new RefusalException(pif.Device, $"has addresses of this host; take them away first (xfp pif reconfigure-ip {pif.Device} --mode none)");
        if (pif.Bond is not null)
            throw new RefusalException(pif.Device, $"is a bond; bond destroy {pif.Device}");
        if (VlansOf(pif).FirstOrDefault() is { } vlan)
            throw new RefusalException(pif.Device, $"carries vlan {vlan.Tag} of network {NetworkOf(vlan.Network).Label}; vlan destroy {vlan.Device} first");
        if (pif.Network is not { } uuid)
            return this with { Pifs = Pifs.Remove(pif) };
        string label = NetworkOf(uuid).Label;
        throw new RefusalException(pif.Device, $"in use by network {label}; network set {label} --no-pif first");
    }

    /// <summary>Plugs a VIF.</summary>
    /// <exception cref="RefusalException">The device is plugged already, or is a PIF.</exception>
    public HostState Add(Vif vif)
    {
        RefuseIfVif(vif.Device);
        // By another name: the device was renamed, and nobody has looked since.
        if (Vifs.FirstOrDefault(v => v.Binding == vif.Binding) is { } same)
            throw new RefusalException(vif.Device, $"plugged already as {same.Device}, into network {NetworkOf(same.Network).Label}");
        return AddUnique(vif);
    }

    /// <summary>Plugs a VIF that is known to be no other's: neither its device nor the binding is.</summary>
    /// <exception cref="RefusalException">The device is a PIF, or the MAC is none.</exception>
    internal HostState AddUnique(Vif vif)
    {
        if (vif.Mac is not null)
            Rules.CheckMac(vif.Device, vif.Mac);
        return Pifs.All(p => p.Device != vif.Device) ? this with { Vifs = Vifs.Add(vif) } : throw new RefusalException(vif.Device, "this device is a pif");
    }

    /// <summary>Replaces a VIF by a changed one with the same uuid; subinterfaces of tags that it has no more go.</summary>
    public HostState Change(Vif vif)
    {
        Vif was = Vifs.First(v => v.Uuid == vif.Uuid);
        return (this with { Vifs = Vifs.Replace(was, vif) }).WithoutTags(was, vif.Trunks);
    }

    /// <summary>Unplugs a VIF; what was made for its tags goes.</summary>
    public HostState Remove(Vif vif) => (this with { Vifs = Vifs.Remove(vif) }).WithoutTags(vif, null);

    /// <summary>A number for a new Network: the one after the highest while there is one, else the first that is free.</summary>
    /// <exception cref="RefusalException">All are used.</exception>
    public ushort NextNetworkId()
    {
        int highest = Networks.IsEmpty ? 0 : Networks.Max(n => n.Id);
        if (highest < ushort.MaxValue)
            return (ushort)(highest + 1);
        HashSet<int> used = [.. Networks.Select(n => (int)n.Id)];
        int free = Enumerable.Range(1, ushort.MaxValue).FirstOrDefault(id => !used.Contains(id));
        return free != 0 ? (ushort)free : throw new RefusalException("network", $"there are {ushort.MaxValue} networks already; no more have a number");
    }

    /// <summary>A port of a bridge receives nothing for itself: addresses that were requested for it would not work.</summary>
    /// <exception cref="RefusalException">The PIF was in the bridge before us, stays in it, and is to have addresses.</exception>
    internal static void RefuseIfStranded(Pif uplink, Network gone)
    {
        if (uplink is { WasInBridge: true, Ip.IsNone: false })
        {
            throw new RefusalException(gone.Label, $"its pif {uplink.Device} was in bridge {gone.Bridge} before and stays there, and this host's "
                + $"addresses do not work on a port; first take the pif out (xfp network set {gone.Label} --no-pif) or its addresses away "
                + $"(xfp pif reconfigure-ip {uplink.Device} --mode none)");
        }
    }

    private void RefuseIfVif(string device)
    {
        if (Vifs.FirstOrDefault(v => v.Device == device) is { } plugged)
            throw new RefusalException(device, $"plugged already, into network {NetworkOf(plugged.Network).Label}");
    }

    private static bool Matches(Guid uuid, string name) => Guid.TryParse(name, out Guid parsed) && parsed == uuid;

    private static string Plural(int count, string noun) => count == 1 ? $"1 {noun} is" : $"{count} {noun}s are";
}
