// Several workers: a frame whose output another worker serves is handed to that one, by a bounded ring for each pair and direction. The
// giver looks up and chooses the queue, the taker does what is to be done with the frame and its queue: nothing but the ring is shared.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace XenFastPath.Dataplane;

/// <summary>A frame on its way to the worker that serves its output; see <see cref="FrameOwner.HandedOver"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct HandoverFrame
{
    /// <summary>Where it leaves. It lives: a port's workers let go of it only after all others have, and have emptied these rings.</summary>
    public PortQueue* Queue;

    public ulong Address;
    public uint Length;

    /// <summary><see cref="OutputPort.Generation"/> of <see cref="Port"/>.</summary>
    public uint Generation;

    /// <summary>The port it leaves by: the queue's, or a VLAN's or bond's.</summary>
    public ushort Port;

    /// <summary>The port it came by, which its drops are counted for.</summary>
    public ushort Source;

    public bool MayBeUnfinished;
}

public sealed unsafe partial class PacketLoop
{
    /// <summary>The rings between this loop and another.</summary>
    private struct Link
    {
        public Ring Out;
        public Ring In;

        /// <summary>What a barrier waits for: frames that the other had handed over before it.</summary>
        public uint BarrierIndex;

        /// <summary>Was something put into <see cref="Out"/> that is not published yet?</summary>
        public bool IsTouched;
    }

    private const int CacheLineBytes = 64;

    /// <summary>All loops of the forwarder, by number; this one among them.</summary>
    private PacketLoop[] _loops;

    /// <summary>By the other loop's number; null: there is no other.</summary>
    private Link* _links;

    /// <summary>What other loops look at; a cache line of its own.</summary>
    [StructLayout(LayoutKind.Sequential, Size = CacheLineBytes)]
    private struct Notice
    {
        /// <summary>1 while this loop's thread sleeps, or is about to: whoever hands something over has to wake it.</summary>
        public int Sleeps;

        /// <summary>When it last came back after it had stood still for longer than <see cref="Layout.StallNs"/>.</summary>
        public ulong StalledNs;
    }

    private readonly Notice* _notice = (Notice*)NativeMemory.AlignedAlloc(CacheLineBytes, CacheLineBytes);

    /// <summary>Called by another loop's thread to wake this one's. Set before the loops run.</summary>
    public delegate*<nint, void> Wake { get; set; }

    /// <summary>Argument of <see cref="Wake"/>.</summary>
    public nint WakeArgument { get; set; }

    /// <summary>Lets loops hand frames to one another. Their numbers are their places in the array. Before any of them runs.</summary>
    public static void Join(PacketLoop[] loops)
    {
        for (int i = 0; i < loops.Length && loops.Length > 1; i++)
        {
            loops[i]._loops = loops;
            loops[i]._links = (Link*)NativeMemory.AllocZeroed((nuint)loops.Length, (nuint)sizeof(Link));
        }

        for (int from = 0; from < loops.Length; from++)
        {
            for (int to = 0; to < loops.Length; to++)
            {
                if (from == to)
                    continue;
                const int indexBytes = 2 * CacheLineBytes;
                nuint bytes = indexBytes + Limits.HandoverFrames * (nuint)sizeof(HandoverFrame);
                byte* memory = (byte*)NativeMemory.AlignedAlloc(bytes, CacheLineBytes);
                new Span<byte>(memory, (int)bytes).Clear();
                uint* producer = (uint*)memory, consumer = (uint*)(memory + CacheLineBytes);
                loops[from]._links[to].Out.Attach(producer, consumer, null, memory + indexBytes, Limits.HandoverFrames);
                loops[to]._links[from].In.Attach(producer, consumer, null, memory + indexBytes, Limits.HandoverFrames);
            }
        }
    }

    /// <summary>
    /// The thread is about to sleep: from now on whoever hands something over wakes it. False: something was handed over just now.
    /// </summary>
    public bool TrySleep()
    {
        if (_links == null || _isPaused)
            return true;
        Volatile.Write(ref _notice->Sleeps, 1);
        // Either the other sees that this one sleeps, or this one sees what the other has published.
        Interlocked.MemoryBarrier();
        for (int i = 0; i < _loops.Length; i++)
        {
            if (i != _number && _links[i].In.Peek(1) != 0)
            {
                WakeUp();
                return false;
            }
        }

        return true;
    }

    /// <summary>The thread sleeps no longer.</summary>
    public void WakeUp() => Volatile.Write(ref _notice->Sleeps, 0);

    /// <summary>Others learn of a stall in their next round: it is to come before frames that they would throw away for nothing.</summary>
    private void WakeOthers()
    {
        for (int i = 0; i < _loops.Length; i++)
        {
            if (i != _number)
                _loops[i].Wake(_loops[i].WakeArgument);
        }
    }

    /// <summary>
    /// Does another worker stand still, or did it since this one's round before? Then the program sends frames the kernel's way, or is
    /// about to, and what this one still holds is older than those.
    /// </summary>
    private bool HasStalledOther(ulong lastRoundNs)
    {
        for (int i = 0; i < _loops.Length; i++)
        {
            PacketLoop other = _loops[i];
            if (i != _number && ((long)(_roundNs - Volatile.Read(ref *other._heartbeatNs)) > Layout.StallNs
                || Volatile.Read(ref other._notice->StalledNs) > lastRoundNs))
                return true;
        }

        return false;
    }

    /// <summary>
    /// A frame that cannot go straight into a TX ring: another worker serves its queue, or it is dropped, with the reason counted.
    /// </summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Divert(uint frame, Interop.xdp_desc* descriptor, Source source, ulong key, Route* route, PortQueue* queue)
    {
        if (queue != null && queue->Worker != _number)
        {
            Link* link = _links + queue->Worker;
            if (link->Out.Reserve(1) != 0 && queue->TryGive(_number))
            {
                _arena.Give(frame, FrameOwner.HandedOver, queue->Index);
                link->Out.PutHandover(new HandoverFrame
                {
                    Queue = queue,
                    Address = descriptor->addr,
                    Length = descriptor->len,
                    Generation = route->Port->Generation,
                    Port = (ushort)(route->Port - _outputs),
                    Source = source.Port,
                    MayBeUnfinished = (source.Word & (ulong)PortFlags.Unfinished) != 0,
                });
                link->IsTouched = true;
                return;
            }
        }

        _frames.Return(frame);
        source.Count(WhyNot(descriptor, key, route, queue), 1);
    }

    /// <summary>Publishes what this round hands over, and takes what others have. Returns how many frames that were.</summary>
    private uint Exchange()
    {
        uint count = 0;
        for (int i = 0; i < _loops.Length; i++)
        {
            if (_links[i].IsTouched)
                HandOver(_loops[i], _links + i);
        }

        for (int i = 0; i < _loops.Length; i++)
        {
            if (i != _number)
                count += TakeHandedOver(i);
        }

        return count;
    }

    private void HandOver(PacketLoop taker, Link* link)
    {
        link->IsTouched = false;
        // As with a kick: what this thread held while it was stopped for long is not for anybody any more.
        if (_clock() - _roundNs > (ulong)Layout.StallNs)
        {
            while (link->Out.TryUnputHandover(out HandoverFrame* frame))
            {
                frame->Queue->TakeBack(_number);
                DropHandedOver(frame, PortCounter.DropStale);
            }

            return;
        }

        _counters[(int)LoopCounter.HandedOver] += link->Out.Unpublished;
        link->Out.Submit();
        Interlocked.MemoryBarrier();
        if (Volatile.Read(ref taker._notice->Sleeps) == 0 || Interlocked.Exchange(ref taker._notice->Sleeps, 0) == 0)
            return;     // awake, or somebody else wakes it
        _counters[(int)LoopCounter.HandoverWakes]++;
        taker.Wake(taker.WakeArgument);
    }

    private uint TakeHandedOver(int giver)
    {
        Ring* ring = &_links[giver].In;
        uint count = ring->Peek(ring->Size);
        if (count == 0)
            return 0;
        for (uint i = 0; i < count; i++)
        {
            HandoverFrame* frame = ring->Handover(i);
            OutputPort* port = _outputs + frame->Port;
            PortQueue* queue = frame->Queue;
            queue->Take((ushort)giver);
            if (port->QueueCount == 0 || port->Generation != frame->Generation)
                DropHandedOver(frame, PortCounter.DropOutputGone);
            else if (queue->TxHeld >= queue->TxLimit || queue->Tx.Reserve(1) == 0)
                DropHandedOver(frame, PortCounter.DropTxFull);
            else
                Put(port, queue, Arena.FrameOf(frame->Address), frame->Address, frame->Length, frame->MayBeUnfinished);
        }

        ring->Release(count);
        return count;
    }

    /// <summary>The loop was stopped for long: what others have handed over meanwhile is thrown away.</summary>
    private void DiscardHandedOver()
    {
        for (int i = 0; i < _loops.Length; i++)
        {
            if (i == _number)
                continue;
            Ring* ring = &_links[i].In;
            uint count = ring->Peek(ring->Size);
            for (uint j = 0; j < count; j++)
            {
                ring->Handover(j)->Queue->Take((ushort)i);
                DropHandedOver(ring->Handover(j), PortCounter.DropStale);
            }

            ring->Release(count);
        }
    }

    private void DropHandedOver(HandoverFrame* frame, PortCounter why)
    {
        _frames.Return(Arena.FrameOf(frame->Address));
        // The port it came by may have left meanwhile; the queue's row is there.
        ulong* counters = _outputs[frame->Source].Counters;
        (counters == null ? frame->Queue->Counters : counters)[(int)why]++;
    }

    /// <summary>While no loop runs: raises <paramref name="held"/> for each frame that waits for this one. Returns how many do.</summary>
    private uint CountHandedOver(uint* held)
    {
        uint sum = 0;
        for (int i = 0; i < _loops.Length; i++)
        {
            if (i == _number)
                continue;
            uint count = _links[i].In.Peek(Limits.HandoverFrames);
            for (uint j = 0; j < count; j++)
                held[_links[i].In.Handover(j)->Queue->Index]++;
            sum += count;
        }

        return sum;
    }
}
