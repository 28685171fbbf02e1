// linux/if_link.h and, for what it describes, linux/if.h, linux/if_tun.h, linux/if_bonding.h and
// linux/veth.h.
using System.Runtime.InteropServices;

#pragma warning disable CS8981 // The kernel's type names are lower case.

namespace XenFastPath.Interop;

/// <summary>The head of rtnl_link_stats64; the kernel appends fields, so a longer one is normal.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct rtnl_link_stats64
{
    public ulong rx_packets;
    public ulong tx_packets;
    public ulong rx_bytes;
    public ulong tx_bytes;
    public ulong rx_errors;
    public ulong tx_errors;
    public ulong rx_dropped;
    public ulong tx_dropped;
    public ulong multicast;
}

/// <summary>linux/if.h: struct ifreq with the two members of its union that are used here.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
public unsafe struct ifreq
{
    [FieldOffset(0)] public fixed byte ifr_name[IfLink.IFNAMSIZ];
    [FieldOffset(16)] public short ifr_flags;
    [FieldOffset(16)] public void* ifr_data;
}

public static class IfLink
{
    public const int IFNAMSIZ = 16;

    public const uint IFF_UP = 0x1, IFF_BROADCAST = 0x2, IFF_LOOPBACK = 0x8, IFF_RUNNING = 0x40, IFF_NOARP = 0x80,
        IFF_PROMISC = 0x100, IFF_ALLMULTI = 0x200, IFF_MASTER = 0x400, IFF_SLAVE = 0x800, IFF_MULTICAST = 0x1000,
        IFF_LOWER_UP = 0x10000, IFF_DORMANT = 0x20000;
    public const byte IF_OPER_UNKNOWN = 0, IF_OPER_NOTPRESENT = 1, IF_OPER_DOWN = 2, IF_OPER_LOWERLAYERDOWN = 3,
        IF_OPER_TESTING = 4, IF_OPER_DORMANT = 5, IF_OPER_UP = 6;

    public const ushort IFLA_ADDRESS = 1, IFLA_IFNAME = 3, IFLA_MTU = 4, IFLA_LINK = 5, IFLA_MASTER = 10,
        IFLA_PROTINFO = 12, IFLA_TXQLEN = 13, IFLA_OPERSTATE = 16, IFLA_LINKINFO = 18, IFLA_IFALIAS = 20,
        IFLA_STATS64 = 23, IFLA_AF_SPEC = 26, IFLA_NET_NS_FD = 28, IFLA_EXT_MASK = 29, IFLA_PROMISCUITY = 30, IFLA_NUM_TX_QUEUES = 31,
        IFLA_NUM_RX_QUEUES = 32, IFLA_LINK_NETNSID = 37, IFLA_XDP = 43, IFLA_EVENT = 44, IFLA_MIN_MTU = 50,
        IFLA_MAX_MTU = 51, IFLA_PROP_LIST = 52, IFLA_ALT_IFNAME = 53, IFLA_PERM_ADDRESS = 54, IFLA_PARENT_DEV_NAME = 56,
        IFLA_PARENT_DEV_BUS_NAME = 57;
    public const uint RTEXT_FILTER_SKIP_STATS = 1 << 3;
    public const uint IFLA_EVENT_NONE = 0, IFLA_EVENT_REBOOT = 1, IFLA_EVENT_FEATURES = 2,
        IFLA_EVENT_BONDING_FAILOVER = 3, IFLA_EVENT_NOTIFY_PEERS = 4, IFLA_EVENT_IGMP_RESEND = 5,
        IFLA_EVENT_BONDING_OPTIONS = 6;

    public const ushort IFLA_INFO_KIND = 1, IFLA_INFO_DATA = 2, IFLA_INFO_SLAVE_KIND = 4, IFLA_INFO_SLAVE_DATA = 5;

    public const ushort IFLA_INET6_ADDR_GEN_MODE = 8;
    public const byte IN6_ADDR_GEN_MODE_EUI64 = 0, IN6_ADDR_GEN_MODE_NONE = 1;

    public const ushort IFLA_XDP_FD = 1, IFLA_XDP_ATTACHED = 2, IFLA_XDP_FLAGS = 3, IFLA_XDP_PROG_ID = 4,
        IFLA_XDP_DRV_PROG_ID = 5, IFLA_XDP_SKB_PROG_ID = 6, IFLA_XDP_HW_PROG_ID = 7, IFLA_XDP_EXPECTED_FD = 8;
    public const byte XDP_ATTACHED_NONE = 0, XDP_ATTACHED_DRV = 1, XDP_ATTACHED_SKB = 2, XDP_ATTACHED_HW = 3,
        XDP_ATTACHED_MULTI = 4;
    public const uint XDP_FLAGS_UPDATE_IF_NOEXIST = 1, XDP_FLAGS_SKB_MODE = 2, XDP_FLAGS_DRV_MODE = 4,
        XDP_FLAGS_HW_MODE = 8, XDP_FLAGS_REPLACE = 16;

    public const ushort VETH_INFO_PEER = 1;

    public const ushort IFLA_VLAN_ID = 1, IFLA_VLAN_PROTOCOL = 5;

    public const ushort IFLA_BOND_MODE = 1, IFLA_BOND_ACTIVE_SLAVE = 2, IFLA_BOND_MIIMON = 3, IFLA_BOND_UPDELAY = 4,
        IFLA_BOND_DOWNDELAY = 5, IFLA_BOND_USE_CARRIER = 6, IFLA_BOND_ARP_INTERVAL = 7, IFLA_BOND_ARP_IP_TARGET = 8,
        IFLA_BOND_PRIMARY = 11, IFLA_BOND_FAIL_OVER_MAC = 13, IFLA_BOND_XMIT_HASH_POLICY = 14, IFLA_BOND_MIN_LINKS = 18,
        IFLA_BOND_AD_LACP_RATE = 21, IFLA_BOND_AD_INFO = 23, IFLA_BOND_AD_USER_PORT_KEY = 25;
    public const ushort IFLA_BOND_AD_INFO_AGGREGATOR = 1, IFLA_BOND_AD_INFO_NUM_PORTS = 2,
        IFLA_BOND_AD_INFO_ACTOR_KEY = 3, IFLA_BOND_AD_INFO_PARTNER_KEY = 4, IFLA_BOND_AD_INFO_PARTNER_MAC = 5;
    public const ushort IFLA_BOND_SLAVE_STATE = 1, IFLA_BOND_SLAVE_MII_STATUS = 2,
        IFLA_BOND_SLAVE_LINK_FAILURE_COUNT = 3, IFLA_BOND_SLAVE_PERM_HWADDR = 4, IFLA_BOND_SLAVE_QUEUE_ID = 5,
        IFLA_BOND_SLAVE_AD_AGGREGATOR_ID = 6, IFLA_BOND_SLAVE_AD_ACTOR_OPER_PORT_STATE = 7,
        IFLA_BOND_SLAVE_AD_PARTNER_OPER_PORT_STATE = 8;

    public const ushort IFLA_VXLAN_ID = 1, IFLA_VXLAN_GROUP = 2, IFLA_VXLAN_LINK = 3, IFLA_VXLAN_LOCAL = 4,
        IFLA_VXLAN_TTL = 5, IFLA_VXLAN_LEARNING = 7, IFLA_VXLAN_PORT = 15, IFLA_VXLAN_GROUP6 = 16,
        IFLA_VXLAN_LOCAL6 = 17;

    public const ushort IFLA_TUN_TYPE = 3, IFLA_TUN_VNET_HDR = 5, IFLA_TUN_PERSIST = 6, IFLA_TUN_MULTI_QUEUE = 7,
        IFLA_TUN_NUM_QUEUES = 8;
    public const ushort IFF_TUN = 0x1, IFF_TAP = 0x2, IFF_MULTI_QUEUE = 0x100, IFF_NO_PI = 0x1000,
        IFF_VNET_HDR = 0x4000;
    public const uint TUNSETIFF = 0x400454ca, TUNSETPERSIST = 0x400454cb;

    // linux/if_bonding.h
    public const byte BOND_MODE_ROUNDROBIN = 0, BOND_MODE_ACTIVEBACKUP = 1, BOND_MODE_XOR = 2, BOND_MODE_BROADCAST = 3,
        BOND_MODE_8023AD = 4, BOND_MODE_TLB = 5, BOND_MODE_ALB = 6;
    public const byte BOND_XMIT_POLICY_LAYER2 = 0, BOND_XMIT_POLICY_LAYER34 = 1, BOND_XMIT_POLICY_LAYER23 = 2,
        BOND_XMIT_POLICY_ENCAP23 = 3, BOND_XMIT_POLICY_ENCAP34 = 4, BOND_XMIT_POLICY_VLAN_SRCMAC = 5;
    public const byte BOND_STATE_ACTIVE = 0, BOND_STATE_BACKUP = 1;
    public const byte BOND_LINK_UP = 0, BOND_LINK_FAIL = 1, BOND_LINK_DOWN = 2, BOND_LINK_BACK = 3;
}
