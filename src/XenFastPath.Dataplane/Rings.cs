// The four AF_XDP rings: single producer, single consumer, in memory shared with the kernel. Two workers hand frames over by the same.
// Ordering as net/xdp/xsk_queue.h demands: entries, then a release-store of the index that publishes them; an acquire-load of
// the other side's index before its entries are touched.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using XenFastPath.Interop;

namespace XenFastPath.Dataplane;

/// <summary>
/// One ring, as either side sees it. Indices run freely through 2^32 and are compared by wrapping subtraction; the size is a
/// power of two. Producers call Reserve..Submit, consumers Peek..Release. One thread per ring and side.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct Ring
{
    private uint* _producer;
    private uint* _consumer;
    private uint* _flags;
    private void* _entries;
    private uint _mask;
    private uint _cachedProducer;
    private uint _cachedConsumer;

    /// <summary>The mapping the ring lives in, if it is the kernel's; see <see cref="Own"/>.</summary>
    public void* Mapping { get; private set; }

    /// <summary>Bytes of <see cref="Mapping"/>.</summary>
    public ulong MappingBytes { get; private set; }

    /// <summary>Remembers what to unmap when the ring's socket is closed.</summary>
    public void Own(void* mapping, ulong bytes)
    {
        Mapping = mapping;
        MappingBytes = bytes;
    }

    /// <summary>Attaches to ring memory. <paramref name="size"/> entries, a power of two.</summary>
    public void Attach(uint* producer, uint* consumer, uint* flags, void* entries, uint size)
    {
        System.Diagnostics.Debug.Assert(System.Numerics.BitOperations.IsPow2(size));
        _producer = producer;
        _consumer = consumer;
        _flags = flags;
        _entries = entries;
        _mask = size - 1;
        _cachedProducer = Volatile.Read(ref *producer);
        _cachedConsumer = Volatile.Read(ref *consumer);
    }

    /// <summary>Number of entries.</summary>
    public readonly uint Size => _mask + 1;

    /// <summary>Does the kernel want to be woken (XDP_RING_NEED_WAKEUP)? Call after <see cref="Submit"/>.</summary>
    public readonly bool NeedsWakeup
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get
        {
            // The index was just stored and the flag is now loaded: the one reordering that even x86 does.
            Interlocked.MemoryBarrier();
            return (Volatile.Read(ref *_flags) & IfXdp.XDP_RING_NEED_WAKEUP) != 0;
        }
    }

    /// <summary>Producer: how many of <paramref name="wanted"/> entries are free. Looks at the consumer only if it must.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public uint Reserve(uint wanted)
    {
        uint free = Size - (_cachedProducer - _cachedConsumer);
        if (free < wanted)
        {
            _cachedConsumer = Volatile.Read(ref *_consumer);
            free = Size - (_cachedProducer - _cachedConsumer);
        }

        return free < wanted ? free : wanted;
    }

    /// <summary>Producer: the next reserved address entry (fill ring).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void PutAddress(ulong address) => ((ulong*)_entries)[_cachedProducer++ & _mask] = address;

    /// <summary>Producer: the next reserved entries, the addresses of these frames (fill ring).</summary>
    public void PutFrames(uint* frames, uint count)
    {
        ulong* entries = (ulong*)_entries;
        uint mask = _mask, at = _cachedProducer;
        for (uint i = 0; i < count; i++)
            entries[at++ & mask] = (ulong)frames[i] << Limits.FrameShift;
        _cachedProducer = at;
    }

    /// <summary>Producer: the next reserved descriptor (TX ring).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void PutDescriptor(ulong address, uint length, uint options)
    {
        xdp_desc* entry = (xdp_desc*)_entries + (_cachedProducer++ & _mask);
        entry->addr = address;
        entry->len = length;
        entry->options = options;
    }

    /// <summary>Producer: as <see cref="Reserve(uint)"/>, for descriptors that lie behind one another, the first of them at <paramref name="next"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public uint Reserve(uint wanted, out xdp_desc* next)
    {
        uint at = _cachedProducer & _mask;
        next = (xdp_desc*)_entries + at;
        return Reserve(Math.Min(wanted, Size - at));
    }

    /// <summary>Producer: so many descriptors were written where they were reserved.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void PutReserved(uint count) => _cachedProducer += count;

    /// <summary>Producer: the next reserved frame for another worker (hand-over ring).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void PutHandover(in HandoverFrame frame) => ((HandoverFrame*)_entries)[_cachedProducer++ & _mask] = frame;

    /// <summary>Producer: takes back the latest descriptor that was put but not published; false if all are published.</summary>
    public bool TryUnput(out xdp_desc* descriptor)
    {
        bool isPublished = Unpublished == 0;
        descriptor = isPublished ? null : (xdp_desc*)_entries + (--_cachedProducer & _mask);
        return !isPublished;
    }

    /// <summary>Producer: the same for a hand-over ring.</summary>
    public bool TryUnputHandover(out HandoverFrame* frame)
    {
        bool isPublished = Unpublished == 0;
        frame = isPublished ? null : (HandoverFrame*)_entries + (--_cachedProducer & _mask);
        return !isPublished;
    }

    /// <summary>Producer: entries that were put since the last <see cref="Submit"/>.</summary>
    public readonly uint Unpublished => _cachedProducer - *_producer;       // nobody but the producer writes it

    /// <summary>Producer: publishes what was put since the last call.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Submit() => Volatile.Write(ref *_producer, _cachedProducer);

    /// <summary>Producer: published entries that the consumer has not taken.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public uint Pending()
    {
        _cachedConsumer = Volatile.Read(ref *_consumer);
        return _cachedProducer - _cachedConsumer;
    }

    /// <summary>Producer: the i-th pending descriptor, oldest first. Only for a consumer that does not run meanwhile.</summary>
    public readonly xdp_desc* PendingDescriptor(uint i) => (xdp_desc*)_entries + ((_cachedConsumer + i) & _mask);

    /// <summary>Consumer: how many entries can be read, at most <paramref name="max"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public uint Peek(uint max)
    {
        uint ready = _cachedProducer - _cachedConsumer;
        if (ready < max)
        {
            _cachedProducer = Volatile.Read(ref *_producer);
            ready = _cachedProducer - _cachedConsumer;
        }

        return ready < max ? ready : max;
    }

    /// <summary>Consumer: the i-th peeked descriptor (RX ring).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly xdp_desc* Descriptor(uint i) => (xdp_desc*)_entries + ((_cachedConsumer + i) & _mask);

    /// <summary>
    /// Consumer: entries that can be read and lie behind one another, at most <paramref name="max"/>: what lies beyond the ring's end is for
    /// the next call. <typeparamref name="T"/> is xdp_desc in an RX or TX ring, ulong in a fill or completion ring.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public uint Peek<T>(uint max, out T* first)
        where T : unmanaged
    {
        uint at = _cachedConsumer & _mask;
        first = (T*)_entries + at;
        return Peek(Math.Min(max, Size - at));
    }

    /// <summary>Consumer: the i-th peeked address (completion ring).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly ulong Address(uint i) => ((ulong*)_entries)[(_cachedConsumer + i) & _mask];

    /// <summary>Consumer: the i-th peeked frame of another worker (hand-over ring).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly HandoverFrame* Handover(uint i) => (HandoverFrame*)_entries + ((_cachedConsumer + i) & _mask);

    /// <summary>Consumer: gives <paramref name="count"/> entries back.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Release(uint count)
    {
        _cachedConsumer += count;
        Volatile.Write(ref *_consumer, _cachedConsumer);
    }

    /// <summary>Either side: the index up to which the producer has published by now; see <see cref="HasConsumed"/>.</summary>
    public readonly uint Published() => Volatile.Read(ref *_producer);

    /// <summary>Either side: has everything up to <paramref name="index"/> been released? A producer asks <see cref="Pending"/> first.</summary>
    public readonly bool HasConsumed(uint index) => (int)(_cachedConsumer - index) >= 0;
}
