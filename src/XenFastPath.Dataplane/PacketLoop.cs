// The packet loop: receive a batch, look up, transmit, recycle. One thread runs it; the manager thread talks to it through a
// mailbox that the loop looks into once a round.
//
// The loop allocates nothing, takes no lock, throws nothing and logs nothing: what it cannot do it drops and counts.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using XenFastPath.Interop;

namespace XenFastPath.Dataplane;

/// <summary>Forwards frames between the queues attached to it.</summary>
public sealed unsafe partial class PacketLoop
{
    private readonly Arena _arena;
    private readonly PortEntry* _ports;
    private readonly ulong* _heartbeatNs;
    private readonly ulong* _counters;
    private readonly delegate*<ulong> _clock;
    private readonly OutputPort* _outputs;
    private readonly PortQueue** _active;
    private readonly PortQueue** _touched;
    private int _activeCount;
    private int _touchedCount;
    private MacTable _table;
    private ulong _roundNs;

    /// <summary>Makes a loop without ports. The pointed-to memory must outlive it.</summary>
    /// <param name="arena">All frames; from now on the loop's.</param>
    /// <param name="ports">The program's port table, <see cref="Layout.PortsMax"/> entries, read only.</param>
    /// <param name="heartbeatNs">Where to write the time of each round.</param>
    /// <param name="counters">Indexed by <see cref="LoopCounter"/>.</param>
    /// <param name="clock"><see cref="Clock.NowNs"/>, or a test's clock.</param>
    public PacketLoop(Arena arena, PortEntry* ports, ulong* heartbeatNs, ulong* counters, delegate*<ulong> clock)
    {
        _arena = arena;
        _ports = ports;
        _heartbeatNs = heartbeatNs;
        _counters = counters;
        _clock = clock;
        _outputs = (OutputPort*)NativeMemory.AllocZeroed(Layout.PortsMax, (nuint)sizeof(OutputPort));
        _active = (PortQueue**)NativeMemory.AllocZeroed(Layout.XsksMax, (nuint)sizeof(PortQueue*));
        _touched = (PortQueue**)NativeMemory.AllocZeroed(Layout.XsksMax, (nuint)sizeof(PortQueue*));
        _roundNs = clock();
        InitMailbox();
    }

    /// <summary>
    /// One round over all queues. Returns how much was done; 0 means that the caller may sleep.
    /// <paramref name="nowNs"/> is the present time, an argument so that tests can stop the clock.
    /// </summary>
    public uint Round(ulong nowNs)
    {
        long gapNs = (long)(nowNs - _roundNs);
        _roundNs = nowNs;
        if (gapNs > Layout.StallNs)
            DiscardStale();
        Volatile.Write(ref *_heartbeatNs, nowNs);
        ReadMailbox();

        uint work = 0;
        for (int i = 0; i < _activeCount; i++)
        {
            PortQueue* q = _active[i];
            if ((q->TxHeld | q->Tombstones) != 0)
                PortQueue.Recycle(q, _arena);
            work += Receive(q);
            PortQueue.Refill(q, _arena);
        }

        work += TransmitTouched();
        if (_barrierPending)
            CheckBarrier();
        _counters[(int)LoopCounter.Rounds]++;
        _counters[(int)LoopCounter.FramesFree] = _arena.FreeCount;
        return work;
    }

    /// <summary>Is some output waiting for the kernel to take its frames?</summary>
    public bool IsBacklogged => _touchedCount != 0;

    /// <summary>
    /// The loop was not running for so long that the program has sent frames the kernel's way meanwhile. What waits here is
    /// older than those: throw it away before the heartbeat lets new frames in.
    /// </summary>
    private void DiscardStale()
    {
        _counters[(int)LoopCounter.Stalls]++;
        for (int i = 0; i < _activeCount; i++)
        {
            PortQueue.DiscardReceived(_active[i], _arena);
            PortQueue.Revoke(_active[i], _arena);
        }
    }

    /// <summary>Takes a batch from one RX ring and puts each frame into an output's TX ring, or back.</summary>
    [SkipLocalsInit]
    private uint Receive(PortQueue* q)
    {
        uint count = q->Rx.Peek(Limits.BatchFrames);
        if (count == 0)
            return 0;
        ulong* keys = stackalloc ulong[Limits.BatchFrames];
        ulong* hashes = stackalloc ulong[Limits.BatchFrames];
        ulong word = Volatile.Read(ref _ports[q->Port].Word);
        ushort network = PortEntry.NetworkOf(word);

        // The kernel wrote these lines on another CPU: ask for all of them before the first is needed.
        if (Sse.IsSupported)
        {
            for (uint i = 0; i < count; i++)
                Sse.Prefetch0(_arena.Base + q->Rx.Descriptor(i)->addr);   // a wild address is harmless here
        }

        bool hasTable = !_table.IsEmpty;
        for (uint i = 0; i < count; i++)
        {
            keys[i] = IsWhole(q->Rx.Descriptor(i)) ? FdbKey.Make(network, Unsafe.ReadUnaligned<ulong>(_arena.Base + q->Rx.Descriptor(i)->addr)) : 0;
            hashes[i] = _table.HashOf(keys[i]);
            if (hasTable)
                _table.Prefetch(hashes[i]);
        }

        ulong bytes = 0;
        for (uint i = 0; i < count; i++)
        {
            xdp_desc* descriptor = q->Rx.Descriptor(i);
            bytes += descriptor->len;
            Forward(q, descriptor, word, keys[i], hashes[i]);
        }

        q->Rx.Release(count);
        q->Count(PortCounter.RxFrames, count);
        q->Count(PortCounter.RxBytes, bytes);
        return count;
    }

    /// <summary>Does the descriptor name a frame inside one chunk of the arena, in one buffer, with room for a header?</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool IsWhole(xdp_desc* descriptor) =>
        descriptor->addr < _arena.Bytes && descriptor->options == 0 && descriptor->len is >= Limits.EthernetHeaderBytes and <= Limits.FrameBytes
        && (descriptor->addr & ~Arena.ChunkMask) + descriptor->len <= Limits.FrameBytes;

    /// <summary>Sends one received frame on its way: into a TX ring, or back to the free stack with the reason counted.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Forward(PortQueue* q, xdp_desc* descriptor, ulong inputWord, ulong key, ulong hash)
    {
        uint frame = Arena.FrameOf(descriptor->addr);
        if (frame >= _arena.FrameCount || !_arena.IsOwned(frame, FrameOwner.Fill, q->Index))
        {
            q->Count(PortCounter.LedgerViolation);
            return;
        }

        q->FillHeld--;
        PortCounter drop = FindOutput(q, descriptor, inputWord, key, hash, out PortQueue* output);
        if (output == null)
        {
            _arena.Return(frame);
            q->Count(drop);
            return;
        }

        Put(output, frame, descriptor->addr, descriptor->len, (inputWord & (ulong)PortFlags.Unfinished) != 0);
    }

    /// <summary>The queue a frame leaves by; null with the counter that says why there is none.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private PortCounter FindOutput(PortQueue* q, xdp_desc* descriptor, ulong inputWord, ulong key, ulong hash, out PortQueue* output)
    {
        output = null;
        if (key == 0)
            return descriptor->len < Limits.EthernetHeaderBytes ? PortCounter.DropRunt : PortCounter.DropBadDescriptor;
        if (_table.IsEmpty)
            return PortCounter.DropUnknown;
        MacLookup found = _table.Lookup(key, hash, out ulong fdbWord);
        if (found != MacLookup.Found)
            return found == MacLookup.Busy ? PortCounter.DropTableBusy : PortCounter.DropUnknown;

        uint id = (uint)FdbWord.PortOf(fdbWord) & (Layout.PortsMax - 1);
        OutputPort* port = _outputs + id;
        ulong outputWord = Volatile.Read(ref _ports[id].Word);
        if (port->QueueCount == 0 || port->Generation != FdbWord.GenerationOf(fdbWord) || PortEntry.GenerationOf(outputWord) != port->Generation)
            return PortCounter.DropOutputGone;
        if (PortEntry.NetworkOf(outputWord) != PortEntry.NetworkOf(inputWord))
            return PortCounter.DropOtherNetwork;
        // The program judged this frame by where the MAC was then; if it has moved, its new port may be isolated too. The output's
        // Egress flag is not looked at: a port that leaves the path lets the frames in flight through.
        if ((outputWord & inputWord & (ulong)PortFlags.Isolated) != 0)
            return PortCounter.DropIsolated;
        if (id == q->Port)
            return PortCounter.DropSamePort;
        if (descriptor->len > _ports[id].FrameBytesMax)
            return PortCounter.DropOversize;

        // A flow stays on the input queue that its hash chose, so it stays on one output queue too and keeps its order.
        PortQueue* candidate = port->Queues + (port->QueueCount == 1 ? 0u : (uint)q->Ordinal % port->QueueCount);
        if (candidate->TxHeld >= candidate->TxQuota || candidate->Tx.Reserve(1) == 0)
            return PortCounter.DropTxFull;
        output = candidate;
        return default;
    }

    /// <summary>Makes a frame fit to be sent and puts it into a TX ring with room. The frame is the output's from here on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Put(PortQueue* output, uint frame, ulong address, uint length, bool mayBeUnfinished)
    {
        byte* data = _arena.Base + address;
        uint options = 0;
        if (mayBeUnfinished && Checksum.IsUnfinished(data, length, out uint start, out uint field))
            options = FinishChecksum(output, address, length, start, field);
        if (length < Limits.FrameBytesMin)
        {
            // What lies behind a short frame in its chunk is some other guest's.
            new Span<byte>(data + length, (int)(Limits.FrameBytesMin - length)).Clear();
            length = Limits.FrameBytesMin;
            output->Count(PortCounter.Padded);
        }

        _arena.Give(frame, FrameOwner.Tx, output->Index);
        output->TxHeld++;
        output->Tx.PutDescriptor(address, length, options);
        output->Count(PortCounter.TxFrames);
        output->Count(PortCounter.TxBytes, length);
        if (!output->IsTouched)
        {
            output->IsTouched = true;
            _touched[_touchedCount++] = output;
        }
    }

    /// <summary>Has a checksum finished by the kernel, if the queue can, or finishes it. Returns the descriptor's options.</summary>
    private uint FinishChecksum(PortQueue* output, ulong address, uint length, uint start, uint field)
    {
        byte* data = _arena.Base + address;
        // Start and field lie inside the frame (IsUnfinished), so the kernel cannot refuse the request and block the ring.
        if ((output->Flags & QueueFlags.TxMetadata) == 0 || (address & ~Arena.ChunkMask) < (ulong)sizeof(xsk_tx_metadata))
        {
            Checksum.Finish(data, length, start, field);
            output->Count(PortCounter.ChecksumBySoftware);
            return 0;
        }

        xsk_tx_metadata* metadata = (xsk_tx_metadata*)data - 1;
        metadata->flags = IfXdp.XDP_TXMD_FLAGS_CHECKSUM;
        metadata->csum_start = (ushort)start;
        metadata->csum_offset = (ushort)field;
        metadata->launch_time = 0;
        output->Count(PortCounter.ChecksumByKernel);
        return IfXdp.XDP_TX_METADATA;
    }

    /// <summary>Kicks every output that got frames, and those that still had some. Backlogged ones stay on the list.</summary>
    private uint TransmitTouched()
    {
        uint work = 0;
        int kept = 0;
        for (int i = 0; i < _touchedCount; i++)
        {
            PortQueue* q = _touched[i];
            if (PortQueue.Transmit(q, _arena, _roundNs, _clock()))
                work++;
            if (q->BacklogSinceNs != 0)
                _touched[kept++] = q;
            else
                q->IsTouched = false;
        }

        _touchedCount = kept;
        return work;
    }
}
