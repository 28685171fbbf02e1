// Bonding (Documentation/networking/bonding.rst): IFLA_INFO_DATA and IFLA_INFO_SLAVE_DATA of kind "bond".
using System.Net;
using static XenFastPath.Interop.IfLink;

namespace XenFastPath.Netlink;

public enum BondMode : byte
{
    RoundRobin = BOND_MODE_ROUNDROBIN,
    ActiveBackup = BOND_MODE_ACTIVEBACKUP,
    Xor = BOND_MODE_XOR,
    Broadcast = BOND_MODE_BROADCAST,
    Lacp = BOND_MODE_8023AD,
    TransmitLoadBalancing = BOND_MODE_TLB,
    AdaptiveLoadBalancing = BOND_MODE_ALB,
}

/// <summary>The kernel's words for the modes, as its module parameter and sysfs have them (bond_mode_tbl of bond_options.c).</summary>
public static class BondModes
{
    public static string Word(this BondMode mode) => mode switch
    {
        BondMode.RoundRobin => "balance-rr",
        BondMode.ActiveBackup => "active-backup",
        BondMode.Xor => "balance-xor",
        BondMode.Broadcast => "broadcast",
        BondMode.Lacp => "802.3ad",
        BondMode.TransmitLoadBalancing => "balance-tlb",
        BondMode.AdaptiveLoadBalancing => "balance-alb",
        _ => $"mode {(int)mode}",
    };
}

/// <summary>xmit_hash_policy: which headers choose the slave.</summary>
public enum BondHashPolicy : byte
{
    Layer2 = BOND_XMIT_POLICY_LAYER2,
    Layer34 = BOND_XMIT_POLICY_LAYER34,
    Layer23 = BOND_XMIT_POLICY_LAYER23,
    Encap23 = BOND_XMIT_POLICY_ENCAP23,
    Encap34 = BOND_XMIT_POLICY_ENCAP34,
    VlanSourceMac = BOND_XMIT_POLICY_VLAN_SRCMAC,
}

public enum BondSlaveState : byte
{
    Active = BOND_STATE_ACTIVE,
    Backup = BOND_STATE_BACKUP,
}

/// <summary>What the link monitor thinks of a slave; Fail and Back are the delays before Down and Up.</summary>
public enum BondMiiStatus : byte
{
    Up = BOND_LINK_UP,
    Fail = BOND_LINK_FAIL,
    Down = BOND_LINK_DOWN,
    Back = BOND_LINK_BACK,
}

/// <summary>The active aggregator of an LACP bond. A zero <paramref name="PartnerAddress"/>: nobody answers.</summary>
public sealed record BondAggregator(
    ushort Id, ushort Ports, ushort ActorKey, ushort PartnerKey, MacAddress PartnerAddress);

/// <summary>The state of a bond.</summary>
public sealed record BondData
{
    public BondMode Mode { get; init; }

    /// <summary>Null: none, or a mode that has none.</summary>
    public int? ActiveSlaveIndex { get; init; }

    public int? PrimarySlaveIndex { get; init; }

    public int MiiMonitorMs { get; init; }

    public int UpDelayMs { get; init; }

    public int DownDelayMs { get; init; }

    public int ArpIntervalMs { get; init; }

    public IReadOnlyList<IPAddress> ArpTargets { get; init; } = [];

    public bool UseCarrier { get; init; } = true;

    public BondHashPolicy HashPolicy { get; init; }

    public byte FailOverMac { get; init; }

    public int MinLinks { get; init; }

    public bool LacpRateFast { get; init; }

    /// <summary>LACP only; the upper ten bits of the actor's key. Shown to CAP_NET_ADMIN alone.</summary>
    public ushort? LacpUserPortKey { get; init; }

    public BondAggregator? Aggregator { get; init; }

    public BondData()
    {
    }

    internal BondData(NetlinkAttributes attributes)
    {
        foreach (NetlinkAttribute attribute in attributes)
        {
            switch (attribute.Type)
            {
                case IFLA_BOND_MODE: Mode = (BondMode)attribute.U8; break;
                case IFLA_BOND_ACTIVE_SLAVE: ActiveSlaveIndex = attribute.S32; break;
                case IFLA_BOND_PRIMARY: PrimarySlaveIndex = attribute.S32; break;
                case IFLA_BOND_MIIMON: MiiMonitorMs = attribute.S32; break;
                case IFLA_BOND_UPDELAY: UpDelayMs = attribute.S32; break;
                case IFLA_BOND_DOWNDELAY: DownDelayMs = attribute.S32; break;
                case IFLA_BOND_ARP_INTERVAL: ArpIntervalMs = attribute.S32; break;
                case IFLA_BOND_ARP_IP_TARGET: ArpTargets = ReadTargets(attribute.Nested); break;
                case IFLA_BOND_USE_CARRIER: UseCarrier = attribute.Bool; break;
                case IFLA_BOND_XMIT_HASH_POLICY: HashPolicy = (BondHashPolicy)attribute.U8; break;
                case IFLA_BOND_FAIL_OVER_MAC: FailOverMac = attribute.U8; break;
                case IFLA_BOND_MIN_LINKS: MinLinks = attribute.S32; break;
                case IFLA_BOND_AD_LACP_RATE: LacpRateFast = attribute.Bool; break;
                case IFLA_BOND_AD_USER_PORT_KEY: LacpUserPortKey = attribute.U16; break;
                case IFLA_BOND_AD_INFO: Aggregator = ReadAggregator(attribute.Nested); break;
            }
        }
    }

    private static List<IPAddress> ReadTargets(NetlinkAttributes targets)
    {
        var addresses = new List<IPAddress>();
        foreach (NetlinkAttribute target in targets)
        {
            if (target.Address is { } address)
                addresses.Add(address);
        }
        return addresses;
    }

    private static BondAggregator ReadAggregator(NetlinkAttributes info) => new(
        info.Find(IFLA_BOND_AD_INFO_AGGREGATOR).U16,
        info.Find(IFLA_BOND_AD_INFO_NUM_PORTS).U16,
        info.Find(IFLA_BOND_AD_INFO_ACTOR_KEY).U16,
        info.Find(IFLA_BOND_AD_INFO_PARTNER_KEY).U16,
        info.Find(IFLA_BOND_AD_INFO_PARTNER_MAC).Mac ?? default);
}

/// <summary>The state of one member of a bond.</summary>
public sealed record BondSlaveData
{
    public BondSlaveState State { get; init; }

    public BondMiiStatus MiiStatus { get; init; }

    public uint LinkFailures { get; init; }

    /// <summary>The slave's own address: while it is a slave the link shows the bond's.</summary>
    public MacAddress? PermanentAddress { get; init; }

    public ushort QueueId { get; init; }

    /// <summary>LACP only, as are the two below (802.1AX port state bits).</summary>
    public ushort? AggregatorId { get; init; }

    public byte? ActorPortState { get; init; }

    public ushort? PartnerPortState { get; init; }

    public BondSlaveData()
    {
    }

    internal BondSlaveData(NetlinkAttributes attributes)
    {
        foreach (NetlinkAttribute attribute in attributes)
        {
            switch (attribute.Type)
            {
                case IFLA_BOND_SLAVE_STATE: State = (BondSlaveState)attribute.U8; break;
                case IFLA_BOND_SLAVE_MII_STATUS: MiiStatus = (BondMiiStatus)attribute.U8; break;
                case IFLA_BOND_SLAVE_LINK_FAILURE_COUNT: LinkFailures = attribute.U32; break;
                case IFLA_BOND_SLAVE_PERM_HWADDR: PermanentAddress = attribute.Mac; break;
                case IFLA_BOND_SLAVE_QUEUE_ID: QueueId = attribute.U16; break;
                case IFLA_BOND_SLAVE_AD_AGGREGATOR_ID: AggregatorId = attribute.U16; break;
                case IFLA_BOND_SLAVE_AD_ACTOR_OPER_PORT_STATE: ActorPortState = attribute.U8; break;
                case IFLA_BOND_SLAVE_AD_PARTNER_OPER_PORT_STATE: PartnerPortState = attribute.U16; break;
            }
        }
    }
}

/// <summary>
/// Settings of a bond. Several, Mode first of all, can only be changed while it has no slaves or is down.
/// </summary>
public sealed record BondSettings : LinkKindSettings
{
    public override string Kind => "bond";

    public BondMode? Mode { get; init; }

    /// <summary>0: none.</summary>
    public int? ActiveSlaveIndex { get; init; }

    public int? PrimarySlaveIndex { get; init; }

    public int? MiiMonitorMs { get; init; }

    public int? UpDelayMs { get; init; }

    public int? DownDelayMs { get; init; }

    public int? ArpIntervalMs { get; init; }

    public IReadOnlyList<IPAddress>? ArpTargets { get; init; }

    public bool? UseCarrier { get; init; }

    public BondHashPolicy? HashPolicy { get; init; }

    public byte? FailOverMac { get; init; }

    public int? MinLinks { get; init; }

    public bool? LacpRateFast { get; init; }

    /// <summary>LACP only, 0..1023.</summary>
    public ushort? LacpUserPortKey { get; init; }

    internal override void WriteData(NetlinkWriter request)
    {
        request.U8(IFLA_BOND_MODE, (byte?)Mode);
        request.S32(IFLA_BOND_ACTIVE_SLAVE, ActiveSlaveIndex);
        request.S32(IFLA_BOND_MIIMON, MiiMonitorMs);
        request.S32(IFLA_BOND_UPDELAY, UpDelayMs);
        request.S32(IFLA_BOND_DOWNDELAY, DownDelayMs);
        request.Bool(IFLA_BOND_USE_CARRIER, UseCarrier);
        request.S32(IFLA_BOND_ARP_INTERVAL, ArpIntervalMs);
        WriteTargets(request);
        request.S32(IFLA_BOND_PRIMARY, PrimarySlaveIndex);
        request.U8(IFLA_BOND_FAIL_OVER_MAC, FailOverMac);
        request.U8(IFLA_BOND_XMIT_HASH_POLICY, (byte?)HashPolicy);
        request.S32(IFLA_BOND_MIN_LINKS, MinLinks);
        request.Bool(IFLA_BOND_AD_LACP_RATE, LacpRateFast);
        request.U16(IFLA_BOND_AD_USER_PORT_KEY, LacpUserPortKey);
    }

    private void WriteTargets(NetlinkWriter request)
    {
        if (ArpTargets is null)
            return;
        using NetlinkNest targets = request.Nest(IFLA_BOND_ARP_IP_TARGET);
        for (int i = 0; i < ArpTargets.Count; i++)
            request.Address((ushort)i, ArpTargets[i]);
    }
}
