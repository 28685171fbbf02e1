// The C# side of native/slb.h: the tables of balance-slb bonds. tests/XenFastPath.Tests/Native/SlbLayoutTests.cs compares.
using System.Runtime.InteropServices;

namespace XenFastPath.Dataplane;

/// <summary>Constants of native/slb.h.</summary>
public static class SlbLayout
{
    public const int BondsMax = 16;
    public const int DevicesMax = 1024;
    public const int Buckets = 256;
    public const ulong HashA = 0x9e3779b97f4a7c15;
    public const ulong HashB = 0xd6e8feb86659fd93;
    public const int SourcesMax = 131072;
    public const int OriginsMax = 4096;
    public const int Burst = 1024;
    public const long IntervalNs = 250_000_000;
    public const long LockNs = 5_000_000_000;
    public const long StaleNs = 5_000_000_000;

    /// <summary>XFP_SLB_C_SLOTS: words in a bond's row of counters; at least <see cref="SlbCounter.Count"/>.</summary>
    public const int CounterSlots = 16;
}

/// <summary>struct xfp_slb_bond: one element of the map <c>xfp_slb_bonds</c>. Times are CLOCK_MONOTONIC.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct SlbBond
{
    /// <summary>The bonding device; 0: the element is nobody's.</summary>
    public uint Ifindex;

    /// <summary>The member on which multicast is received.</summary>
    public uint Active;

    public ulong AgeingNs;

    /// <summary>When control last stood by the table; older than <see cref="SlbLayout.StaleNs"/>: the kernel chooses.</summary>
    public ulong ConfirmedNs;

    public ulong Reserved;

    /// <summary>The member's ifindex by bucket; 0: the kernel chooses. Each is written with one store.</summary>
    public fixed uint Member[SlbLayout.Buckets];

    /// <summary>Bytes that the forwarder sent, by bucket; it alone writes them.</summary>
    public fixed ulong FastBytes[SlbLayout.Buckets];
}

/// <summary>struct xfp_slb_source: value of the map <c>xfp_slb_sources</c>, written by the program.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct SlbSource
{
    public ulong SeenNs;
    public ulong LockedNs;

    /// <summary>ifindex of the port that its frames came in by; 0: dom0 itself.</summary>
    public uint Origin;

    public uint Reserved;
}

/// <summary>An address of a bond: VLAN (12 bits) &lt;&lt; 48 | MAC (48 bits, the frame's bytes as a little-endian integer).</summary>
public static class SlbAddress
{
    public static ulong Make(ushort vlan, ulong mac) => (ulong)vlan << 48 | (mac & FdbKey.MacMask);

    /// <summary>Key of the map <c>xfp_slb_sources</c>.</summary>
    public static ulong Key(int bond, ulong address) => (ulong)bond << 60 | address;

    public static int BondOf(ulong key) => (int)(key >> 60);

    /// <summary>A key without its bond.</summary>
    public static ulong Of(ulong key) => key & ~0UL >> 4;

    public static ushort VlanOf(ulong address) => (ushort)(address >> 48 & 0xfff);

    /// <summary>The address's bucket: whoever transmits for the bond asks the table for this one.</summary>
    public static int Bucket(ulong address)
    {
        ulong h = address * SlbLayout.HashA;
        h ^= h >> 32;
        h *= SlbLayout.HashB;
        return (int)(h >> 56);
    }
}

/// <summary>enum xfp_slb_counter: what the programs did with a frame.</summary>
public enum SlbCounter
{
    OutBucket,
    OutReport,
    OutNoMember,
    OutStale,
    OutReserved,
    OutOverBudget,
    InOk,
    InReserved,
    InMoved,
    InDropGroup,
    InDropLooped,
    Count,
}
