// Trunk VIFs in the desired state: tags of a guest's frames, each of which belongs to a VLAN's Network.
namespace XenFastPath.Model;

public sealed partial record HostState
{
    /// <summary>The VLAN whose Network a trunk VIF's frames with this tag belong to; null: there is none, and the tag rests.</summary>
    public Vlan? VlanOf(Vif vif, int tag) =>
        PifOf(NetworkOf(vif.Network)) is { } uplink ? VlansOf(uplink).FirstOrDefault(v => v.Tag == tag) : null;

    /// <summary>The VLANs of a VIF's trunks.</summary>
    public IEnumerable<Vlan> VlansOf(Vif vif) =>
        vif.Trunks is { } trunks ? trunks.Tags.ToArray().Select(t => VlanOf(vif, t)).OfType<Vlan>() : [];

    /// <summary>The trunk VIFs with a tag whose frames belong to this Network.</summary>
    public IEnumerable<Vif> TrunksInto(Network network) =>
        VlanOf(network) is { } vlan ? Vifs.Where(v => v.Trunks is not null && VlansOf(v).Contains(vlan)) : [];

    /// <summary>Has each tag of a trunk VIF its VLAN? Those that had none <paramref name="before"/> may go on without.</summary>
    /// <exception cref="RefusalException">One has not; names the VIF and what to do.</exception>
    public void CheckTrunks(HostState before)
    {
        foreach (Vif vif in Vifs.Where(v => v.Trunks is not null))
            CheckTrunks(vif, before);
    }

    /// <summary>The same for one VIF.</summary>
    /// <exception cref="RefusalException">A tag has no VLAN.</exception>
    internal void CheckTrunks(Vif vif, HostState before)
    {
        if (vif.Trunks is not { } trunks)
            return;
        Vif? was = before.Vifs.FirstOrDefault(v => v.Uuid == vif.Uuid && v.Network == vif.Network);
        foreach (ushort tag in trunks.Tags)
        {
            if (VlanOf(vif, tag) is not null)
                continue;
            bool wasThere = was?.Trunks?.Tags.Contains(tag) == true;
            Vlan? lost = wasThere ? before.VlanOf(was!, tag) : null;
            if (lost is not null)
            {
                throw new RefusalException(vif.Device, $"has tag {tag} of {before.PifOf(lost.Pif).Device} in its trunks; "
                    + $"vif set {vif.Device} --trunks {Without(trunks, tag)} first");
            }

            if (!wasThere)
                throw NoVlan(vif, tag);
        }
    }

    private HostState WithoutTags(Vif was, TagSet? trunks)
    {
        DoomedLink doomed = new(was.Uuid, was.Device);
        bool areAllKept = was.Trunks is null || was.Trunks.Equals(trunks);
        return areAllKept || DoomedLinks.Contains(doomed) ? this : this with { DoomedLinks = DoomedLinks.Add(doomed) };
    }

    private RefusalException NoVlan(Vif vif, ushort tag)
    {
        Network network = NetworkOf(vif.Network);
        if (PifOf(network) is { } uplink)
        {
            return new RefusalException(vif.Device,
                $"no vlan {tag} on {uplink.Device}; vlan create --pif {uplink.Device} --tag {tag} --network LABEL first");
        }

        string why = VlanOf(network) is { } vlan ? $"is tag {vlan.Tag} of {PifOf(vlan.Pif).Device} itself" : "has no pif";
        return new RefusalException(vif.Device,
            $"tag {tag} has no vlan: its network {network.Label} {why}; trunks need a network with a pif that carries vlans");
    }

    private static string Without(TagSet trunks, ushort tag) =>
        trunks.Tags.Length == 1 ? "none" : new TagSet(trunks.Tags.ToArray().Where(t => t != tag)).ToString();
}
