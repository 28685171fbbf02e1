// The packet loop: receive a batch, look up, transmit, recycle. Each worker's thread runs one; the manager thread talks to it through a
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
    private readonly FrameCache _frames;
    private readonly ushort _number;
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
    private ulong _beatNs;

    /// <summary>Makes a loop without ports. The pointed-to memory must outlive it.</summary>
    /// <param name="arena">All frames; from now on the loops'.</param>
    /// <param name="ports">The program's port table, <see cref="Layout.PortsMax"/> entries, read only.</param>
    /// <param name="heartbeatNs">Where to write the time of each round.</param>
    /// <param name="counters">Indexed by <see cref="LoopCounter"/>.</param>
    /// <param name="clock"><see cref="Clock.NowNs"/>, or a test's clock.</param>
    /// <param name="number">Which worker's it is; see <see cref="Join"/>.</param>
    public PacketLoop(Arena arena, PortEntry* ports, ulong* heartbeatNs, ulong* counters, delegate*<ulong> clock, ushort number = 0)
    {
        _arena = arena;
        _frames = new FrameCache(arena);
        _number = number;
        _loops = [this];
        *_notice = default;
        _ports = ports;
        _heartbeatNs = heartbeatNs;
        _counters = counters;
        _clock = clock;
        _outputs = (OutputPort*)NativeMemory.AllocZeroed(Layout.PortsMax, (nuint)sizeof(OutputPort));
        _active = (PortQueue**)NativeMemory.AllocZeroed(Layout.XsksMax, (nuint)sizeof(PortQueue*));
        _touched = (PortQueue**)NativeMemory.AllocZeroed(Layout.XsksMax, (nuint)sizeof(PortQueue*));
        _unwatched = (PortQueue**)NativeMemory.AllocZeroed(Layout.XsksMax, (nuint)sizeof(PortQueue*));
        _roundNs = clock();
        InitMailbox();
    }

    /// <summary>
    /// One round over all queues. Returns how much was done; 0 means that the caller may sleep.
    /// <paramref name="nowNs"/> is the present time, an argument so that tests can stop the clock.
    /// </summary>
    public uint Round(ulong nowNs)
    {
        if (_isPaused)
        {
            // No heartbeat either: whoever pauses for long stands still.
            ReadMailbox();
            return _isPaused ? 0u : 1u;
        }

        ulong lastNs = _roundNs;
        _roundNs = nowNs;
        bool hasStalled = (long)(nowNs - lastNs) > Layout.StallNs;
        if (hasStalled)
        {
            _counters[(int)LoopCounter.Stalls]++;
            Volatile.Write(ref _notice->StalledNs, nowNs);
            WakeOthers();
        }

        if (hasStalled || HasStalledOther(lastNs))
            DiscardStale();
        if (nowNs - _beatNs >= (ulong)Limits.HeartbeatNsMin)
            Volatile.Write(ref *_heartbeatNs, _beatNs = nowNs);
        ReadMailbox();
        if (_isPaused)
            return 0;       // a moment ago it was not

        uint work = 0;
        for (int i = 0; i < _activeCount; i++)
        {
            PortQueue* q = _active[i];
            if ((q->TxHeld | q->Tombstones) != 0)
                PortQueue.Recycle(q, _frames);
            work += Receive(q);
            PortQueue.Refill(q, _frames);
        }

        if (_links != null)
            work += Exchange();
        work += TransmitTouched();
        if (_barrierPending)
            CheckBarrier();
        _counters[(int)LoopCounter.Rounds]++;
        _counters[(int)LoopCounter.FramesFree] = _frames.Count + (_number == 0 ? _arena.Depot.Count : 0);
        return work;
    }

    /// <summary>Asks the drivers that are polled for frames.</summary>
    public void Poll()
    {
        for (int i = 0; i < _activeCount; i++)
            PortQueue.Poll(_active[i]);
    }

    /// <summary>Is some output waiting for the kernel to take its frames?</summary>
    public bool IsBacklogged => _touchedCount != 0;

    /// <summary>
    /// This loop, or another one, was not running for so long that the program has sent frames the kernel's way meanwhile. What waits here is
    /// older than those: throw it away before the heartbeat lets new frames in.
    /// </summary>
    private void DiscardStale()
    {
        for (int i = 0; i < _activeCount; i++)
        {
            PortQueue.DiscardReceived(_active[i], _frames);
            PortQueue.Revoke(_active[i], _frames);
        }

        DiscardHandedOver();
    }

    /// <summary>Takes a batch from one RX ring and puts each frame into an output's TX ring, or back.</summary>
    [SkipLocalsInit]
    private uint Receive(PortQueue* q)
    {
        uint count = q->Rx.Peek(Limits.BatchFrames, out xdp_desc* batch);
        if (count == 0)
            return 0;
        // The kernel wrote these lines on another CPU: ask for all of them before the first is needed.
        if (Sse.IsSupported)
        {
            for (uint i = 0; i < count; i++)
                _arena.Prefetch(batch[i].addr);
        }

        if (q->Vlans == null)
            ReceivePlain(q, batch, count);
        else
            ReceiveTrunk(q, batch, count);
        q->Rx.Release(count);
        return count;
    }

    /// <summary>The batch of a port without VLANs: all frames are its own.</summary>
    [SkipLocalsInit]
    private void ReceivePlain(PortQueue* q, xdp_desc* batch, uint count)
    {
        ulong* keys = stackalloc ulong[Limits.BatchFrames];
        ulong* words = stackalloc ulong[Limits.BatchFrames];
        Source source = new(q->Owner, Volatile.Read(ref _ports[q->Owner].Word), _outputs[q->Owner].Counters);
        ushort network = PortEntry.NetworkOf(source.Word);
        ulong bytes = 0;
        for (uint i = 0; i < count; i++)
        {
            bytes += batch[i].len;
            keys[i] = KeyOf(batch + i, network);
        }

        _table.LookupBatch(keys, words, count);
        Route route;
        Resolve(q, source, words[0], &route);
        for (uint i = 0; i < count;)
        {
            if (words[i] != route.Word)
                Resolve(q, source, words[i], &route);
            uint passed = route.IsPlain ? PassOn(q, batch + i, words + i, count - i, &route) : 0;
            i += passed;
            if (passed != 0)
                continue;
            Forward(q, batch + i, source, keys[i], &route);
            i++;
        }

        source.Count(PortCounter.RxFrames, count);
        source.Count(PortCounter.RxBytes, bytes);
    }

    /// <summary>The key of a frame's destination; 0: the descriptor is unsound.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ulong KeyOf(xdp_desc* descriptor, ushort network) =>
        IsWhole(descriptor) ? FdbKey.Make(network, Unsafe.ReadUnaligned<ulong>(_arena.Base + descriptor->addr)) : 0;

    /// <summary>Does the descriptor name a frame inside one chunk of the arena, in one buffer, with room for a header?</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool IsWhole(xdp_desc* descriptor) =>
        descriptor->addr < _arena.Bytes && descriptor->options == 0 && descriptor->len is >= Limits.EthernetHeaderBytes and <= Limits.FrameBytes
        && (descriptor->addr & ~Arena.ChunkMask) + descriptor->len <= Limits.FrameBytes;

    /// <summary>
    /// Puts frames into the TX ring of a plain route, as long as their words lead there and nothing has to be done to them but that;
    /// returns how many. What comes next is another route's, or one for <see cref="Forward"/>.
    /// </summary>
    private uint PassOn(PortQueue* q, xdp_desc* from, ulong* words, uint count, Route* route)
    {
        PortQueue* queue = route->Queue;
        if (queue->TxHeld >= queue->TxLimit)
            return 0;
        uint room = queue->Tx.Reserve(Math.Min(count, queue->TxLimit - queue->TxHeld), out xdp_desc* to);
        ushort received = Arena.Entry(FrameOwner.Fill, q->Index), sent = Arena.Entry(FrameOwner.Tx, queue->Index);
        Arena arena = _arena;
        ulong word = route->Word, bytes = 0;
        uint lengthMax = route->FrameBytesMax, passed = 0;
        // A word that leads somewhere is of a sound descriptor (KeyOf), so the frame is one of the arena's.
        for (; passed < room && words[passed] == word; passed++)
        {
            xdp_desc descriptor = from[passed];
            if (descriptor.len < Limits.FrameBytesMin || descriptor.len > lengthMax
                || !arena.TryPass(Arena.FrameOf(descriptor.addr), received, sent))
                break;
            to[passed] = descriptor;
            bytes += descriptor.len;
        }

        if (passed == 0)
            return 0;
        q->FillHeld -= passed;
        queue->TxHeld += passed;
        queue->Tx.PutReserved(passed);
        route->Port->Count(PortCounter.TxFrames, passed);
        route->Port->Count(PortCounter.TxBytes, bytes);
        Touch(queue);
        return passed;
    }

    /// <summary>Sends one received frame on its way: into a TX ring, or back to the free ones with the reason counted.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Forward(PortQueue* q, xdp_desc* descriptor, Source source, ulong key, Route* route)
    {
        if (!TryTakeReceived(q, descriptor, out uint frame))
            return;
        PortQueue* queue = route->Queue;
        if (route->IsPerFrame)
            queue = Choose(q, descriptor, route);
        else if (descriptor->len > route->FrameBytesMax)
            queue = null;
        if (queue == null || queue->Worker != _number || queue->TxHeld >= queue->TxLimit || queue->Tx.Reserve(1) == 0)
        {
            Divert(frame, descriptor, source, key, route, queue);
            return;
        }

        Put(route->Port, queue, frame, descriptor->addr, descriptor->len, (source.Word & (ulong)PortFlags.Unfinished) != 0);
    }

    /// <summary>Takes a frame out of the fill quota of the queue it came by. False, and counted, if it was not that queue's.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryTakeReceived(PortQueue* q, xdp_desc* descriptor, out uint frame)
    {
        frame = Arena.FrameOf(descriptor->addr);
        if (frame >= _arena.FrameCount || !_arena.IsOwned(frame, FrameOwner.Fill, q->Index))
        {
            q->Count(PortCounter.LedgerViolation);
            return false;
        }

        q->FillHeld--;
        return true;
    }

    /// <summary>Makes a frame fit to be sent and puts it into a TX ring with room. The frame is the output's from here on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Put(OutputPort* port, PortQueue* queue, uint frame, ulong address, uint length, bool mayBeUnfinished)
    {
        uint options = 0, tagBytes = 0;
        if (mayBeUnfinished || port->Tag != 0 || length < Limits.FrameBytesMin)
        {
            // Copies: a local whose address is taken has no register, and most frames do not come here.
            ulong to = address;
            uint bytes = length;
            tagBytes = MakeFit(port, queue, ref to, ref bytes, mayBeUnfinished, out options);
            address = to;
            length = bytes;
        }

        _arena.Give(frame, FrameOwner.Tx, queue->Index);
        queue->TxHeld++;
        queue->Tx.PutDescriptor(address, length, options);
        port->Count(PortCounter.TxFrames);
        port->Count(PortCounter.TxBytes, length - tagBytes);
        Touch(queue);
    }

    /// <summary>This output is to be served at the end of the round.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Touch(PortQueue* queue)
    {
        if (queue->IsTouched)
            return;
        queue->IsTouched = true;
        _touched[_touchedCount++] = queue;
    }

    /// <summary>Pushes the port's tag, has an unfinished checksum finished, pads. Returns the bytes of the tag.</summary>
    private uint MakeFit(OutputPort* port, PortQueue* queue, ref ulong address, ref uint length, bool mayBeUnfinished, out uint options)
    {
        byte* data = _arena.Base + address;
        uint start = 0, field = 0, tagBytes = 0;
        options = 0;
        bool isUnfinished = mayBeUnfinished && Checksum.IsUnfinished(data, length, out start, out field);
        if (port->Tag != 0)
        {
            tagBytes = Limits.VlanTagBytes;
            PushTag(data, port->Tag);
            data -= tagBytes;
            address -= tagBytes;
            length += tagBytes;
        }

        if (isUnfinished)
            options = FinishChecksum(port, queue, address, length, start + tagBytes, field);
        if (length < Limits.FrameBytesMin)
        {
            // What lies behind a short frame in its chunk is some other guest's.
            new Span<byte>(data + length, (int)(Limits.FrameBytesMin - length)).Clear();
            length = Limits.FrameBytesMin;
            port->Count(PortCounter.Padded);
        }

        return tagBytes;
    }

    /// <summary>Has a checksum finished by the kernel, if the queue can, or finishes it. Returns the descriptor's options.</summary>
    private uint FinishChecksum(OutputPort* port, PortQueue* queue, ulong address, uint length, uint start, uint field)
    {
        byte* data = _arena.Base + address;
        // Start and field lie inside the frame (IsUnfinished), so the kernel cannot refuse the request and block the ring.
        if ((queue->Flags & QueueFlags.TxMetadata) == 0 || (address & ~Arena.ChunkMask) < (ulong)sizeof(xsk_tx_metadata))
        {
            Checksum.Finish(data, length, start, field);
            port->Count(PortCounter.ChecksumBySoftware);
            return 0;
        }

        xsk_tx_metadata* metadata = (xsk_tx_metadata*)data - 1;
        metadata->flags = IfXdp.XDP_TXMD_FLAGS_CHECKSUM;
        metadata->csum_start = (ushort)start;
        metadata->csum_offset = (ushort)field;
        metadata->launch_time = 0;
        port->Count(PortCounter.ChecksumByKernel);
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
            if (IsWorthUnwatching(q))
                Unwatch(q);
            if (PortQueue.Transmit(q, _frames, _roundNs, _clock()))
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
