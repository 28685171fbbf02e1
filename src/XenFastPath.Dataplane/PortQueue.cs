// A port as the loop sees it: queues that frames are received from, transmitted to, and recycled by. Whose rings they are
// (AF_XDP's, or a test's in ordinary memory) nothing above this file knows.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using XenFastPath.Interop;

namespace XenFastPath.Dataplane;

/// <summary>What a queue can do.</summary>
[Flags]
public enum QueueFlags : byte
{
    None = 0,

    /// <summary>The driver works on the arena itself and asks to be woken; without it every batch needs a kick.</summary>
    ZeroCopy = 1,

    /// <summary>TX metadata may ask for checksum completion (kernel 6.8).</summary>
    TxMetadata = 2,

    /// <summary>The driver is polled from the loop, which asks it for frames while there are none.</summary>
    BusyPoll = 4,
}

/// <summary>
/// One queue of a port: four rings, a socket, and the frames it may hold. Lives in native memory, made by the manager thread,
/// touched from attach to detach by the one loop that serves it.
/// Invariant: <c>FillHeld &lt;= FillQuota</c>, and the quotas of all queues together fit the arena. No frame is put out while
/// <c>TxHeld &gt;= TxLimit</c>; when ports come, the limit falls, and may be below what is held for a moment.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct PortQueue
{
    public Ring Rx;
    public Ring Tx;
    public Ring Fill;
    public Ring Completion;

    /// <summary>The socket; -1 for rings in ordinary memory, which need no wake-up.</summary>
    public int Fd;

    /// <summary>Number of this queue in the ledger.</summary>
    public ushort Index;

    /// <summary>Id of the port it belongs to.</summary>
    public ushort Port;

    /// <summary>Id of the port that its frames belong to: the same, or a bond's. The loop's.</summary>
    public ushort Owner;

    /// <summary>Which of the port's queues this is.</summary>
    public ushort Ordinal;

    /// <summary>The worker whose loop serves it, all four rings. Never changes.</summary>
    public ushort Worker;

    public QueueFlags Flags;

    /// <summary>Is it on the loop's list of outputs to be served at the end of the round?</summary>
    public bool IsTouched;

    /// <summary>Is it out of the epoll of the loop's thread? Then it is on the list of those that come back before the thread sleeps.</summary>
    public bool IsUnwatched;

    public uint FillQuota;
    public uint FillHeld;
    public uint TxQuota;
    public uint TxHeld;

    /// <summary>Frames that may be on their way out: <see cref="Limits.TxLimit"/>. The manager thread's.</summary>
    public uint TxLimit;

    /// <summary>Tombstones in the TX ring or on their way back; they are nobody's frame, but each has a completion entry.</summary>
    public uint Tombstones;

    /// <summary>Since when the kernel has not taken all that lies before <see cref="BacklogMark"/>; 0: the TX ring is empty.</summary>
    public ulong BacklogSinceNs;

    /// <summary>The TX ring's producer index at <see cref="BacklogSinceNs"/>.</summary>
    public uint BacklogMark;

    /// <summary>What a barrier waits for: frames published in the RX ring before it.</summary>
    public uint BarrierIndex;

    /// <summary>The port's row of this worker, indexed by <see cref="PortCounter"/>.</summary>
    public ulong* Counters;

    /// <summary>A trunk: port id by VLAN identifier, <see cref="PacketLoop.VlanTableEntries"/>; null: its frames are all its port's own.</summary>
    public ushort* Vlans;

    /// <summary>By worker: frames that it has ever handed over for this queue. Each writes its own.</summary>
    private fixed uint _given[Layout.WorkersMax];

    /// <summary>By worker: how many of those have been taken out of its ring. Written by the worker that serves this queue.</summary>
    private fixed uint _taken[Layout.WorkersMax];

    /// <summary>May another worker hand one more frame over for this queue? It is counted as given then.</summary>
    public bool TryGive(ushort worker)
    {
        if (_given[worker] - Volatile.Read(ref _taken[worker]) >= Limits.HandoverFramesPerQueue)
            return false;
        _given[worker]++;
        return true;
    }

    /// <summary>A frame that was given goes back to the giver, before it was published.</summary>
    public void TakeBack(ushort worker) => _given[worker]--;

    /// <summary>A frame that another worker gave is out of its ring.</summary>
    public void Take(ushort worker) => Volatile.Write(ref _taken[worker], _taken[worker] + 1);

    /// <summary>Counts one event of the data path in this port's row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Count(PortCounter counter) => Counters[(int)counter]++;

    /// <summary>Counts several.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Count(PortCounter counter, ulong amount) => Counters[(int)counter] += amount;

    /// <summary>Tops the fill ring up to the quota.</summary>
    public static void Refill(PortQueue* q, FrameCache frames)
    {
        uint wanted = q->FillQuota - q->FillHeld;
        if (wanted == 0)
            return;
        for (uint room = q->Fill.Reserve(wanted); room != 0;)
        {
            uint taken = frames.Take(room, FrameOwner.Fill, q->Index, out uint* batch);
            if (taken == 0)
            {
                q->Count(PortCounter.FillStarved);
                break;
            }

            q->Fill.PutFrames(batch, taken);
            q->FillHeld += taken;
            room -= taken;
        }

        q->Fill.Submit();
        // A zero-copy driver that ran out of buffers waits to be told. recvfrom on the socket does that.
        if ((q->Flags & QueueFlags.ZeroCopy) != 0 && q->Fill.NeedsWakeup)
            Libc.recvfrom(q->Fd, null, 0, Libc.MSG_DONTWAIT, null, null);
    }

    /// <summary>Takes back the frames that the kernel has sent.</summary>
    public static void Recycle(PortQueue* q, FrameCache frames)
    {
        // A batch ends where the ring does.
        uint count;
        while ((count = q->Completion.Peek(Limits.BatchFrames, out ulong* addresses)) != 0)
        {
            Recycle(q, frames, addresses, count);
            q->Completion.Release(count);
        }
    }

    private static void Recycle(PortQueue* q, FrameCache frames, ulong* addresses, uint count)
    {
        Arena arena = frames.Arena;
        ulong bytes = arena.Bytes;
        ushort sent = Arena.Entry(FrameOwner.Tx, q->Index), free = Arena.Entry(FrameOwner.Free, 0);
        uint* room = frames.Room();
        uint returned = 0;
        for (uint i = 0; i < count; i++)
        {
            // Its lowest bit may be a tag of the kernel's own.
            ulong address = addresses[i];
            uint frame = Arena.FrameOf(address);
            if (address < bytes && arena.TryPass(frame, sent, free))
                room[returned++] = frame;
            else
                CountOther(q, frame);
        }

        frames.TakeRoom(returned);
        q->TxHeld -= returned;
    }

    /// <summary>A completion that is no frame's: a tombstone's, or one that the kernel has invented.</summary>
    private static void CountOther(PortQueue* q, uint frame)
    {
        if (frame == Arena.FrameOf(Arena.TombstoneAddress) && q->Tombstones != 0)
            q->Tombstones--;
        else
            q->Count(PortCounter.CompletionBogus);
    }

    /// <summary>
    /// Publishes what was put into the TX ring and has the kernel take it, once. Returns true if it took something but not all,
    /// so that another kick soon is worth it. <paramref name="roundNs"/> is when the round began that put the frames there;
    /// <paramref name="nowNs"/> is read from the clock right before this call.
    /// </summary>
    public static bool Transmit(PortQueue* q, FrameCache frames, ulong roundNs, ulong nowNs)
    {
        // From here to the kernel's read nothing may stop the thread for long; what was stopped longer is not sent.
        if (nowNs - roundNs > (ulong)Layout.StallNs || IsStuck(q, nowNs))
            Revoke(q, frames);
        uint before = q->Tx.Pending();
        q->Tx.Submit();
        if (q->Fd >= 0 && ((q->Flags & QueueFlags.ZeroCopy) == 0 || q->Tx.NeedsWakeup))
            Kick(q);
        uint after = q->Tx.Pending();
        if (after == 0)
        {
            q->BacklogSinceNs = 0;
        }
        else if (q->BacklogSinceNs == 0 || q->Tx.HasConsumed(q->BacklogMark))
        {
            // A busy output's ring may never be empty, yet all that lay in it at the mark is gone: what is left is younger. The
            // time is from before the kick, so a stop of this thread from here on always begins after it.
            q->BacklogSinceNs = nowNs;
            q->BacklogMark = q->Tx.Published();
        }

        return after != 0 && after < before;
    }

    /// <summary>
    /// Takes back what the kernel has not read from the TX ring. What is not published yet just leaves the ring. What is published
    /// is pointed at the tombstone, and that only in copy mode, where the kernel reads the ring inside our own system calls; a
    /// zero-copy driver reads it whenever it likes, and sends what it finds without us being awake, so nothing published is old.
    /// </summary>
    public static void Revoke(PortQueue* q, FrameCache frames)
    {
        while (q->Tx.TryUnput(out xdp_desc* descriptor))
            TakeBack(q, frames, Arena.FrameOf(descriptor->addr));
        if ((q->Flags & QueueFlags.ZeroCopy) != 0)
            return;
        // Kernels before 6.17 may have sent what their index does not show yet: those frames are completed, not taken back.
        Recycle(q, frames);
        uint pending = q->Tx.Pending();
        // The latest first: a frame that was sent, completed and sent again may stand twice between a lagging index and the end, and the
        // earlier entry is read by nobody any more.
        for (uint i = pending; i-- > 0;)
        {
            xdp_desc* descriptor = q->Tx.PendingDescriptor(i);
            uint frame = Arena.FrameOf(descriptor->addr);
            if (!frames.Arena.IsOwned(frame, FrameOwner.Tx, q->Index))
                continue;   // a tombstone already, or sent while the kernel's index lags behind
            TakeBack(q, frames, frame);
            descriptor->addr = Arena.TombstoneAddress;
            descriptor->len = Arena.TombstoneBytes;
            descriptor->options = 0;
            q->Tombstones++;
        }

        q->BacklogSinceNs = 0;
    }

    private static void TakeBack(PortQueue* q, FrameCache frames, uint frame)
    {
        frames.Return(frame);
        q->TxHeld--;
        q->Count(PortCounter.TxRevoked);
    }

    /// <summary>Has the kernel left published frames lie for too long? In zero-copy mode there is nothing to be done about that.</summary>
    private static bool IsStuck(PortQueue* q, ulong nowNs) =>
        q->BacklogSinceNs != 0 && (q->Flags & QueueFlags.ZeroCopy) == 0 && nowNs - q->BacklogSinceNs > (ulong)Layout.StallNs;

    /// <summary>Throws away what waits in the RX ring.</summary>
    public static void DiscardReceived(PortQueue* q, FrameCache frames)
    {
        Arena arena = frames.Arena;
        uint count = q->Rx.Peek(q->Rx.Size);
        for (uint i = 0; i < count; i++)
        {
            uint frame = Arena.FrameOf(q->Rx.Descriptor(i)->addr);
            if (frame >= arena.FrameCount || !arena.IsOwned(frame, FrameOwner.Fill, q->Index))
            {
                q->Count(PortCounter.LedgerViolation);
                continue;
            }

            frames.Return(frame);
            q->FillHeld--;
            q->Count(PortCounter.DropStale);
        }

        q->Rx.Release(count);
    }

    /// <summary>Has the kernel poll the driver now, if the queue is one for that.</summary>
    public static void Poll(PortQueue* q)
    {
        if ((q->Flags & QueueFlags.BusyPoll) != 0)
            Libc.recvfrom(q->Fd, null, 0, Libc.MSG_DONTWAIT, null, null);
    }

    private static void Kick(PortQueue* q)
    {
        if (Libc.sendto(q->Fd, null, 0, Libc.MSG_DONTWAIT, null, 0) >= 0)
            return;
        q->Count(Errno.Last switch
        {
            Errno.EAGAIN or Errno.ENOBUFS => PortCounter.TxAgain,
            Errno.EBUSY => PortCounter.TxDroppedByDevice,
            Errno.ENETDOWN or Errno.ENXIO => PortCounter.TxLinkDown,
            _ => PortCounter.TxError,
        });
    }
}

/// <summary>A port that frames can be sent to: its queues, and which owner of the port id they are for.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct OutputPort
{
    /// <summary>Its own, or the trunk's; null: a bond's, or a VLAN's on one.</summary>
    public PortQueue* Queues;

    /// <summary>The members of the bond, the loop's own copy; null: it is none.</summary>
    public BondOutput* Bond;

    /// <summary>The port's row, indexed by <see cref="PortCounter"/>; each worker has its own.</summary>
    public ulong* Counters;

    public uint Generation;

    /// <summary>0: there is no such port. 1 for a bond.</summary>
    public ushort QueueCount;

    /// <summary>The VLAN identifier that its frames get; 0: none.</summary>
    public ushort Tag;

    /// <summary>
    /// One of several queues for the frames that a worker received by a queue with this ordinal: one that it serves itself, if there is
    /// one. All frames of a flow come by one queue, so they leave by one too and keep their order.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PortQueue* Choose(PortQueue* queues, uint count, uint ordinal, ushort worker)
    {
        PortQueue* chosen = queues + (count == 1 ? 0 : ordinal % count);
        for (uint i = 1; i < count && chosen->Worker != worker; i++)
        {
            PortQueue* other = queues + (ordinal + i) % count;
            if (other->Worker == worker)
                return other;
        }

        return chosen;
    }

    /// <summary>Counts what became of a frame that leaves by this port.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Count(PortCounter counter, ulong amount = 1) => Counters[(int)counter] += amount;
}

/// <summary>The port that a received frame belongs to: the queue's own, a bond's or, on a trunk, a VLAN's.</summary>
internal readonly unsafe struct Source(ushort port, ulong word, ulong* counters)
{
    private readonly ulong* _counters = counters;

    public ushort Port { get; } = port;

    /// <summary><see cref="PortEntry.Word"/>, as it was when the batch began.</summary>
    public ulong Word { get; } = word;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Count(PortCounter counter, ulong amount) => _counters[(int)counter] += amount;
}

/// <summary>The clock that BPF's bpf_ktime_get_ns() reads too.</summary>
public static class Clock
{
    /// <summary>CLOCK_MONOTONIC in nanoseconds (Stopwatch counts in them on Linux).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong NowNs() => (ulong)System.Diagnostics.Stopwatch.GetTimestamp();
}
