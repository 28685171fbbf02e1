// VLANs in the desired state: a tag of a PIF that is the uplink of a Network.
namespace XenFastPath.Model;

public sealed partial record HostState
{
    /// <summary>Finds a VLAN by uuid, device, or as PIF.TAG.</summary>
    /// <exception cref="RefusalException">There is none.</exception>
    public Vlan VlanOf(string name) =>
        Vlans.FirstOrDefault(v => Matches(v.Uuid, name) || v.Device == name)
        ?? Vlans.FirstOrDefault(v => $"{PifOf(v.Pif).Device}.{v.Tag}" == name) ?? throw new RefusalException(name, "no such vlan");

    /// <summary>The VLAN that is the uplink of a Network, if one is.</summary>
    public Vlan? VlanOf(Network network) => _lookups.VlansOf(this)[network.Uuid].FirstOrDefault();

    /// <summary>The VLANs that a PIF carries.</summary>
    public IEnumerable<Vlan> VlansOf(Pif pif) => Vlans.Where(v => v.Pif == pif.Uuid);

    /// <summary>The PIF with this uuid.</summary>
    public Pif PifOf(Guid uuid) => Pifs.First(p => p.Uuid == uuid);

    /// <summary>Makes a VLAN the uplink of its Network.</summary>
    /// <exception cref="RefusalException">The tag is out of range or in use, or the PIF or the Network cannot have it.</exception>
    public HostState Add(Vlan vlan)
    {
        Pif pif = PifOf(vlan.Pif);
        Network network = NetworkOf(vlan.Network);
        Rules.CheckTag(pif.Device, vlan.Tag);
        if (BondOfMember(pif) is { } bond)
            throw new RefusalException(pif.Device, $"is a member of bond {bond.Device}; make the vlan on {bond.Device}");
        if (VlansOf(pif).FirstOrDefault(v => v.Tag == vlan.Tag) is { } same)
            throw new RefusalException($"{pif.Device}.{vlan.Tag}", $"tag {vlan.Tag} of {pif.Device} is in use by network {NetworkOf(same.Network).Label}");
        RefuseIfHasUplink(network);
        if (Pifs.Any(p => p.Device == vlan.Device) || Vifs.Any(v => v.Device == vlan.Device))
            throw new RefusalException(vlan.Device, "this device is a pif or a vif");
        return this with { Vlans = Vlans.Add(vlan) };
    }

    /// <summary>Replaces a VLAN by a changed one with the same uuid.</summary>
    public HostState Change(Vlan vlan) => this with { Vlans = Vlans.Replace(Vlans.First(v => v.Uuid == vlan.Uuid), vlan) };

    /// <summary>Removes a VLAN; its Network stays, without an uplink. The subinterface goes if we made it.</summary>
    public HostState Remove(Vlan vlan) => this with
    {
        Vlans = Vlans.Remove(vlan),
        DoomedLinks = vlan.WasThere ? DoomedLinks : DoomedLinks.Add(new DoomedLink(vlan.Uuid, vlan.Device)),
    };

    private void RefuseIfHasUplink(Network network)
    {
        if (PifOf(network) is { } pif)
            throw new RefusalException(network.Label, $"the network has pif {pif.Device} already");
        if (VlanOf(network) is { } vlan)
            throw new RefusalException(network.Label, $"the network has vlan {PifOf(vlan.Pif).Device}.{vlan.Tag} already");
    }
}
