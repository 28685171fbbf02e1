// linux/if_addr.h: address messages of rtnetlink.
using System.Runtime.InteropServices;

#pragma warning disable CS8981 // The kernel's type names are lower case.

namespace XenFastPath.Interop;

[StructLayout(LayoutKind.Sequential)]
public struct ifaddrmsg
{
    public byte ifa_family;
    public byte ifa_prefixlen;
    public byte ifa_flags;
    public byte ifa_scope;
    public uint ifa_index;
}

/// <summary>Lifetimes in seconds, <see cref="IfAddr.INFINITY_LIFE_TIME"/> for ever; stamps in hundredths of a second since boot.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct ifa_cacheinfo
{
    public uint ifa_prefered;
    public uint ifa_valid;
    public uint cstamp;
    public uint tstamp;
}

public static class IfAddr
{
    public const ushort IFA_ADDRESS = 1, IFA_LOCAL = 2, IFA_LABEL = 3, IFA_BROADCAST = 4, IFA_CACHEINFO = 6, IFA_FLAGS = 8,
        IFA_RT_PRIORITY = 9, IFA_PROTO = 11;
    public const uint INFINITY_LIFE_TIME = 0xFFFFFFFF;
    public const uint IFA_F_SECONDARY = 0x01, IFA_F_NODAD = 0x02, IFA_F_DADFAILED = 0x08, IFA_F_DEPRECATED = 0x20,
        IFA_F_TENTATIVE = 0x40, IFA_F_PERMANENT = 0x80, IFA_F_MANAGETEMPADDR = 0x100, IFA_F_NOPREFIXROUTE = 0x200;
    public const byte RT_SCOPE_UNIVERSE = 0, RT_SCOPE_SITE = 200, RT_SCOPE_LINK = 253, RT_SCOPE_HOST = 254;
}
