// linux/if_bridge.h and the bridge attributes of linux/if_link.h.
using System.Runtime.InteropServices;

namespace XenFastPath.Interop;

/// <summary>ifla_bridge_id: priority and MAC, as both stand on the wire.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct ifla_bridge_id
{
    public fixed byte prio[2];
    public fixed byte addr[6];
}

public static class IfBridge
{
    public const ushort IFLA_BR_FORWARD_DELAY = 1, IFLA_BR_HELLO_TIME = 2, IFLA_BR_MAX_AGE = 3, IFLA_BR_AGEING_TIME = 4,
        IFLA_BR_STP_STATE = 5, IFLA_BR_PRIORITY = 6, IFLA_BR_VLAN_FILTERING = 7, IFLA_BR_VLAN_PROTOCOL = 8,
        IFLA_BR_GROUP_FWD_MASK = 9, IFLA_BR_ROOT_ID = 10, IFLA_BR_BRIDGE_ID = 11, IFLA_BR_ROOT_PORT = 12,
        IFLA_BR_TOPOLOGY_CHANGE = 14, IFLA_BR_FDB_FLUSH = 21, IFLA_BR_MCAST_SNOOPING = 23, IFLA_BR_NF_CALL_IPTABLES = 36,
        IFLA_BR_NF_CALL_IP6TABLES = 37, IFLA_BR_NF_CALL_ARPTABLES = 38, IFLA_BR_VLAN_DEFAULT_PVID = 39,
        IFLA_BR_FDB_N_LEARNED = 48, IFLA_BR_FDB_MAX_LEARNED = 49;

    public const ushort IFLA_BRPORT_STATE = 1, IFLA_BRPORT_PRIORITY = 2, IFLA_BRPORT_COST = 3, IFLA_BRPORT_MODE = 4,
        IFLA_BRPORT_GUARD = 5, IFLA_BRPORT_PROTECT = 6, IFLA_BRPORT_FAST_LEAVE = 7, IFLA_BRPORT_LEARNING = 8,
        IFLA_BRPORT_UNICAST_FLOOD = 9, IFLA_BRPORT_PROXYARP = 10, IFLA_BRPORT_PROXYARP_WIFI = 12, IFLA_BRPORT_NO = 18,
        IFLA_BRPORT_FLUSH = 24, IFLA_BRPORT_MCAST_FLOOD = 27, IFLA_BRPORT_BCAST_FLOOD = 30, IFLA_BRPORT_GROUP_FWD_MASK = 31,
        IFLA_BRPORT_NEIGH_SUPPRESS = 32, IFLA_BRPORT_ISOLATED = 33, IFLA_BRPORT_LOCKED = 39, IFLA_BRPORT_MAB = 40;
}
