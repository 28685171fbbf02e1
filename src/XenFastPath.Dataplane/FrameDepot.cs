// The free frames: a depot that all workers share, and a cache that each has for itself (magazines, as in Bonwick and Adams, "Magazines
// and Vmem", 2001). A worker that receives more than it sends fills its cache from the depot, one that sends more empties it there,
// a block at a time; where both balance, the depot is not touched.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace XenFastPath.Dataplane;

/// <summary>
/// A stack of indices that several threads push and pop without a lock (Treiber). The word holds the index on top, plus one, and above
/// it a count that every change raises: a thread that was stopped between its look and its exchange must not take an equal top for
/// the same one.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct IndexStack(ulong* top, uint* below)
{
    private readonly ulong* _top = top;
    private readonly uint* _below = below;

    public readonly void Push(uint index)
    {
        ulong old;
        do
        {
            old = Volatile.Read(ref *_top);
            _below[index] = (uint)old;
        }
        while (Interlocked.CompareExchange(ref *_top, Next(old, index + 1), old) != old);
    }

    public readonly bool TryPop(out uint index)
    {
        ulong old;
        do
        {
            old = Volatile.Read(ref *_top);
            index = (uint)old - 1;
            if ((uint)old == 0)
                return false;
        }
        while (Interlocked.CompareExchange(ref *_top, Next(old, Volatile.Read(ref _below[index])), old) != old);
        return true;
    }

    private static ulong Next(ulong old, uint top) => ((old >> 32) + 1) << 32 | top;
}

/// <summary>The free frames of an arena that no worker has, in blocks.</summary>
public sealed unsafe class FrameDepot : IDisposable
{
    /// <summary>Frames of a block: a batch, so that a round rarely needs more than one.</summary>
    public const int BlockFrames = Limits.BatchFrames;

    private const int CacheLineBytes = 64;

    private readonly byte* _tops;
    private readonly uint* _below;
    private readonly uint* _frames;
    private readonly uint* _counts;
    private readonly IndexStack _full;
    private readonly IndexStack _empty;

    /// <summary>A depot with all frames of an arena but frame 0, the tombstone.</summary>
    public FrameDepot(uint frameCount)
    {
        // One block may be part full, and each worker may have one in its hands.
        uint blocks = frameCount / BlockFrames + 1 + Layout.WorkersMax;
        _tops = (byte*)NativeMemory.AlignedAlloc(3 * CacheLineBytes, CacheLineBytes);
        new Span<byte>(_tops, 3 * CacheLineBytes).Clear();
        _below = (uint*)NativeMemory.AllocZeroed(blocks, sizeof(uint));
        _counts = (uint*)NativeMemory.AllocZeroed(blocks, sizeof(uint));
        _frames = (uint*)NativeMemory.AllocZeroed(blocks * BlockFrames, sizeof(uint));
        _full = new IndexStack((ulong*)_tops, _below);
        _empty = new IndexStack((ulong*)(_tops + CacheLineBytes), _below);
        for (uint block = 0; block < blocks; block++)
            _empty.Push(block);
        uint* frames = stackalloc uint[BlockFrames];
        uint count = 0;
        for (uint frame = frameCount - 1; frame > 0; frame--)
        {
            frames[count++] = frame;
            if (count < BlockFrames && frame > 1)
                continue;
            Put(frames, count);
            count = 0;
        }
    }

    /// <summary>Frames in it. What a thread is just moving is counted as moved, or not yet.</summary>
    public uint Count => (uint)Volatile.Read(ref *(long*)(_tops + 2 * CacheLineBytes));

    /// <summary>Takes a block; returns how many frames it had, 0: the depot is empty. <paramref name="to"/> has room for a whole one.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public uint Take(uint* to)
    {
        if (!_full.TryPop(out uint block))
            return 0;
        uint count = _counts[block];
        Unsafe.CopyBlock(to, _frames + block * BlockFrames, count * sizeof(uint));
        _empty.Push(block);
        Interlocked.Add(ref *(long*)(_tops + 2 * CacheLineBytes), -count);
        return count;
    }

    /// <summary>Puts up to a block of frames into it.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public void Put(uint* frames, uint count)
    {
        if (!_empty.TryPop(out uint block))
            Environment.FailFast("packet memory: more free frames than there are");
        Unsafe.CopyBlock(_frames + block * BlockFrames, frames, count * sizeof(uint));
        _counts[block] = count;
        Interlocked.Add(ref *(long*)(_tops + 2 * CacheLineBytes), count);
        _full.Push(block);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        NativeMemory.AlignedFree(_tops);
        NativeMemory.Free(_below);
        NativeMemory.Free(_counts);
        NativeMemory.Free(_frames);
    }
}

/// <summary>The free frames of one worker, which alone uses this. Lives as long as the process.</summary>
public sealed unsafe class FrameCache(Arena arena)
{
    /// <summary>The most that it keeps; others cannot have them meanwhile.</summary>
    public const int FramesMax = 2 * FrameDepot.BlockFrames;

    private readonly uint* _frames = (uint*)NativeMemory.AllocZeroed(FramesMax, sizeof(uint));
    private uint _count;

    /// <summary>Whose frames they are.</summary>
    public Arena Arena { get; } = arena;

    /// <summary>Free frames in this cache.</summary>
    public uint Count => _count;

    /// <summary>
    /// Takes up to <paramref name="wanted"/> free frames for <paramref name="owner"/>; returns how many, 0: neither cache nor depot has one.
    /// <paramref name="taken"/> points at them until the next call.
    /// </summary>
    public uint Take(uint wanted, FrameOwner owner, ushort queue, out uint* taken)
    {
        if (_count == 0)
            _count = Arena.Depot.Take(_frames);
        uint count = Math.Min(wanted, _count);
        taken = _frames + (_count -= count);
        Arena.Give(taken, count, owner, queue);
        return count;
    }

    /// <summary>Takes a frame back that the caller owns, to be taken next: it is warm in the cache.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Return(uint frame)
    {
        Arena.Give(frame, FrameOwner.Free, 0);
        if (_count == FramesMax)
            Spill();
        _frames[_count++] = frame;
    }

    /// <summary>Where to write up to a batch of frames that are free in the ledger already; <see cref="TakeRoom"/> takes them then.</summary>
    public uint* Room()
    {
        if (_count + Limits.BatchFrames > FramesMax)
            Spill();
        return _frames + _count;
    }

    /// <summary>Takes so many frames that were written into <see cref="Room"/>; the last is taken next.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void TakeRoom(uint count) => _count += count;

    /// <summary>Takes back every frame of a queue whose socket is closed. Returns how many there were.</summary>
    public uint Reclaim(ushort queue)
    {
        uint count = 0;
        for (uint frame = 1; frame < Arena.FrameCount; frame++)
        {
            if (Arena.IsOwned(frame, FrameOwner.Fill, queue) || Arena.IsOwned(frame, FrameOwner.Tx, queue))
            {
                Return(frame);
                count++;
            }
        }

        return count;
    }

    /// <summary>The older half goes into the depot.</summary>
    private void Spill()
    {
        const int half = FrameDepot.BlockFrames;
        Arena.Depot.Put(_frames, half);
        _count -= half;
        Unsafe.CopyBlock(_frames, _frames + half, half * sizeof(uint));
    }
}
