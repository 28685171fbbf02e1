// The forwarder's copy of the FDB: a hash table in shared memory, written by control, read by the packet loop.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace XenFastPath.Dataplane;

/// <summary>
/// One bucket: a cache line with a version and seven keys, and one with seven values. Looking for a key that is not there
/// touches one line, a hit two. The version is odd while the writer is at work; a reader that saw it change reads again.
/// </summary>
[StructLayout(LayoutKind.Sequential, Size = 128)]
public unsafe struct MacBucket
{
    /// <summary>Entries of a bucket.</summary>
    public const int Slots = 7;

    /// <summary>Raised by one before and after each change.</summary>
    public ulong Version;

    /// <summary>Keys (<see cref="FdbKey"/>); 0 is an empty slot.</summary>
    public fixed ulong Keys[Slots];

    private readonly ulong _pad;

    /// <summary>Values (<see cref="FdbWord"/>).</summary>
    public fixed ulong Values[Slots];
}

/// <summary>First page of the table's memory.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct MacTableHeader
{
    public uint LayoutVersion;
    public uint BucketCount;

    /// <summary>Mixed into every hash, so that a guest cannot choose MACs that meet in one bucket.</summary>
    public ulong Seed;
}

/// <summary>What a look-up found.</summary>
public enum MacLookup
{
    Found,
    NotFound,

    /// <summary>The bucket was being written at every attempt.</summary>
    Busy,
}

/// <summary>
/// The reader. A key may lie in either of two buckets, the emptier of which it was put into. Holds no memory: the caller owns
/// the mapping and keeps it while the reader is in use.
/// </summary>
public readonly unsafe struct MacTable
{
    private const int HeaderBytes = 4096;

    private readonly MacBucket* _buckets;
    private readonly ulong _seed;
    private readonly uint _mask;

    /// <summary>Looks at a table that a <see cref="MacTableWriter"/> has made. Null: a table without entries.</summary>
    public MacTable(void* memory)
    {
        if (memory == null)
            return;
        MacTableHeader* header = (MacTableHeader*)memory;
        _buckets = (MacBucket*)((byte*)memory + HeaderBytes);
        _seed = header->Seed;
        _mask = header->BucketCount - 1;
    }

    /// <summary>Is there a table behind this reader?</summary>
    public bool IsEmpty => _buckets == null;

    /// <summary>Bytes of memory for a table with this many buckets.</summary>
    public static long BytesFor(uint bucketCount) => HeaderBytes + bucketCount * (long)sizeof(MacBucket);

    /// <summary>Both bucket numbers, before the mask, are in the halves of this hash.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Hash(ulong key, ulong seed)
    {
        ulong h = (key ^ seed) * 0x9e3779b97f4a7c15;
        h ^= h >> 32;
        h *= 0xd6e8feb86659fd93;
        return h ^ h >> 29;
    }

    /// <summary>The hash of a key in this table.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ulong HashOf(ulong key) => Hash(key, _seed);

    /// <summary>Asks for the cache lines that <see cref="Lookup"/> will read first.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Prefetch(ulong hash)
    {
        if (Sse.IsSupported)
        {
            MacBucket* bucket = _buckets + ((uint)hash & _mask);
            Sse.Prefetch0(bucket);
            Sse.Prefetch0(bucket->Values);
        }
    }

    /// <summary>Finds a key. <paramref name="hash"/> is <see cref="HashOf"/> of it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public MacLookup Lookup(ulong key, ulong hash, out ulong word)
    {
        MacLookup first = LookupBucket(_buckets + ((uint)hash & _mask), key, out word);
        return first == MacLookup.NotFound ? LookupBucket(_buckets + ((uint)(hash >> 32) & _mask), key, out word) : first;
    }

    private static MacLookup LookupBucket(MacBucket* bucket, ulong key, out ulong word)
    {
        for (int attempt = 0; attempt < Limits.TableReadsMax; attempt++)
        {
            ulong version = Volatile.Read(ref bucket->Version);
            uint hits = Compare(bucket, key);
            word = hits == 0 ? 0 : bucket->Values[System.Numerics.BitOperations.TrailingZeroCount(hits)];
            Volatile.ReadBarrier();
            if ((version & 1) == 0 && bucket->Version == version)
                return hits == 0 ? MacLookup.NotFound : MacLookup.Found;
        }

        word = 0;
        return MacLookup.Busy;
    }

    /// <summary>Bit i is set if slot i holds the key. The version shares the first vector; its lane is shifted out.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Compare(MacBucket* bucket, ulong key)
    {
        Vector256<ulong> wanted = Vector256.Create(key);
        uint low = Vector256.Equals(Vector256.Load((ulong*)bucket), wanted).ExtractMostSignificantBits();
        uint high = Vector256.Equals(Vector256.Load((ulong*)bucket + 4), wanted).ExtractMostSignificantBits();
        return (low | high << 4) >> 1;
    }
}

/// <summary>
/// The writer, one thread of the control process. Every change is whole for a reader: the version is odd while a bucket is in
/// between. If the writer dies there, readers of that bucket drop and count until the next control brings a new table.
/// </summary>
public sealed unsafe class MacTableWriter : IDisposable
{
    private readonly SharedMemory _memory;
    private readonly MacBucket* _buckets;
    private readonly ulong _seed;
    private readonly uint _mask;

    /// <summary>Makes an empty table for about <paramref name="entriesMax"/> entries, sealed against other writers.</summary>
    public MacTableWriter(int entriesMax = Layout.MacsMax)
    {
        // Two choices among seven slots overflow above some 90 % load; twice the slots keeps that out of reach.
        uint bucketCount = System.Numerics.BitOperations.RoundUpToPowerOf2((uint)(entriesMax * 2L / MacBucket.Slots));
        _memory = SharedMemory.Create("xenfastpath-macs", MacTable.BytesFor(bucketCount));
        MacTableHeader* header = (MacTableHeader*)_memory.Address;
        header->LayoutVersion = Layout.Version;
        header->BucketCount = bucketCount;
        header->Seed = _seed = (ulong)Random.Shared.NextInt64();
        _mask = bucketCount - 1;
        _buckets = (MacBucket*)(_memory.Address + MacTable.BytesFor(0));
        _memory.SealFutureWrites();
    }

    /// <summary>To pass to the forwarder, which can map it read-only.</summary>
    public int Fd => _memory.Fd;

    /// <summary>Size of the mapping in bytes.</summary>
    public long Bytes => (long)_memory.Bytes;

    /// <summary>Entries in the table.</summary>
    public int Count { get; private set; }

    /// <summary>A reader of the same memory.</summary>
    public MacTable Reader => new(_memory.Address);

    /// <summary>Inserts or changes an entry. False if both buckets are full; then nothing has changed.</summary>
    public bool TrySet(ulong key, ulong word)
    {
        ulong hash = MacTable.Hash(key, _seed);
        MacBucket* first = _buckets + ((uint)hash & _mask);
        MacBucket* second = _buckets + ((uint)(hash >> 32) & _mask);
        if (Find(first, key, out int slot))
        {
            Write(first, slot, key, word);
            return true;
        }

        if (Find(second, key, out slot))
        {
            Write(second, slot, key, word);
            return true;
        }

        MacBucket* target = FreeSlots(second) > FreeSlots(first) ? second : first;
        if (!Find(target, 0, out slot))
            return false;
        Write(target, slot, key, word);
        Count++;
        return true;
    }

    /// <summary>Removes an entry; false if it was not there.</summary>
    public bool Remove(ulong key)
    {
        ulong hash = MacTable.Hash(key, _seed);
        MacBucket* bucket = _buckets + ((uint)hash & _mask);
        if (!Find(bucket, key, out int slot))
        {
            bucket = _buckets + ((uint)(hash >> 32) & _mask);
            if (!Find(bucket, key, out slot))
                return false;
        }

        Write(bucket, slot, 0, 0);
        Count--;
        return true;
    }

    /// <summary>Unmaps the table here; the forwarder's mapping lives on.</summary>
    public void Dispose() => _memory.Dispose();

    private static void Write(MacBucket* bucket, int slot, ulong key, ulong word)
    {
        Volatile.Write(ref bucket->Version, bucket->Version + 1);
        Volatile.WriteBarrier();
        bucket->Keys[slot] = key;
        bucket->Values[slot] = word;
        Volatile.Write(ref bucket->Version, bucket->Version + 1);
    }

    private static bool Find(MacBucket* bucket, ulong key, out int slot)
    {
        for (slot = 0; slot < MacBucket.Slots; slot++)
        {
            if (bucket->Keys[slot] == key)
                return true;
        }

        return false;
    }

    private static int FreeSlots(MacBucket* bucket)
    {
        int free = 0;
        for (int slot = 0; slot < MacBucket.Slots; slot++)
            free += bucket->Keys[slot] == 0 ? 1 : 0;
        return free;
    }
}
