// linux/ethtool_netlink.h (Documentation/networking/ethtool-netlink.rst) and the one ioctl of linux/ethtool.h still
// needed.
using System.Runtime.InteropServices;

namespace XenFastPath.Interop;

[StructLayout(LayoutKind.Sequential)]
public unsafe struct ethtool_drvinfo
{
    public uint cmd;
    public fixed byte driver[32];
    public fixed byte version[32];
    public fixed byte fw_version[32];
    public fixed byte bus_info[32];
    public fixed byte erom_version[32];
    public fixed byte reserved2[12];
    public uint n_priv_flags;
    public uint n_stats;
    public uint testinfo_len;
    public uint eedump_len;
    public uint regdump_len;
}

public static class EthtoolNetlink
{
    public const string ETHTOOL_GENL_NAME = "ethtool";
    public const byte ETHTOOL_GENL_VERSION = 1;

    public const byte ETHTOOL_MSG_LINKMODES_GET = 4, ETHTOOL_MSG_FEATURES_GET = 11, ETHTOOL_MSG_FEATURES_SET = 12,
        ETHTOOL_MSG_CHANNELS_GET = 17, ETHTOOL_MSG_CHANNELS_SET = 18;
    public const byte ETHTOOL_MSG_LINKMODES_GET_REPLY = 4, ETHTOOL_MSG_FEATURES_GET_REPLY = 11,
        ETHTOOL_MSG_CHANNELS_GET_REPLY = 18;

    // Every ethtool request has its header (the device and flags) as attribute 1.
    public const ushort ETHTOOL_A_HEADER = 1;
    public const ushort ETHTOOL_A_HEADER_DEV_INDEX = 1;

    public const ushort ETHTOOL_A_BITSET_NOMASK = 1, ETHTOOL_A_BITSET_BITS = 3;
    public const ushort ETHTOOL_A_BITSET_BITS_BIT = 1;
    public const ushort ETHTOOL_A_BITSET_BIT_NAME = 2, ETHTOOL_A_BITSET_BIT_VALUE = 3;

    public const ushort ETHTOOL_A_LINKMODES_SPEED = 5, ETHTOOL_A_LINKMODES_DUPLEX = 6;

    public const ushort ETHTOOL_A_FEATURES_HW = 2, ETHTOOL_A_FEATURES_WANTED = 3, ETHTOOL_A_FEATURES_ACTIVE = 4,
        ETHTOOL_A_FEATURES_NOCHANGE = 5;

    public const ushort ETHTOOL_A_CHANNELS_HEADER = 1;
    public const ushort ETHTOOL_A_CHANNELS_RX_MAX = 2, ETHTOOL_A_CHANNELS_TX_MAX = 3,
        ETHTOOL_A_CHANNELS_COMBINED_MAX = 5, ETHTOOL_A_CHANNELS_RX_COUNT = 6, ETHTOOL_A_CHANNELS_TX_COUNT = 7,
        ETHTOOL_A_CHANNELS_COMBINED_COUNT = 9;

    public const uint SIOCETHTOOL = 0x8946, ETHTOOL_GDRVINFO = 0x3;
}
