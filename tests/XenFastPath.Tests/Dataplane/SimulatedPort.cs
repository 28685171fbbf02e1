// The kernel's side of a port, simulated: rings in ordinary memory, and what the kernel would do with them.
using System.Runtime.InteropServices;
using XenFastPath.Dataplane;
using XenFastPath.Interop;

namespace XenFastPath.Tests.Dataplane;

/// <summary>One ring in ordinary memory with both sides attached.</summary>
internal sealed unsafe class MemoryRing : IDisposable
{
    private readonly byte* _memory;

    public MemoryRing(uint size, int entryBytes, uint startIndex)
    {
        _memory = (byte*)NativeMemory.AlignedAlloc(256 + size * (nuint)entryBytes, 64);
        new Span<byte>(_memory, 256 + (int)size * entryBytes).Clear();
        *Producer = *Consumer = startIndex;
        Size = size;
        Kernel.Attach(Producer, Consumer, Flags, _memory + 256, size);
    }

    public uint Size { get; }

    public uint* Producer => (uint*)_memory;

    public uint* Consumer => (uint*)(_memory + 64);

    public uint* Flags => (uint*)(_memory + 128);

    /// <summary>The kernel's view.</summary>
    public Ring Kernel;

    public void AttachTo(ref Ring user) => user.Attach(Producer, Consumer, Flags, _memory + 256, Size);

    public void Dispose() => NativeMemory.AlignedFree(_memory);
}

/// <summary>A VLAN's port: a row of counters; its frames are the trunk's.</summary>
internal sealed unsafe class SimulatedVlan(ushort id, ushort tag) : IDisposable
{
    private readonly CounterRows _counters = new();

    public ushort Id => id;

    public ushort Tag => tag;

    public ulong this[PortCounter counter] => _counters[counter];

    public OutputPort Output(SimulatedPort trunk, uint generation, int worker = 0)
    {
        OutputPort output = trunk.Output(generation);
        output.Counters = _counters.Of(worker);
        output.Tag = tag;
        return output;
    }

    public void Dispose() => _counters.Dispose();
}

/// <summary>A port's rows, one for each worker.</summary>
internal sealed unsafe class CounterRows : IDisposable
{
    public const int WorkersMax = 4;

    private readonly ulong* _rows = (ulong*)NativeMemory.AllocZeroed(WorkersMax * CounterMemory.RowSlots, sizeof(ulong));

    /// <summary>What all workers together counted.</summary>
    public ulong this[PortCounter counter]
    {
        get
        {
            ulong sum = 0;
            for (int i = 0; i < WorkersMax; i++)
                sum += Of(i)[(int)counter];
            return sum;
        }
    }

    public ulong* Of(int worker) => _rows + worker * CounterMemory.RowSlots;

    public void Dispose() => NativeMemory.Free(_rows);
}

/// <summary>A port whose kernel side is driven by the test: it delivers frames, takes what is sent, completes it when told.</summary>
internal sealed unsafe class SimulatedPort : IDisposable
{
    private const int Headroom = IfXdp.XDP_PACKET_HEADROOM;

    private readonly Arena _arena;
    private readonly CounterRows _counters = new();
    private readonly Queue<ulong> _inFlight = new();

    public SimulatedPort(Arena arena, ushort id, ushort queueIndex, uint fillFrames = 64, uint txFrames = 64, uint startIndex = 0,
        QueueFlags flags = QueueFlags.None, ushort worker = 0)
    {
        _arena = arena;
        Id = id;
        uint fill = System.Numerics.BitOperations.RoundUpToPowerOf2(fillFrames), tx = System.Numerics.BitOperations.RoundUpToPowerOf2(txFrames);
        Rx = new MemoryRing(fill, sizeof(xdp_desc), startIndex);
        Tx = new MemoryRing(tx, sizeof(xdp_desc), startIndex);
        Fill = new MemoryRing(fill, sizeof(ulong), startIndex);
        Completion = new MemoryRing(tx, sizeof(ulong), startIndex);
        Queue = (PortQueue*)NativeMemory.AllocZeroed((nuint)sizeof(PortQueue));
        Queue->Fd = -1;
        Queue->Port = id;
        Queue->Index = queueIndex;
        Queue->FillQuota = fillFrames;
        Queue->TxQuota = Queue->TxLimit = txFrames;
        Queue->Flags = flags;
        Queue->Worker = worker;
        Queue->Counters = _counters.Of(worker);
        VlanTable = (ushort*)NativeMemory.AllocZeroed(CounterRows.WorkersMax * PacketLoop.VlanTableEntries, sizeof(ushort));
        Rx.AttachTo(ref Queue->Rx);
        Tx.AttachTo(ref Queue->Tx);
        Fill.AttachTo(ref Queue->Fill);
        Completion.AttachTo(ref Queue->Completion);
    }

    public ushort Id { get; }

    public MemoryRing Rx { get; }

    public MemoryRing Tx { get; }

    public MemoryRing Fill { get; }

    public MemoryRing Completion { get; }

    public PortQueue* Queue { get; }

    /// <summary>The loops', one after the other, from the first VLAN on.</summary>
    public ushort* VlanTable { get; }

    public int InFlight => _inFlight.Count;

    public ulong this[PortCounter counter] => _counters[counter];

    /// <summary>A frame arrives: takes a fill entry, copies, publishes a descriptor. False: no buffer or no room, as in the kernel.</summary>
    public bool Deliver(ReadOnlySpan<byte> frame)
    {
        if (Fill.Kernel.Peek(1) == 0 || Rx.Kernel.Reserve(1) == 0)
            return false;
        ulong address = (Fill.Kernel.Address(0) & Arena.ChunkMask) + Headroom;
        Fill.Kernel.Release(1);
        frame.CopyTo(new Span<byte>(_arena.Base + address, frame.Length));
        Publish(address, (uint)frame.Length, 0);
        return true;
    }

    /// <summary>Publishes any descriptor, sound or not.</summary>
    public void Publish(ulong address, uint length, uint options)
    {
        Assert.Equal(1u, Rx.Kernel.Reserve(1));
        Rx.Kernel.PutDescriptor(address, length, options);
        Rx.Kernel.Submit();
    }

    /// <summary>The kernel takes up to <paramref name="max"/> frames from the TX ring; returns copies. They are in flight then.</summary>
    public List<byte[]> TakeSent(int max = int.MaxValue)
    {
        List<byte[]> frames = [];
        uint count = Math.Min((uint)max, Tx.Kernel.Peek(Tx.Size));
        for (uint i = 0; i < count; i++)
        {
            xdp_desc d = *Tx.Kernel.Descriptor(i);
            Assert.True(d.addr + d.len <= _arena.Bytes, "descriptor outside the arena");
            Assert.True((d.addr & ~Arena.ChunkMask) + d.len <= Limits.FrameBytes, "descriptor across a chunk");
            byte[] frame = new Span<byte>(_arena.Base + d.addr, (int)d.len).ToArray();
            if ((d.options & IfXdp.XDP_TX_METADATA) != 0)
                FinishAsKernel(frame, (xsk_tx_metadata*)(_arena.Base + d.addr) - 1);
            frames.Add(frame);
            _inFlight.Enqueue(d.addr);
        }

        Tx.Kernel.Release(count);
        return frames;
    }

    /// <summary>The kernel completes up to <paramref name="max"/> frames in flight. Bit 0 is set, as some kernels leave it.</summary>
    public void Complete(int max = int.MaxValue)
    {
        while (max-- > 0 && _inFlight.Count > 0 && Completion.Kernel.Reserve(1) == 1)
        {
            Completion.Kernel.PutAddress(_inFlight.Dequeue() | 1);
            Completion.Kernel.Submit();
        }
    }

    /// <summary>The kernel sends and completes frames from the start of the TX ring, and its index does not show it yet (before 6.17).</summary>
    public void CompleteUnreleased(uint count)
    {
        Assert.True(Tx.Kernel.Peek(count) == count && Completion.Kernel.Reserve(count) == count);
        for (uint i = 0; i < count; i++)
            Completion.Kernel.PutAddress(Tx.Kernel.Descriptor(i)->addr);
        Completion.Kernel.Submit();
    }

    /// <summary>The kernel completes an address that it never had.</summary>
    public void CompleteBogus(ulong address)
    {
        Assert.Equal(1u, Completion.Kernel.Reserve(1));
        Completion.Kernel.PutAddress(address);
        Completion.Kernel.Submit();
    }

    /// <summary>The port as a worker's loop knows it.</summary>
    public OutputPort Output(uint generation, int worker = 0) =>
        new() { Queues = Queue, Counters = _counters.Of(worker), QueueCount = 1, Generation = generation };

    public void Dispose()
    {
        Rx.Dispose();
        Tx.Dispose();
        Fill.Dispose();
        Completion.Dispose();
        _counters.Dispose();
        NativeMemory.Free(VlanTable);
        NativeMemory.Free(Queue);
    }

    /// <summary>What skb_checksum_help() does with a CHECKSUM_PARTIAL skb; the check is the kernel's own.</summary>
    private static void FinishAsKernel(byte[] frame, xsk_tx_metadata* metadata)
    {
        Assert.Equal(IfXdp.XDP_TXMD_FLAGS_CHECKSUM, metadata->flags);
        Assert.True(metadata->csum_start + metadata->csum_offset + 2 <= frame.Length, "the kernel would refuse this frame for ever");
        Reference.FinishChecksum(frame, metadata->csum_start, metadata->csum_offset);
    }
}
