// A network interface as RTM_NEWLINK describes it. The other half of the record, LinkInfo.Decode.cs, reads the message.
using static XenFastPath.Interop.IfLink;

namespace XenFastPath.Netlink;

/// <summary>IFF_ flags (man 7 netdevice).</summary>
[Flags]
public enum LinkFlags : uint
{
    None = 0,
    Up = IFF_UP,
    Broadcast = IFF_BROADCAST,
    Loopback = IFF_LOOPBACK,
    Running = IFF_RUNNING,
    NoArp = IFF_NOARP,
    Promiscuous = IFF_PROMISC,
    AllMulticast = IFF_ALLMULTI,
    Master = IFF_MASTER,
    Slave = IFF_SLAVE,
    Multicast = IFF_MULTICAST,
    LowerUp = IFF_LOWER_UP,
    Dormant = IFF_DORMANT,
}

/// <summary>RFC 2863 operational state.</summary>
public enum OperState : byte
{
    Unknown = IF_OPER_UNKNOWN,
    NotPresent = IF_OPER_NOTPRESENT,
    Down = IF_OPER_DOWN,
    LowerLayerDown = IF_OPER_LOWERLAYERDOWN,
    Testing = IF_OPER_TESTING,
    Dormant = IF_OPER_DORMANT,
    Up = IF_OPER_UP,
}

/// <summary>Why a link notification was sent (IFLA_EVENT).</summary>
public enum LinkEvent : uint
{
    None = IFLA_EVENT_NONE,
    Reboot = IFLA_EVENT_REBOOT,
    Features = IFLA_EVENT_FEATURES,
    BondingFailover = IFLA_EVENT_BONDING_FAILOVER,
    NotifyPeers = IFLA_EVENT_NOTIFY_PEERS,
    IgmpResend = IFLA_EVENT_IGMP_RESEND,
    BondingOptions = IFLA_EVENT_BONDING_OPTIONS,
}

/// <summary>In which mode an XDP program runs.</summary>
public enum XdpMode : byte
{
    None = XDP_ATTACHED_NONE,
    Driver = XDP_ATTACHED_DRV,
    Generic = XDP_ATTACHED_SKB,
    Hardware = XDP_ATTACHED_HW,
    Multiple = XDP_ATTACHED_MULTI,
}

/// <summary>
/// The XDP programs of a link. <paramref name="ProgramId"/> is the one in force, 0 if there is none or more than one.
/// </summary>
public readonly record struct XdpAttachment(
    XdpMode Mode, uint ProgramId, uint DriverProgramId, uint GenericProgramId, uint HardwareProgramId);

/// <summary>The counters of a link; they are the driver's, hence from the machine's point of view.</summary>
public readonly record struct LinkStats(
    ulong RxFrames, ulong RxBytes, ulong RxErrors, ulong RxDropped,
    ulong TxFrames, ulong TxBytes, ulong TxErrors, ulong TxDropped);

/// <summary>One network interface.</summary>
public sealed partial record LinkInfo
{
    public int Index { get; init; }

    public string Name { get; init; } = "";

    public IReadOnlyList<string> AltNames { get; init; } = [];

    /// <summary>
    /// The bridge's own flavour of message (AF_BRIDGE), which only says what changed about a port: counters, kind and
    /// most else are absent. An RTM_DELLINK of this flavour means that the link left its bridge, not that it is gone.
    /// </summary>
    public bool IsPortMessage { get; init; }

    public LinkFlags Flags { get; init; }

    /// <summary>Somebody wants it up.</summary>
    public bool IsUp => (Flags & LinkFlags.Up) != 0;

    /// <summary>It works: up, with carrier, not dormant.</summary>
    public bool IsRunning => (Flags & LinkFlags.Running) != 0;

    /// <summary>The driver has a carrier.</summary>
    public bool IsLowerUp => (Flags & LinkFlags.LowerUp) != 0;

    public OperState OperState { get; init; }

    public LinkEvent Event { get; init; }

    public int Mtu { get; init; }

    public int MinMtu { get; init; }

    /// <summary>0 when the driver sets no limit.</summary>
    public int MaxMtu { get; init; }

    public uint TxQueueLength { get; init; }

    /// <summary>Null where the address is not an Ethernet address.</summary>
    public MacAddress? Address { get; init; }

    /// <summary>Burnt in; null for software devices.</summary>
    public MacAddress? PermanentAddress { get; init; }

    public string? Alias { get; init; }

    /// <summary>The bridge or bond it belongs to, or 0.</summary>
    public int MasterIndex { get; init; }

    /// <summary>The lower device of a VLAN or VXLAN, the peer of a veth; 0 if there is none.</summary>
    public int LinkIndex { get; init; }

    /// <summary>The namespace id in which <see cref="LinkIndex"/> is to be looked up; null: this one.</summary>
    public int? LinkNetnsId { get; init; }

    /// <summary>"bridge", "vlan", "bond", "veth", ...; null for most hardware, and for xen-netback.</summary>
    public string? Kind { get; init; }

    /// <summary>What its master is: "bridge", "bond", ...</summary>
    public string? SlaveKind { get; init; }

    /// <summary>
    /// Where the hardware sits, such as "0000:03:00.0" on bus "pci", or "vif-1-0" on bus "xen-backend".
    /// </summary>
    public string? ParentDeviceName { get; init; }

    public string? ParentBusName { get; init; }

    public int RxQueues { get; init; }

    public int TxQueues { get; init; }

    /// <summary>Does the kernel make an IPv6 link-local address on it? Null where the device has no IPv6.</summary>
    public bool? Ipv6LinkLocal { get; init; }

    /// <summary>How many users want it promiscuous.</summary>
    public int Promiscuity { get; init; }

    public XdpAttachment Xdp { get; init; }

    /// <summary>Zeros where they were not asked for.</summary>
    public LinkStats Stats { get; init; }

    public BridgeData? Bridge { get; init; }

    public BridgePortData? BridgePort { get; init; }

    public VlanData? Vlan { get; init; }

    public BondData? Bond { get; init; }

    public BondSlaveData? BondSlave { get; init; }

    public VxlanData? Vxlan { get; init; }

    public TunData? Tun { get; init; }
}
