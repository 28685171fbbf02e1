// Bonds in the desired state: making one moves what hung on its members onto it, as XAPI does, and destroying it moves it back.
using System.Collections.Immutable;

namespace XenFastPath.Model;

public sealed partial record HostState
{
    /// <summary>Finds a bond by uuid or device.</summary>
    /// <exception cref="RefusalException">There is none.</exception>
    public Bond BondOf(string name) =>
        Bonds.FirstOrDefault(b => Matches(b.Uuid, name) || b.Device == name) ?? throw new RefusalException(name, "no such bond");

    /// <summary>The bond that a PIF is a member of, if it is one.</summary>
    public Bond? BondOfMember(Pif pif) => Bonds.FirstOrDefault(b => b.Members.Contains(pif.Uuid));

    /// <summary>The PIF that stands for a bond.</summary>
    public Pif MasterOf(Bond bond) => Pifs.First(p => p.Bond == bond.Uuid);

    /// <summary>
    /// Makes a bond of its members, which must be known PIFs. Its PIF becomes the uplink of <paramref name="network"/>; VLANs of the
    /// members become the bond's, and guests of other Networks that members served move to this one. So do requested addresses, which
    /// one member may have.
    /// </summary>
    /// <param name="bond">The new bond; its first member is the primary.</param>
    /// <param name="master">Uuid of the PIF that will stand for it.</param>
    /// <param name="network">The Network it is to serve.</param>
    /// <exception cref="RefusalException">A member is in use otherwise, or tags collide.</exception>
    public HostState Add(Bond bond, Guid master, Network network)
    {
        Rules.CheckBond(bond);
        Rules.CheckDeviceName(bond.Device);
        if (Bonds.Any(b => b.Device == bond.Device) || Pifs.Any(p => p.Device == bond.Device))
            throw new RefusalException(bond.Device, "there is a pif of this name already");
        Pif[] members = [.. bond.Members.Select(PifOf)];
        if (members.Length < 2)
            throw new RefusalException(bond.Device, "a bond has at least two members");
        if (members.Distinct().Count() != members.Length)
            throw new RefusalException(bond.Device, "a pif is named twice");
        foreach (Pif member in members)
            CheckMember(member);
        if (VlanOf(network) is not null || (PifOf(network) is { } uplink && !members.Contains(uplink)))
            RefuseIfHasUplink(network);
        Vlan[] vlans = [.. members.SelectMany(VlansOf)];
        if (vlans.GroupBy(v => v.Tag).FirstOrDefault(g => g.Count() > 1) is { } twice)
        {
            throw new RefusalException(bond.Device, $"tag {twice.Key} is in use on more than one member; "
                + $"vlan destroy one of {string.Join(", ", twice.Select(v => v.Device))} first");
        }

        Pif[] configured = [.. members.Where(m => m.Ip is not null)];
        if (configured.Length > 1)
        {
            throw new RefusalException(bond.Device, $"addresses were requested for {string.Join(", ", configured.Select(m => m.Device))}, and a bond has those "
                + $"of one; pif reconfigure-ip {configured[1].Device} --mode none --ipv6-mode none first");
        }

        Pif pif = new(master, bond.Device, bond.Mac ?? members[0].Mac, null, network.Uuid, true, false)
        {
            Bond = bond.Uuid,
            HadAddresses = members.Any(m => m.HadAddresses && m.Network == network.Uuid),
            Ip = configured.FirstOrDefault()?.Ip,
        };
        HostState state = this with { Bonds = Bonds.Add(bond), Pifs = Pifs.Add(pif) };
        foreach (Pif member in members)
        {
            if (member.Network is { } left && left != network.Uuid)
                state = state with { Vifs = [.. state.Vifs.Select(v => v.Network == left ? v with { Network = network.Uuid } : v)] };
            state = state.Change(member with { Network = null, IsPlugged = false, WasInBridge = false, HadAddresses = false, Ip = null });
        }

        return vlans.Aggregate(state, (s, vlan) => s.Move(vlan, pif));
    }

    /// <summary>Replaces a bond by a changed one with the same uuid and members.</summary>
    /// <exception cref="RefusalException">A property is out of range.</exception>
    public HostState Change(Bond bond)
    {
        Rules.CheckBond(bond);
        return this with { Bonds = Bonds.Replace(Bonds.First(b => b.Uuid == bond.Uuid), bond) };
    }

    /// <summary>Destroys a bond: its Network, its VLANs and its addresses go to the primary, the other members are free.</summary>
    public HostState Remove(Bond bond)
    {
        Pif master = MasterOf(bond), primary = PifOf(bond.Members[0]);
        HostState state = this with
        {
            Bonds = Bonds.Remove(bond),
            DoomedLinks = DoomedLinks.Add(new DoomedLink(bond.Uuid, bond.Device)),
        };
        primary = primary with { Network = master.Network, IsPlugged = master.IsPlugged, HadAddresses = master.HadAddresses, Ip = master.Ip };
        state = state.Change(primary);
        state = VlansOf(master).Aggregate(state, (s, vlan) => s.Move(vlan, primary));
        return state with { Pifs = state.Pifs.Remove(master) };
    }

    /// <summary>The lowest bond&lt;N&gt; that no bond and no device has.</summary>
    public string FreeBondName(Func<string, bool> isTaken)
    {
        for (int n = 0; ; n++)
        {
            string name = $"bond{n}";
            if (!isTaken(name) && Bonds.All(b => b.Device != name))
                return name;
        }
    }

    /// <summary>A VLAN moves to another PIF; its subinterface is made anew there.</summary>
    private HostState Move(Vlan vlan, Pif pif)
    {
        HostState without = vlan.WasThere ? this : this with { DoomedLinks = DoomedLinks.Add(new DoomedLink(vlan.Uuid, vlan.Device)) };
        string device = Rules.VlanDeviceFor(pif.Device, vlan.Tag, name => Vlans.Any(v => v.Uuid != vlan.Uuid && v.Device == name));
        return without.Change(vlan with { Pif = pif.Uuid, Device = device, WasThere = false });
    }

    private void CheckMember(Pif member)
    {
        if (member.Bond is not null)
            throw new RefusalException(member.Device, "is a bond itself");
        if (BondOfMember(member) is { } other)
            throw new RefusalException(member.Device, $"is a member of bond {other.Device} already");
    }

    private void RefuseIfBonded(Pif pif)
    {
        if (BondOfMember(pif) is { } bond)
            throw new RefusalException(pif.Device, $"is a member of bond {bond.Device}; use {bond.Device}");
    }
}
