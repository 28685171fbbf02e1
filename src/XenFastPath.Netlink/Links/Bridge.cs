// The Linux bridge: IFLA_INFO_DATA of kind "bridge" (IFLA_BR_ attributes).
using System.Buffers.Binary;
using static XenFastPath.Interop.IfBridge;

namespace XenFastPath.Netlink;

/// <summary>Priority and address of a bridge; prints as brctl does, "8000.525400123456".</summary>
public readonly record struct BridgeId(ushort Priority, MacAddress Address)
{
    internal static BridgeId Read(ReadOnlySpan<byte> value) =>
        value.Length == 8
            ? new BridgeId(BinaryPrimitives.ReadUInt16BigEndian(value), MacAddress.Read(value[2..]))
            : default;

    public override string ToString() => $"{Priority:x4}.{Address.Value:x12}";
}

/// <summary>The state of a bridge.</summary>
public sealed record BridgeData
{
    public BridgeId Id { get; init; }

    public TimeSpan AgeingTime { get; init; }

    public TimeSpan ForwardDelay { get; init; }

    public bool Stp { get; init; }

    public bool TopologyChange { get; init; }

    public bool VlanFiltering { get; init; }

    public ushort VlanDefaultPvid { get; init; }

    /// <summary>Which of 01:80:c2:00:00:0x the bridge forwards, a bit for each x.</summary>
    public ushort GroupForwardMask { get; init; }

    public bool MulticastSnooping { get; init; }

    /// <summary>Bridged IPv4 goes through iptables, on this bridge whatever the sysctl says.</summary>
    public bool CallsIptables { get; init; }

    public bool CallsIp6tables { get; init; }

    public bool CallsArptables { get; init; }

    /// <summary>Learned entries; null on kernels that do not count them (before 6.7).</summary>
    public int? FdbLearned { get; init; }

    /// <summary>0: no limit; null: the kernel has none.</summary>
    public int? FdbLearnedMax { get; init; }

    public BridgeData()
    {
    }

    internal BridgeData(NetlinkAttributes attributes)
    {
        foreach (NetlinkAttribute attribute in attributes)
        {
            switch (attribute.Type)
            {
                case IFLA_BR_BRIDGE_ID: Id = BridgeId.Read(attribute.Value); break;
                case IFLA_BR_AGEING_TIME: AgeingTime = ClockTicks.ToTimeSpan(attribute.U32); break;
                case IFLA_BR_FORWARD_DELAY: ForwardDelay = ClockTicks.ToTimeSpan(attribute.U32); break;
                case IFLA_BR_STP_STATE: Stp = attribute.U32 != 0; break;
                case IFLA_BR_TOPOLOGY_CHANGE: TopologyChange = attribute.Bool; break;
                case IFLA_BR_VLAN_FILTERING: VlanFiltering = attribute.Bool; break;
                case IFLA_BR_VLAN_DEFAULT_PVID: VlanDefaultPvid = attribute.U16; break;
                case IFLA_BR_GROUP_FWD_MASK: GroupForwardMask = attribute.U16; break;
                case IFLA_BR_MCAST_SNOOPING: MulticastSnooping = attribute.Bool; break;
                case IFLA_BR_NF_CALL_IPTABLES: CallsIptables = attribute.Bool; break;
                case IFLA_BR_NF_CALL_IP6TABLES: CallsIp6tables = attribute.Bool; break;
                case IFLA_BR_NF_CALL_ARPTABLES: CallsArptables = attribute.Bool; break;
                case IFLA_BR_FDB_N_LEARNED: FdbLearned = attribute.S32; break;
                case IFLA_BR_FDB_MAX_LEARNED: FdbLearnedMax = attribute.S32; break;
            }
        }
    }
}

/// <summary>Settings of a bridge.</summary>
public sealed record BridgeSettings : LinkKindSettings
{
    public override string Kind => "bridge";

    public TimeSpan? AgeingTime { get; init; }

    public TimeSpan? ForwardDelay { get; init; }

    public bool? Stp { get; init; }

    public ushort? Priority { get; init; }

    public bool? VlanFiltering { get; init; }

    /// <summary>0: ports get no VLAN when they join.</summary>
    public ushort? VlanDefaultPvid { get; init; }

    public ushort? GroupForwardMask { get; init; }

    public bool? MulticastSnooping { get; init; }

    public bool? CallsIptables { get; init; }

    public bool? CallsIp6tables { get; init; }

    public bool? CallsArptables { get; init; }

    /// <summary>0: no limit. Refused or ignored by kernels before 6.7.</summary>
    public int? FdbLearnedMax { get; init; }

    internal override void WriteData(NetlinkWriter request)
    {
        request.U32(IFLA_BR_FORWARD_DELAY, ClockTicks.From(ForwardDelay));
        request.U32(IFLA_BR_AGEING_TIME, ClockTicks.From(AgeingTime));
        request.U32(IFLA_BR_STP_STATE, Stp is { } stp ? (stp ? 1u : 0u) : null);
        request.U16(IFLA_BR_PRIORITY, Priority);
        request.Bool(IFLA_BR_VLAN_FILTERING, VlanFiltering);
        request.U16(IFLA_BR_VLAN_DEFAULT_PVID, VlanDefaultPvid);
        request.U16(IFLA_BR_GROUP_FWD_MASK, GroupForwardMask);
        request.Bool(IFLA_BR_MCAST_SNOOPING, MulticastSnooping);
        request.Bool(IFLA_BR_NF_CALL_IPTABLES, CallsIptables);
        request.Bool(IFLA_BR_NF_CALL_IP6TABLES, CallsIp6tables);
        request.Bool(IFLA_BR_NF_CALL_ARPTABLES, CallsArptables);
        request.S32(IFLA_BR_FDB_MAX_LEARNED, FdbLearnedMax);
    }
}

/// <summary>Times in netlink's clock_t, hundredths of a second.</summary>
internal static class ClockTicks
{
    private const int MillisecondsPerTick = 1000 / (int)Interop.Neighbour.USER_HZ;

    public static TimeSpan ToTimeSpan(uint ticks) => TimeSpan.FromMilliseconds((long)ticks * MillisecondsPerTick);

    public static uint? From(TimeSpan? time) =>
        time is { } t ? checked((uint)((long)t.TotalMilliseconds / MillisecondsPerTick)) : null;
}
