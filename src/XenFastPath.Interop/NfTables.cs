// linux/netfilter/nfnetlink.h and linux/netfilter/nf_tables.h. Integers in nf_tables attributes are big-endian.
using System.Runtime.InteropServices;

#pragma warning disable CS8981 // The kernel's type names are lower case.

namespace XenFastPath.Interop;

[StructLayout(LayoutKind.Sequential)]
public struct nfgenmsg
{
    public byte nfgen_family;
    public byte version;
    public ushort res_id;
}

public static class NfTables
{
    public const ushort NFNL_SUBSYS_NFTABLES = 10;
    public const uint NFNLGRP_NFTABLES = 7;
    public const ushort NFT_MSG_NEWCHAIN = 3, NFT_MSG_GETCHAIN = 4, NFT_MSG_DELCHAIN = 5;

    public const byte NFPROTO_UNSPEC = 0, NFPROTO_INET = 1, NFPROTO_IPV4 = 2, NFPROTO_ARP = 3, NFPROTO_NETDEV = 5,
        NFPROTO_BRIDGE = 7, NFPROTO_IPV6 = 10;

    public const ushort NFTA_CHAIN_TABLE = 1, NFTA_CHAIN_NAME = 3, NFTA_CHAIN_HOOK = 4,
        NFTA_CHAIN_POLICY = 5, NFTA_CHAIN_USE = 6, NFTA_CHAIN_TYPE = 7;
    public const ushort NFTA_HOOK_HOOKNUM = 1, NFTA_HOOK_PRIORITY = 2, NFTA_HOOK_DEV = 3, NFTA_HOOK_DEVS = 4;
    public const ushort NFTA_DEVICE_PREFIX = 2;
    public const uint NF_ACCEPT = 1;
}
