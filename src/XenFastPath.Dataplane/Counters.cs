// What the forwarder counts, and the shared memory in which it counts: written by its workers, mapped read-only by control, which adds
// the workers' numbers up.
using System.Runtime.InteropServices;
using System.Text;

namespace XenFastPath.Dataplane;

/// <summary>One row per port. Frames, unless the name says otherwise. Drops stand in the row of the port the frame came from.</summary>
public enum PortCounter
{
    RxFrames,
    RxBytes,
    TxFrames,
    TxBytes,
    DropRunt,               // shorter than an Ethernet header
    DropBadDescriptor,      // outside the arena, across a chunk, or more than one buffer
    DropUnknown,            // not in the MAC table (any more)
    DropTableBusy,          // bucket was being written at every attempt
    DropOutputGone,         // the entry names a port that has left, or another owner of its id
    DropOtherNetwork,       // the entry names a port of another Network
    DropIsolated,           // both ports are isolated (by now)
    DropSamePort,
    DropOversize,           // longer than the output's MTU allows
    DropTxFull,             // the output holds all the frames it may
    DropWorkerBusy,         // another worker serves the output, and has not taken what waits for it
    DropStale,              // waited in the RX ring while the forwarder was stopped
    DropNoVlan,             // came by a trunk with a tag that no VLAN of ours has (any more)
    TxRevoked,              // waited in the TX ring too long; taken back before the kernel saw it
    TxDroppedByDevice,      // the kernel took the frame and dropped it (EBUSY)
    TxAgain,                // kicks that left frames behind: budget, full device queue, full completion ring
    TxLinkDown,             // kicks refused because the device is down or gone
    TxError,                // kicks refused for any other reason
    Padded,
    ChecksumByKernel,       // finished through TX metadata
    ChecksumBySoftware,     // finished here
    CompletionBogus,        // the kernel gave back a frame that it did not hold
    FillStarved,            // no free frame for the fill ring (quotas make this impossible)
    LedgerViolation,        // a frame was not owned by whom it should (must stay 0)
    KernelRxDropped,        // XDP_STATISTICS: longer than a chunk, and the like
    KernelRxRingFull,
    KernelFillEmpty,
    KernelTxInvalid,
    Count,
}

/// <summary>Counters of a worker's loop as a whole.</summary>
public enum LoopCounter
{
    Rounds,
    IdleWaits,
    Stalls,                 // times the loop woke up later than Layout.StallNs
    RoundGapNsMax,          // longest time between two rounds, waits excluded
    FramesFree,
    Audits,
    AuditFailures,          // must stay 0
    Gen0Collections,        // GC.CollectionCount(0) of the forwarder; must not grow
    HandedOver,             // frames given to the worker that serves their output
    HandoverWakes,          // times that woke it
    WatchFailures,          // sockets that could not be put back into the epoll before a sleep
    Count,
}

/// <summary>First of the shared counters: what is said of the forwarder as a whole.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct ForwarderStatus
{
    public uint LayoutVersion;
    public int Pid;
    public uint FramesTotal;
    public uint PortsInUse;

    /// <summary>How many workers it has.</summary>
    public uint Workers;
    private fixed byte _instructionSet[16];

    /// <summary>"x86-64-v3" and the like, for people.</summary>
    public static string InstructionSet(ForwarderStatus* status) =>
        Encoding.ASCII.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(status->_instructionSet));

    /// <summary>Sets <see cref="InstructionSet"/>; at most 15 characters.</summary>
    public static void SetInstructionSet(ForwarderStatus* status, ReadOnlySpan<byte> ascii) =>
        ascii.CopyTo(new Span<byte>(status->_instructionSet, 15));
}

/// <summary>Where things lie in the counters' memory.</summary>
public static unsafe class CounterMemory
{
    /// <summary>Counters of a row; a row is four cache lines, so ports do not share one.</summary>
    public const int RowSlots = 32;

    private const int HeaderBytes = 4096;

    /// <summary>What each worker writes is on pages of its own: first its loop's counters, then a row for each port.</summary>
    private const int LoopBytes = 4096, WorkerBytes = LoopBytes + Layout.PortsMax * RowSlots * sizeof(ulong);

    /// <summary>Size of the whole memory: 2 MiB and a page for each worker.</summary>
    public static int Bytes(int workers) => HeaderBytes + workers * WorkerBytes;

    /// <summary>The counters of a worker's loop, indexed by <see cref="LoopCounter"/>.</summary>
    public static ulong* Loop(void* memory, int worker) => (ulong*)((byte*)memory + HeaderBytes + (long)worker * WorkerBytes);

    /// <summary>A worker's row of a port, indexed by <see cref="PortCounter"/>.</summary>
    public static ulong* Row(void* memory, int worker, int port) => Loop(memory, worker) + LoopBytes / sizeof(ulong) + port * RowSlots;

    /// <summary>"DropTxFull" -> "drop_tx_full".</summary>
    public static string SnakeCase(string name)
    {
        StringBuilder text = new();
        foreach (char c in name)
        {
            if (char.IsUpper(c) && text.Length > 0)
                text.Append('_');
            text.Append(char.ToLowerInvariant(c));
        }

        return text.ToString();
    }
}
