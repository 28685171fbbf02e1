// The steps that make VLAN subinterfaces and bonds.
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

/// <summary>Makes the 802.1Q subinterface of a VLAN, up and marked as ours.</summary>
public sealed record CreateVlan(Vlan Vlan, string Trunk, int TrunkIfindex) : PlanAction
{
    public override string Subject => Vlan.Device;

    public override string Text => $"create vlan {Vlan.Device} on {Trunk}, tag {Vlan.Tag}";
}

/// <summary>Makes the bonding device of a bond, marked as ours, without members.</summary>
public sealed record CreateBond(Bond Bond, MacAddress Address) : PlanAction
{
    public override string Subject => Bond.Device;

    public override string Text => $"create bond {Bond.Device}, mode {BondWords.Word(Bond.Mode)}, address {Address}";
}

/// <summary>Changes settings of a bonding device. Some need it down or empty: earlier steps see to that.</summary>
public sealed record ChangeBond(string Device, int Ifindex, BondSettings Settings, string What) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"change bond {Device}: {What}";
}

/// <summary>Puts a card into a bond, by name: the bond may have been made by an earlier step. The kernel wants the card down.</summary>
public sealed record Enslave(string Device, int Ifindex, string Bond) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"add {Device} to bond {Bond}";
}

/// <summary>Takes a card out of a bond; the kernel gives it its own address back and sets it down.</summary>
public sealed record Release(string Device, int Ifindex, string Bond) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"remove {Device} from bond {Bond}";
}

/// <summary>Sets a device administratively down, for a change that the kernel makes in no other state.</summary>
public sealed record SetDown(string Device, int Ifindex) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"set {Device} down";
}

/// <summary>Puts the rules of balance-slb in force on a bond, or changes who sends by which member.</summary>
public sealed record ConfigureSlb(string Device, int Ifindex, SlbSettings Settings, string Usable, string Active) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"balance-slb on {Device}: {(Usable.Length == 0 ? "no member is usable" : $"{Usable} usable, {Active} active")}";
}

/// <summary>Takes the rules of balance-slb off a bond.</summary>
public sealed record RemoveSlb(string Device, int Ifindex) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"no balance-slb on {Device}";
}

/// <summary>Tells the switch by which member of an active-backup bond our addresses are to be reached now.</summary>
public sealed record TellMember(string Device, int Ifindex, string MemberName, int Member, IReadOnlyList<UplinkPort> Uplinks) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"announce what is behind {Device} on {MemberName}";
}

/// <summary>
/// Makes the subinterface of a VIF for one of its trunks, marked as the VIF's. It stays down until it is in its bridge: a guest must not
/// find dom0 on it.
/// </summary>
public sealed record CreateTag(string Device, Guid Vif, string Trunk, int TrunkIfindex, int Tag) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"create {Device} on {Trunk}, tag {Tag}";
}

/// <summary>Deletes a VLAN subinterface or a bonding device that bears our mark.</summary>
public sealed record DeleteDevice(string Device, int Ifindex) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"delete {Device}";
}
