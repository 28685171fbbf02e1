// linux/neighbour.h: neighbour messages, which carry bridge FDB entries when the family is AF_BRIDGE.
using System.Runtime.InteropServices;

#pragma warning disable CS8981 // The kernel's type names are lower case.

namespace XenFastPath.Interop;

[StructLayout(LayoutKind.Sequential)]
public struct ndmsg
{
    public byte ndm_family;
    public byte ndm_pad1;
    public ushort ndm_pad2;
    public int ndm_ifindex;
    public ushort ndm_state;
    public byte ndm_flags;
    public byte ndm_type;
}

/// <summary>Ages in clock ticks (USER_HZ, 100 to the second).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct nda_cacheinfo
{
    public uint ndm_confirmed;
    public uint ndm_used;
    public uint ndm_updated;
    public uint ndm_refcnt;
}

public static class Neighbour
{
    public const ushort NDA_DST = 1, NDA_LLADDR = 2, NDA_CACHEINFO = 3, NDA_VLAN = 5, NDA_IFINDEX = 8, NDA_MASTER = 9, NDA_FLAGS_EXT = 15;
    public const byte NTF_USE = 0x01, NTF_SELF = 0x02, NTF_MASTER = 0x04, NTF_EXT_LEARNED = 0x10, NTF_OFFLOADED = 0x20,
        NTF_STICKY = 0x40;
    public const ushort NUD_REACHABLE = 0x02, NUD_STALE = 0x04, NUD_DELAY = 0x08, NUD_PROBE = 0x10, NUD_NOARP = 0x40, NUD_PERMANENT = 0x80;
    public const uint NTF_EXT_LOCKED = 0x2;
    public const uint USER_HZ = 100;
}
