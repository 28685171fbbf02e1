// The objects of a host's networking, with XenServer's names: what is wanted, not what is.
using System.Text.Json.Serialization;

namespace XenFastPath.Model;

/// <summary>How frames of a Network travel; see DESIGN's three paths.</summary>
public enum Datapath
{
    /// <summary>The rule table decides. Until measurements say otherwise it decides for the bridge.</summary>
    Auto,

    /// <summary>XDP redirects to AF_XDP sockets, the forwarder looks up and transmits.</summary>
    Afxdp,

    /// <summary>The program itself looks up and redirects.</summary>
    Redirect,

    /// <summary>The kernel bridge alone.</summary>
    Bridge,
}

/// <summary>A virtual switch. Without a PIF it is private to this host.</summary>
/// <param name="Uuid">Its identity.</param>
/// <param name="Id">Its number in the fast path's tables, 1..65535; not used again while anything may still refer to it.</param>
/// <param name="Label">What people call it; unique.</param>
/// <param name="Bridge">The Linux bridge that it is; unique, at most 15 bytes.</param>
/// <param name="Mtu">MTU of the bridge and its ports, bytes.</param>
/// <param name="Datapath">As set; what is in force may differ, with a reason.</param>
public sealed record Network(Guid Uuid, ushort Id, string Label, string Bridge, int Mtu, Datapath Datapath);

/// <summary>
/// A physical interface. Its key is <see cref="Mac"/> (the permanent one where the device has it) with <see cref="BusPath"/>;
/// <see cref="Device"/> is the name it bore when it was last seen.
/// </summary>
/// <param name="Uuid">Its identity.</param>
/// <param name="Device">Name of the network device.</param>
/// <param name="Mac">Permanent MAC, or the address if the device has no permanent one.</param>
/// <param name="BusPath">Name of the device on its bus, e.g. 0000:03:00.0; null for virtual devices.</param>
/// <param name="Network">The Network it is the uplink of, if any.</param>
/// <param name="IsPlugged">Is it to be connected?</param>
/// <param name="WasInBridge">It was in its bridge before we came, and will be left there when the Network goes.</param>
public sealed record Pif(Guid Uuid, string Device, string Mac, string? BusPath, Guid? Network, bool IsPlugged, bool WasInBridge)
{
    /// <summary>Which device a software one (a bond, a veth) is, for it has nothing permanent; null for real ones.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public DeviceBinding? Binding { get; init; }

    /// <summary>The kernel made IPv6 link-local addresses on it before it came into a bridge, and is to again when it leaves.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool HadLinkLocal { get; init; }

    /// <summary>The bond that this PIF stands for, made here: it is found by the bond's mark, not by a key; null for all others.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Guid? Bond { get; init; }

    /// <summary>It carried addresses of this host before it came into a bridge; they go with it when it leaves.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool HadAddresses { get; init; }

    /// <summary>The addresses that this host is to have on it; null: nothing is managed.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IpConfiguration? Ip { get; init; }
}

/// <summary>
/// Which device it is: valid for one boot, one network namespace, one ifindex. Names are not identities: after a guest restart
/// vif1.0 may be another tenant.
/// </summary>
/// <param name="BootId">/proc/sys/kernel/random/boot_id.</param>
/// <param name="NetnsInode">Inode of the daemon's network namespace.</param>
/// <param name="Ifindex">The kernel's number for the device; it counts up, so a number comes again only if somebody asks for it.</param>
public sealed record DeviceBinding(string BootId, ulong NetnsInode, int Ifindex);

/// <summary>A guest's interface, as dom0 sees it.</summary>
/// <param name="Uuid">Its identity.</param>
/// <param name="Device">Name of the network device when last seen.</param>
/// <param name="Network">The Network it is plugged into.</param>
/// <param name="Mac">The guest's address, if told.</param>
/// <param name="Binding">The device it is.</param>
public sealed record Vif(Guid Uuid, string Device, Guid Network, string? Mac, DeviceBinding Binding)
{
    /// <summary>
    /// A trunk: frames with one of these tags belong to the Network of the VLAN with that tag on the uplink of its own Network. Each tag
    /// is a subinterface of the device. Null, never empty: no trunk.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public TagSet? Trunks { get; init; }
}

/// <summary>
/// A VLAN of a PIF, the uplink of a Network of its own: frames carry the tag on the PIF and none in the Network. Its device is the
/// 802.1Q subinterface of the PIF's device with this tag, whatever its name.
/// </summary>
/// <param name="Uuid">Its identity.</param>
/// <param name="Pif">The PIF (a bond's too) that carries the tagged frames.</param>
/// <param name="Tag">VLAN identifier, 1..4094; once on a PIF.</param>
/// <param name="Network">The Network it is the uplink of.</param>
/// <param name="Device">Name that the subinterface is made with.</param>
public sealed record Vlan(Guid Uuid, Guid Pif, int Tag, Guid Network, string Device)
{
    /// <summary>The subinterface was there before us, and will be left when the VLAN goes.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool WasThere { get; init; }
}

/// <summary>A device or bridge that we made for an object which is no more; it is to be deleted, if it still bears our mark.</summary>
/// <param name="Owner">The VLAN, bond or trunk VIF it was made for; a VIF's may be several.</param>
/// <param name="Device">Its name, or the VIF's.</param>
public sealed record DoomedLink(Guid Owner, string Device);

/// <summary>A bridge that we made for a Network which is no more; it is to be deleted, if it still bears our mark.</summary>
public sealed record DoomedBridge(Guid Network, string Bridge);

/// <summary>A request that cannot be carried out: which object, and why. Nothing has changed.</summary>
public sealed class RefusalException(string subject, string reason) : Exception($"{subject}: {reason}")
{
    /// <summary>Label, device or name of the object.</summary>
    public string Subject { get; } = subject;

    /// <summary>What is wrong, and if possible what to do.</summary>
    public string Reason { get; } = reason;
}
