// Every size and bound of the data path, with the sum it comes from.
namespace XenFastPath.Dataplane;

/// <summary>Sizes and bounds of the forwarder.</summary>
public static class Limits
{
    /// <summary>One frame of the arena. The kernel takes 256 bytes in front, which leaves 1792: MTU 1500 with room for tags.</summary>
    public const int FrameBytes = 2048;

    /// <summary>log2 of <see cref="FrameBytes"/>.</summary>
    public const int FrameShift = 11;

    /// <summary>The longest frame that the kernel can put into one chunk, bytes.</summary>
    public const int FramePayloadBytesMax = FrameBytes - Interop.IfXdp.XDP_PACKET_HEADROOM;

    /// <summary>The largest MTU a port on this path may have: payload less Ethernet header and one VLAN tag.</summary>
    public const int MtuMax = FramePayloadBytesMax - EthernetHeaderBytes - VlanTagBytes;

    public const int EthernetHeaderBytes = 14;
    public const int VlanTagBytes = 4;

    /// <summary>Shorter frames are padded with zeros before every output (IEEE 802.3, without FCS).</summary>
    public const int FrameBytesMin = 60;

    /// <summary>
    /// Addresses unless somebody asks for more. Each takes 64 bytes of the program's table (more where it is no power of two), which is
    /// there whole from the beginning and in small pages: looking one up in a large table costs a miss of the TLB.
    /// </summary>
    public const int MacsDefault = 131_072;

    /// <summary>Default arena. Every AF_XDP socket costs the kernel 128 bytes per frame of it besides: 4 MiB each here.</summary>
    public const int ArenaMibDefault = 64;

    /// <summary>Frames that a guest's port can always hold: in its fill ring, and on their way out of it.</summary>
    public const int VifFillFrames = 256, VifTxFrames = 192;

    /// <summary>The most that somebody may ask for in a guest's fill ring.</summary>
    public const int VifFillFramesMax = 4096;

    /// <summary>The same for each queue of a physical port.</summary>
    public const int PifFillFrames = 1024, PifTxFrames = 768;

    /// <summary>The most that may be on their way out of one queue while packet memory is plenty.</summary>
    public const int TxFramesMax = 2048;

    /// <summary>AF_XDP queues of one port.</summary>
    public const int QueuesPerPortMax = 8;

    /// <summary>Frames taken from one RX ring before the next queue has its turn.</summary>
    public const int BatchFrames = 64;

    /// <summary>Frames that may be on their way from one worker to another, a power of two; what does not fit is dropped.</summary>
    public const int HandoverFrames = 512;

    /// <summary>Those of them that may be for one queue: a guest that is sent more than it takes must not fill the way to all others.</summary>
    public const int HandoverFramesPerQueue = 128;

    /// <summary>A worker's heartbeat is not written more often: every frame's program reads that line, and each write takes it away.</summary>
    public const long HeartbeatNsMin = 1_000_000;

    /// <summary>Frames that belong to no port's quota: in the workers' hands, caches and hand-over rings; and the tombstone.</summary>
    public static uint ReservedFrames(int workers) =>
        (uint)(workers * (BatchFrames + FrameCache.FramesMax + (workers - 1) * HandoverFrames) + 1);

    /// <summary>
    /// Frames that may be on their way out of a queue that can always hold <paramref name="quota"/>, when <paramref name="spare"/> frames
    /// belong to nobody's quota. A burst to one guest is all there is to it; half of the spare ones stay for ports to come, which
    /// guests that take nothing must not starve.
    /// </summary>
    public static uint TxLimit(uint quota, uint spare, uint queues) => Math.Max(quota, Math.Min(TxFramesMax, quota + spare / 2 / queues));

    /// <summary>
    /// Frames for one output in a round from which on its socket is taken out of the epoll: the two system calls (1.4 us) cost less
    /// than what the epoll does for so many frames (some 100 ns each).
    /// </summary>
    public const int UnwatchFramesMin = 32;

    /// <summary>Longest sleep of an idle loop; bounds the age of its heartbeat. Each waking costs some 75 us with ten ports.</summary>
    public const int IdleWaitMsMax = 20;

    /// <summary>Longest time that a loop polls after a frame instead of sleeping, where somebody asks for that at all.</summary>
    public const int BusyPollUsMax = 1_000_000;

    /// <summary>Frames that one busy poll may take from a driver (SO_BUSY_POLL_BUDGET).</summary>
    public const int BusyPollBudgetFrames = BatchFrames;

    /// <summary>Longest sleep while an output has frames that the kernel did not take yet.</summary>
    public const int BackloggedWaitMsMax = 1;

    /// <summary>Reads of a MAC table bucket that is being written, before the frame is dropped and counted.</summary>
    public const int TableReadsMax = 16;

    /// <summary>A bind right after another socket's close sees EBUSY for some 20 ms; this long is tried.</summary>
    public const int BindBusyMsMax = 2000;

    /// <summary>How many frames one TX kick may take (XDP_MAX_TX_SKB_BUDGET, kernel 6.17; 32 before).</summary>
    public const int TxBudgetFrames = 128;
}
