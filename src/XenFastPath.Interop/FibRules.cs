// linux/fib_rules.h: policy routing rules of rtnetlink.
using System.Runtime.InteropServices;

#pragma warning disable CS8981 // The kernel's type names are lower case.

namespace XenFastPath.Interop;

[StructLayout(LayoutKind.Sequential)]
public struct fib_rule_hdr
{
    public byte family;
    public byte dst_len;
    public byte src_len;
    public byte tos;
    public byte table;
    public byte res1;
    public byte res2;
    public byte action;
    public uint flags;
}

public static class FibRules
{
    public const ushort FRA_DST = 1, FRA_SRC = 2, FRA_IIFNAME = 3, FRA_PRIORITY = 6, FRA_FWMARK = 10, FRA_TABLE = 15, FRA_OIFNAME = 17;
    public const uint FIB_RULE_PERMANENT = 1, FIB_RULE_INVERT = 2, FIB_RULE_UNRESOLVED = 4, FIB_RULE_IIF_DETACHED = 8, FIB_RULE_OIF_DETACHED = 16;
}
