// A port of a Linux bridge: IFLA_INFO_SLAVE_DATA of kind "bridge", and IFLA_PROTINFO of AF_BRIDGE (IFLA_BRPORT_
// attributes).
using static XenFastPath.Interop.IfBridge;

namespace XenFastPath.Netlink;

/// <summary>Spanning tree state of a port.</summary>
public enum BridgePortState : byte
{
    Disabled = BR_STATE_DISABLED,
    Listening = BR_STATE_LISTENING,
    Learning = BR_STATE_LEARNING,
    Forwarding = BR_STATE_FORWARDING,
    Blocking = BR_STATE_BLOCKING,
}

/// <summary>
/// The state of a bridge port. What an older kernel does not report has the value that the kernel behaves by.
/// </summary>
public sealed record BridgePortData
{
    public BridgePortState State { get; init; }

    public ushort PortNumber { get; init; }

    public bool Hairpin { get; init; }

    /// <summary>Drops STP frames that come in.</summary>
    public bool Guard { get; init; }

    /// <summary>May never become the root port.</summary>
    public bool Protect { get; init; }

    public bool FastLeave { get; init; }

    public bool Learning { get; init; } = true;

    public bool UnicastFlood { get; init; } = true;

    public bool MulticastFlood { get; init; } = true;

    public bool BroadcastFlood { get; init; } = true;

    public ushort GroupForwardMask { get; init; }

    public bool NeighbourSuppress { get; init; }

    /// <summary>Isolated ports do not reach each other.</summary>
    public bool Isolated { get; init; }

    /// <summary>Only source addresses in the FDB may send.</summary>
    public bool Locked { get; init; }

    /// <summary>Unknown sources on a locked port are learned as locked entries.</summary>
    public bool MacAuthBypass { get; init; }

    public bool ProxyArp { get; init; }

    public bool ProxyArpWifi { get; init; }

    public BridgePortData()
    {
    }

    internal BridgePortData(NetlinkAttributes attributes)
    {
        foreach (NetlinkAttribute attribute in attributes)
        {
            switch (attribute.Type)
            {
                case IFLA_BRPORT_STATE: State = (BridgePortState)attribute.U8; break;
                case IFLA_BRPORT_NO: PortNumber = attribute.U16; break;
                case IFLA_BRPORT_MODE: Hairpin = attribute.Bool; break;
                case IFLA_BRPORT_GUARD: Guard = attribute.Bool; break;
                case IFLA_BRPORT_PROTECT: Protect = attribute.Bool; break;
                case IFLA_BRPORT_FAST_LEAVE: FastLeave = attribute.Bool; break;
                case IFLA_BRPORT_LEARNING: Learning = attribute.Bool; break;
                case IFLA_BRPORT_UNICAST_FLOOD: UnicastFlood = attribute.Bool; break;
                case IFLA_BRPORT_MCAST_FLOOD: MulticastFlood = attribute.Bool; break;
                case IFLA_BRPORT_BCAST_FLOOD: BroadcastFlood = attribute.Bool; break;
                case IFLA_BRPORT_GROUP_FWD_MASK: GroupForwardMask = attribute.U16; break;
                case IFLA_BRPORT_NEIGH_SUPPRESS: NeighbourSuppress = attribute.Bool; break;
                case IFLA_BRPORT_ISOLATED: Isolated = attribute.Bool; break;
                case IFLA_BRPORT_LOCKED: Locked = attribute.Bool; break;
                case IFLA_BRPORT_MAB: MacAuthBypass = attribute.Bool; break;
                case IFLA_BRPORT_PROXYARP: ProxyArp = attribute.Bool; break;
                case IFLA_BRPORT_PROXYARP_WIFI: ProxyArpWifi = attribute.Bool; break;
            }
        }
    }
}

/// <summary>Settings of a bridge port. What is null stays as it is.</summary>
public sealed record BridgePortSettings
{
    /// <summary>Only while the bridge does not run STP.</summary>
    public BridgePortState? State { get; init; }

    public ushort? Priority { get; init; }

    public uint? PathCost { get; init; }

    public bool? Hairpin { get; init; }

    public bool? Guard { get; init; }

    public bool? Protect { get; init; }

    public bool? FastLeave { get; init; }

    public bool? Learning { get; init; }

    public bool? UnicastFlood { get; init; }

    public bool? MulticastFlood { get; init; }

    public bool? BroadcastFlood { get; init; }

    public ushort? GroupForwardMask { get; init; }

    public bool? NeighbourSuppress { get; init; }

    public bool? Isolated { get; init; }

    public bool? Locked { get; init; }

    public bool? MacAuthBypass { get; init; }

    public bool? ProxyArp { get; init; }

    public bool? ProxyArpWifi { get; init; }

    internal void Write(NetlinkWriter request)
    {
        request.U8(IFLA_BRPORT_STATE, (byte?)State);
        request.U16(IFLA_BRPORT_PRIORITY, Priority);
        request.U32(IFLA_BRPORT_COST, PathCost);
        request.Bool(IFLA_BRPORT_MODE, Hairpin);
        request.Bool(IFLA_BRPORT_GUARD, Guard);
        request.Bool(IFLA_BRPORT_PROTECT, Protect);
        request.Bool(IFLA_BRPORT_FAST_LEAVE, FastLeave);
        request.Bool(IFLA_BRPORT_LEARNING, Learning);
        request.Bool(IFLA_BRPORT_UNICAST_FLOOD, UnicastFlood);
        request.Bool(IFLA_BRPORT_MCAST_FLOOD, MulticastFlood);
        request.Bool(IFLA_BRPORT_BCAST_FLOOD, BroadcastFlood);
        request.U16(IFLA_BRPORT_GROUP_FWD_MASK, GroupForwardMask);
        request.Bool(IFLA_BRPORT_NEIGH_SUPPRESS, NeighbourSuppress);
        request.Bool(IFLA_BRPORT_ISOLATED, Isolated);
        request.Bool(IFLA_BRPORT_LOCKED, Locked);
        request.Bool(IFLA_BRPORT_MAB, MacAuthBypass);
        request.Bool(IFLA_BRPORT_PROXYARP, ProxyArp);
        request.Bool(IFLA_BRPORT_PROXYARP_WIFI, ProxyArpWifi);
    }
}
