// linux/netdev.h: the generic netlink family "netdev" (XDP and AF_XDP features per device; kernel 6.3 and later).
namespace XenFastPath.Interop;

public static class NetdevNetlink
{
    public const string NETDEV_FAMILY_NAME = "netdev", NETDEV_MCGRP_MGMT = "mgmt";
    public const byte NETDEV_FAMILY_VERSION = 1;

    public const byte NETDEV_CMD_DEV_GET = 1, NETDEV_CMD_DEV_ADD_NTF = 2, NETDEV_CMD_DEV_DEL_NTF = 3,
        NETDEV_CMD_DEV_CHANGE_NTF = 4;

    public const ushort NETDEV_A_DEV_IFINDEX = 1, NETDEV_A_DEV_XDP_FEATURES = 3, NETDEV_A_DEV_XDP_ZC_MAX_SEGS = 4,
        NETDEV_A_DEV_XDP_RX_METADATA_FEATURES = 5, NETDEV_A_DEV_XSK_FEATURES = 6;

    public const ulong NETDEV_XDP_ACT_BASIC = 1, NETDEV_XDP_ACT_REDIRECT = 2, NETDEV_XDP_ACT_NDO_XMIT = 4,
        NETDEV_XDP_ACT_XSK_ZEROCOPY = 8, NETDEV_XDP_ACT_HW_OFFLOAD = 16, NETDEV_XDP_ACT_RX_SG = 32,
        NETDEV_XDP_ACT_NDO_XMIT_SG = 64;
    public const ulong NETDEV_XDP_RX_METADATA_TIMESTAMP = 1, NETDEV_XDP_RX_METADATA_HASH = 2,
        NETDEV_XDP_RX_METADATA_VLAN_TAG = 4;
    public const ulong NETDEV_XSK_FLAGS_TX_TIMESTAMP = 1, NETDEV_XSK_FLAGS_TX_CHECKSUM = 2,
        NETDEV_XSK_FLAGS_TX_LAUNCH_TIME_FIFO = 4;
}
