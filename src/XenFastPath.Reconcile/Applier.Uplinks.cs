// The steps that make VLAN subinterfaces and bonds.
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

public sealed partial class Applier
{
    /// <summary>The device that a step puts something into; nothing can join what could not be made.</summary>
    private static string? Into(PlanAction action) => action switch
    {
        AttachPort attach => attach.Bridge,
        Enslave enslave => enslave.Bond,
        CreateVlan vlan => vlan.Trunk,
        CreateTag tag => tag.Trunk,
        _ => null,
    };

    private void DoUplink(PlanAction action)
    {
        switch (action)
        {
            case CreateVlan create:
                Create(create);
                break;
            case CreateTag create:
                Create(create);
                break;
            case CreateBond create:
                Make(create.Bond.Device, create.Bond.Uuid, Plan.BondSettingsOf(create.Bond, primaryIndex: null),
                    new LinkSettings { Address = create.Address });
                break;
            case ChangeBond change:
                rtnl.ChangeLink(change.Ifindex, change.Settings);
                break;
            case Enslave enslave:
                LinkInfo bond = rtnl.GetLink(enslave.Bond) ?? throw new RefusalException(enslave.Bond, "the bond is missing");
                rtnl.SetMaster(enslave.Ifindex, bond.Index);
                break;
            case Release release:
                rtnl.SetMaster(release.Ifindex, 0);
                break;
            case SetDown down:
                rtnl.SetUp(down.Ifindex, false);
                break;
            case DeleteDevice delete:
                rtnl.DeleteLink(delete.Ifindex);
                break;
        }
    }

    private void Create(CreateVlan create)
    {
        Vlan vlan = create.Vlan;
        LinkInfo made = Make(vlan.Device, vlan.Uuid, new VlanSettings(create.TrunkIfindex, (ushort)vlan.Tag), LinkSettings.None);
        NameInFull(made, $"{create.Trunk}.{vlan.Tag}");
    }

    private void Create(CreateTag create)
    {
        LinkInfo made = Make(create.Device, create.Vif, new VlanSettings(create.TrunkIfindex, (ushort)create.Tag), LinkSettings.None, isUp: false);
        NameInFull(made, $"{create.Trunk}.{create.Tag}");
    }

    /// <summary>A name that had to be cut gets its long form as an altname, by which people and tools find it too.</summary>
    private void NameInFull(LinkInfo made, string full)
    {
        if (full != made.Name && rtnl.GetLink(full) is null)
            rtnl.AddAltName(made.Index, full);
    }
}
