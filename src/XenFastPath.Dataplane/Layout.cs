// The C# side of native/xenfastpath.h: what the BPF program, the control process and the forwarder agree on.
// tests/XenFastPath.Tests/Native/LayoutTests.cs compiles the header and compares every size, offset and constant.
using System.Runtime.InteropServices;

namespace XenFastPath.Dataplane;

/// <summary>Constants of native/xenfastpath.h.</summary>
public static class Layout
{
    /// <summary>XFP_LAYOUT_VERSION: maps, tables and processes of another version are replaced, never reused.</summary>
    public const int Version = 7;

    public const int PortsMax = 8192;
    public const int NearIfindexes = 65536;
    public const int XsksMax = 16384;
    public const int MacsMax = 1_048_576;
    public const int FdbSlots = 4;

    /// <summary>XFP_FDB_TICK_SHIFT: times in the FDB are CLOCK_MONOTONIC in units of 1 &lt;&lt; this many ns.</summary>
    public const int FdbTickShift = 20;
    public const int VlansMax = 16384;
    public const int WorkersMax = 16;

    /// <summary>XFP_C_SLOTS: words in a port's row of the program's counters; at least <see cref="ProgramCounter.Count"/>.</summary>
    public const int CounterSlots = 32;

    public const long ForwarderStaleNs = 75_000_000;
    public const long StallNs = 60_000_000;
    public const long ControlStaleNs = 1_500_000_000;
    public const long SuspectNs = 3_000_000_000;
    public const long QuietNs = 10_000_000;
}

/// <summary>XFP_PORT_*: the low 16 bits of <see cref="PortEntry.Word"/>.</summary>
[Flags]
public enum PortFlags : ushort
{
    None = 0,

    /// <summary>Its frames may take the fast path.</summary>
    Ingress = 0x01,

    /// <summary>It may be the output of the fast path.</summary>
    Egress = 0x02,

    /// <summary>Never a frame between two isolated ports.</summary>
    Isolated = 0x04,

    /// <summary>Its frames may carry unfinished checksums.</summary>
    Unfinished = 0x08,

    /// <summary>Policy: tagged frames are dropped at its ingress.</summary>
    NoTags = 0x10,

    /// <summary>Not on the fast path itself, but others of its Network are.</summary>
    Watch = 0x20,

    /// <summary>Policy: frames with an 802.1Q tag that is not in the map <c>xfp_vlans</c> are dropped at its ingress; VID 0 is none.</summary>
    Trunk = 0x40,

    /// <summary>A balance-slb bond or a VLAN on one: our own frames come back by it, which is no sign of a move.</summary>
    Loops = 0x80,

    /// <summary>Path redirect: <see cref="Ingress"/> and <see cref="Egress"/> are the program's own doing, not the forwarder's.</summary>
    Redirect = 0x100,

    /// <summary>Its device, or its trunk's, takes XDP frames now and has its slot in the map <c>xfp_devs</c>.</summary>
    Xmit = 0x200,
}

/// <summary>struct xfp_port: one element of the map <c>xfp_ports</c>, indexed by port id.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct PortEntry
{
    /// <summary>generation &lt;&lt; 32 | network &lt;&lt; 16 | <see cref="PortFlags"/>; written with one store.</summary>
    public ulong Word;

    public ulong RefreshNs;
    public uint Ifindex;
    public uint FrameBytesMax;
    public ushort XskBase;
    public ushort Queues;
    private readonly ushort _reserved;
    public ushort Tag;
    public uint Bridge;
    public ushort Trunk;
    public ushort Bond;
    private fixed ulong _pad[3];

    /// <summary>Packs <see cref="Word"/>.</summary>
    public static ulong Pack(uint generation, ushort network, PortFlags flags) => (ulong)generation << 32 | (uint)network << 16 | (ushort)flags;

    /// <summary>The generation in a packed word: which owner of this port id.</summary>
    public static uint GenerationOf(ulong word) => (uint)(word >> 32);

    /// <summary>The Network in a packed word.</summary>
    public static ushort NetworkOf(ulong word) => (ushort)(word >> 16);
}

/// <summary>Key of the map <c>xfp_vlans</c>: port id of the trunk (16 bits) &lt;&lt; 16 | VLAN identifier (12 bits).</summary>
public static class VlanKey
{
    public static uint Make(ushort trunk, ushort tag) => (uint)trunk << 16 | tag;

    public static ushort TrunkOf(uint key) => (ushort)(key >> 16);

    public static ushort TagOf(uint key) => (ushort)key;
}

/// <summary>struct xfp_fdb_entry: a slot of the map <c>xfp_fdb</c>. The program writes the three times.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FdbMapEntry
{
    /// <summary>See <see cref="FdbKey"/>; 0: free.</summary>
    public ulong Key;

    /// <summary>See <see cref="FdbWord"/>.</summary>
    public ulong Word;

    public uint Seen;
    public uint Passed;
    public uint Suspect;
    private readonly uint _reserved;
}

/// <summary>struct xfp_fdb_head: the first element of the map.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FdbMapHead
{
    public ulong Seed;
    public uint Buckets;
    public uint Shift;
}

/// <summary>struct xfp_heartbeat: one page, mapped by both processes, read by the program.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct Heartbeats
{
    public ulong ControlNs;
    public uint ForwarderUp;

    /// <summary>Inode of the network namespace whose devices the ports are.</summary>
    public uint Netns;

    /// <summary>Loop threads of the forwarder; it writes this when it takes the maps.</summary>
    public uint Workers;
    private readonly uint _pad0;
    private fixed ulong _pad1[5];
    private fixed ulong _slots[Layout.WorkersMax * WorkerStride];

    private const int WorkerStride = 8;

    /// <summary>The slot of one loop thread; it alone writes it, once a round and at most once in a millisecond.</summary>
    public static ulong* WorkerNs(Heartbeats* page, int worker) => page->_slots + worker * WorkerStride;

    /// <summary>The oldest heartbeat of all loop threads; 0: there are none.</summary>
    public static ulong OldestNs(Heartbeats* page)
    {
        int count = (int)Math.Min(Volatile.Read(ref page->Workers), Layout.WorkersMax);
        ulong oldestNs = count == 0 ? 0 : ulong.MaxValue;
        for (int i = 0; i < count; i++)
            oldestNs = Math.Min(oldestNs, Volatile.Read(ref *WorkerNs(page, i)));
        return oldestNs;
    }
}

/// <summary>Key of both FDB copies: network (16 bits) &lt;&lt; 48 | MAC (48 bits, the frame's bytes as a little-endian integer).</summary>
public static class FdbKey
{
    public const ulong MacMask = 0x0000_ffff_ffff_ffff;

    public static ulong Make(ushort network, ulong mac) => (ulong)network << 48 | (mac & MacMask);

    public static ushort NetworkOf(ulong key) => (ushort)(key >> 48);

    public static ulong MacOf(ulong key) => key & MacMask;
}

/// <summary>
/// Value of both FDB copies: generation (32) &lt;&lt; 32 | reserved, 0 (16) &lt;&lt; 16 | output port id (16). 0 is "no entry": port id 0 is
/// never used.
/// </summary>
public static class FdbWord
{
    public static ulong Make(uint generation, ushort port) => (ulong)generation << 32 | port;

    public static ushort PortOf(ulong word) => (ushort)word;

    public static uint GenerationOf(ulong word) => (uint)(word >> 32);
}

/// <summary>enum xfp_counter: what the program did with a frame.</summary>
public enum ProgramCounter
{
    ToForwarder,
    PassPathOff,
    PassControlStale,
    PassForwarderStale,
    PassNoSocket,
    PassGroup,
    PassTagged,
    PassProtocol,
    PassSourceUnknown,
    PassSourceMoved,
    PassSuspect,
    PassRefresh,
    PassUnknown,
    PassSamePort,
    PassOutputOff,
    PassIsolated,
    PassOversize,
    DropTagged,
    DropNoVlan,
    PolicyOk,
    RedirectSkb,
    RedirectXdp,
    RedirectOut,
    RedirectLost,
    Count,
}
