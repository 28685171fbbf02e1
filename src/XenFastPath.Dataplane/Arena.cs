// The one packet memory: frames, and who owns each of them. The free ones lie in FrameDepot.cs.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace XenFastPath.Dataplane;

/// <summary>In whose hands a frame is. Stored in the top two bits of a ledger entry; the rest is the queue's index.</summary>
public enum FrameOwner : ushort
{
    /// <summary>In the depot, or in a worker's cache of free frames.</summary>
    Free = 0x0000,

    /// <summary>In a fill ring, in the kernel, or in an RX ring not read yet.</summary>
    Fill = 0x4000,

    /// <summary>In a TX ring, in the kernel, or in a completion ring not read yet.</summary>
    Tx = 0x8000,

    /// <summary>In a hand-over ring, on its way to the worker that serves the queue.</summary>
    HandedOver = 0xc000,
}

/// <summary>
/// All frames of a forwarder. A frame is a <see cref="Limits.FrameBytes"/> chunk, named by its index; addresses in descriptors are
/// offsets into the arena. The ledger says who owns each frame, the kernel included, so that a completion that the kernel invents
/// (kernel-side bugs exist) cannot free somebody else's frame. An entry is written by whoever has the frame: a worker that serves the
/// queue, or that has just taken it from a free list; so no two ever write one.
/// Frame 0 is never handed out: it is the tombstone, see <see cref="TombstoneBytes"/>.
/// </summary>
public sealed unsafe class Arena : IDisposable
{
    /// <summary>Mask that turns an address into the start of its chunk; also drops bit 0, which some kernels lose on completion.</summary>
    public const ulong ChunkMask = ~(ulong)(Limits.FrameBytes - 1);

    /// <summary>
    /// Length of the frame that replaces one which must not be sent any more. A descriptor cannot be taken back once the kernel
    /// may have seen it, but until the kernel reads it, it can be pointed elsewhere: at a frame to a reserved address
    /// (01:80:c2:00:00:01) that no bridge forwards and every stack drops.
    /// </summary>
    public const int TombstoneBytes = Limits.FrameBytesMin;

    /// <summary>Address of the tombstone frame; its 24 bytes in front are room for metadata like any other's.</summary>
    public const ulong TombstoneAddress = 256;

    private readonly SharedMemory _memory;
    private readonly ushort* _ledger;

    /// <summary>Makes an arena of <paramref name="bytes"/> bytes; all frames but the tombstone are free.</summary>
    public Arena(long bytes)
    {
        FrameCount = (uint)(bytes / Limits.FrameBytes);
        _memory = SharedMemory.Create("xenfastpath-arena", FrameCount * (long)Limits.FrameBytes);
        Base = _memory.Address;
        Bytes = _memory.Bytes;
        _ledger = (ushort*)NativeMemory.AllocZeroed(FrameCount, sizeof(ushort));
        Depot = new FrameDepot(FrameCount);
        WriteTombstone();
    }

    /// <summary>Start of the memory.</summary>
    public byte* Base { get; }

    /// <summary>Its size in bytes.</summary>
    public nuint Bytes { get; }

    /// <summary>Frames in the arena, the tombstone included.</summary>
    public uint FrameCount { get; }

    /// <summary>The free frames that no worker has in its cache.</summary>
    public FrameDepot Depot { get; }

    /// <summary>The frame an address lies in.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint FrameOf(ulong address) => (uint)(address >> Limits.FrameShift);

    /// <summary>Asks for a frame's first line and its ledger entry. x86 only; a wild address is harmless.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Prefetch(ulong address)
    {
        Sse.Prefetch0(Base + address);
        Sse.Prefetch0(_ledger + FrameOf(address));
    }

    /// <summary>Does <paramref name="owner"/> own the frame?</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool IsOwned(uint frame, FrameOwner owner, ushort queue) => _ledger[frame] == Entry(owner, queue);

    /// <summary>Hands a frame that the caller owns to another owner.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Give(uint frame, FrameOwner owner, ushort queue) => _ledger[frame] = Entry(owner, queue);

    /// <summary>Hands a frame over if the giver owns it. Both are <see cref="Entry"/>s, which a caller with many frames makes once.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryPass(uint frame, ushort from, ushort to)
    {
        if (_ledger[frame] != from)
            return false;
        _ledger[frame] = to;
        return true;
    }

    /// <summary>Hands several over.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Give(uint* frames, uint count, FrameOwner owner, ushort queue)
    {
        ushort* ledger = _ledger;
        ushort entry = Entry(owner, queue);
        for (uint i = 0; i < count; i++)
            ledger[frames[i]] = entry;
    }

    /// <summary>What the ledger has for a frame of this owner.</summary>
    public static ushort Entry(FrameOwner owner, ushort queue) => (ushort)((ushort)owner | queue);

    /// <summary>
    /// Counts the whole ledger: <paramref name="fill"/>, <paramref name="tx"/> and <paramref name="handedOver"/> are raised per queue, the
    /// result is the number of free frames. Between two rounds a loop itself holds none.
    /// </summary>
    public uint CountOwners(uint* fill, uint* tx, uint* handedOver)
    {
        const ushort queueMask = 0x3fff;
        uint free = 0;
        for (uint frame = 1; frame < FrameCount; frame++)
        {
            ushort entry = _ledger[frame];
            switch ((FrameOwner)(entry & ~queueMask))
            {
                case FrameOwner.Free:
                    free++;
                    break;
                case FrameOwner.Fill:
                    fill[entry & queueMask]++;
                    break;
                case FrameOwner.Tx:
                    tx[entry & queueMask]++;
                    break;
                case FrameOwner.HandedOver:
                    handedOver[entry & queueMask]++;
                    break;
            }
        }

        return free;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        NativeMemory.Free(_ledger);
        Depot.Dispose();
        _memory.Dispose();
    }

    private void WriteTombstone()
    {
        Span<byte> frame = new(Base + TombstoneAddress, TombstoneBytes);
        frame.Clear();
        ReadOnlySpan<byte> header = [0x01, 0x80, 0xc2, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0, 0x88, 0xb5];
        header.CopyTo(frame);
    }
}
