// linux/rtnetlink.h (man 7 rtnetlink): message types, groups and the headers of link and tc messages.
using System.Runtime.InteropServices;

#pragma warning disable CS8981 // The kernel's type names are lower case.

namespace XenFastPath.Interop;

[StructLayout(LayoutKind.Sequential)]
public struct ifinfomsg
{
    public byte ifi_family;
    public byte __ifi_pad;
    public ushort ifi_type;
    public int ifi_index;
    public uint ifi_flags;
    public uint ifi_change;
}

[StructLayout(LayoutKind.Sequential)]
public struct tcmsg
{
    public byte tcm_family;
    public byte tcm__pad1;
    public ushort tcm__pad2;
    public int tcm_ifindex;
    public uint tcm_handle;
    public uint tcm_parent;
    public uint tcm_info;
}

[StructLayout(LayoutKind.Sequential)]
public struct rtmsg
{
    public byte rtm_family;
    public byte rtm_dst_len;
    public byte rtm_src_len;
    public byte rtm_tos;
    public byte rtm_table;
    public byte rtm_protocol;
    public byte rtm_scope;
    public byte rtm_type;
    public uint rtm_flags;
}

/// <summary>One next hop of RTA_MULTIPATH; its attributes follow it.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct rtnexthop
{
    public ushort rtnh_len;
    public byte rtnh_flags;
    public byte rtnh_hops;
    public int rtnh_ifindex;
}

/// <summary>rta_expires is in clock ticks (USER_HZ, 100 to the second); 0 never.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct rta_cacheinfo
{
    public uint rta_clntref;
    public uint rta_lastuse;
    public int rta_expires;
    public uint rta_error;
    public uint rta_used;
    public uint rta_id;
    public uint rta_ts;
    public uint rta_tsage;
}

public static class RtNetlink
{
    public const byte AF_INET = 2, AF_BRIDGE = 7, AF_INET6 = 10;

    public const ushort RTM_NEWLINK = 16, RTM_DELLINK = 17, RTM_GETLINK = 18, RTM_SETLINK = 19;
    public const ushort RTM_NEWADDR = 20, RTM_DELADDR = 21, RTM_GETADDR = 22;
    public const ushort RTM_NEWROUTE = 24, RTM_DELROUTE = 25, RTM_GETROUTE = 26;
    public const ushort RTM_NEWRULE = 32, RTM_DELRULE = 33, RTM_GETRULE = 34;
    public const ushort RTM_NEWNEIGH = 28, RTM_DELNEIGH = 29, RTM_GETNEIGH = 30;
    public const ushort RTM_NEWQDISC = 36, RTM_DELQDISC = 37, RTM_GETQDISC = 38;
    public const ushort RTM_NEWTFILTER = 44, RTM_DELTFILTER = 45, RTM_GETTFILTER = 46;
    public const ushort RTM_NEWLINKPROP = 108, RTM_DELLINKPROP = 109;

    public const uint RTNLGRP_LINK = 1, RTNLGRP_NEIGH = 3, RTNLGRP_TC = 4, RTNLGRP_IPV4_IFADDR = 5,
        RTNLGRP_IPV4_ROUTE = 7, RTNLGRP_IPV6_IFADDR = 9, RTNLGRP_IPV6_ROUTE = 11, RTNLGRP_MDB = 26, RTNLGRP_NSID = 28, RTNLGRP_BRVLAN = 33;

    public const ushort RTA_DST = 1, RTA_SRC = 2, RTA_OIF = 4, RTA_GATEWAY = 5, RTA_PRIORITY = 6, RTA_PREFSRC = 7, RTA_METRICS = 8,
        RTA_MULTIPATH = 9, RTA_CACHEINFO = 12, RTA_TABLE = 15, RTA_VIA = 18, RTA_PREF = 20, RTA_EXPIRES = 23, RTA_NH_ID = 30;
    public const ushort RTAX_MTU = 2;

    public const byte RTN_UNSPEC = 0, RTN_UNICAST = 1, RTN_LOCAL = 2, RTN_BROADCAST = 3, RTN_ANYCAST = 4, RTN_MULTICAST = 5, RTN_BLACKHOLE = 6,
        RTN_UNREACHABLE = 7, RTN_PROHIBIT = 8, RTN_THROW = 9, RTN_NAT = 10;
    public const byte RTPROT_UNSPEC = 0, RTPROT_REDIRECT = 1, RTPROT_KERNEL = 2, RTPROT_BOOT = 3, RTPROT_STATIC = 4, RTPROT_RA = 9, RTPROT_DHCP = 16;
    public const uint RT_TABLE_UNSPEC = 0, RT_TABLE_MAIN = 254, RT_TABLE_LOCAL = 255;
    public const byte RT_TABLE_COMPAT = 252;
    public const uint RTNH_F_DEAD = 1, RTNH_F_ONLINK = 4, RTNH_F_OFFLOAD = 8, RTNH_F_LINKDOWN = 16, RTNH_F_UNRESOLVED = 32, RTNH_F_TRAP = 64;
    public const uint RTM_F_CLONED = 0x200;

    public const ushort TCA_KIND = 1, TCA_OPTIONS = 2, TCA_CHAIN = 11;
}
