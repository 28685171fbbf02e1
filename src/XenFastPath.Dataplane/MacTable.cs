// The forwarder's copy of the FDB: a hash table in shared memory, written by control, read by the packet loop.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace XenFastPath.Dataplane;

/// <summary>
/// One bucket: a cache line with a version and seven keys, and one with seven values. Looking for a key that is not there
/// touches one line, a hit two, unless the bucket has overflowed. The version is odd while the writer is at work; a reader that saw
/// it change reads again.
/// </summary>
[StructLayout(LayoutKind.Sequential, Size = 128)]
public unsafe struct MacBucket
{
    /// <summary>Entries of a bucket.</summary>
    public const int Slots = 7;

    /// <summary>One key more that belongs here and lies in its other bucket, because this one was full when it came.</summary>
    public const ulong OneOverflow = 1UL << 48;

    /// <summary>The low 48 bits are raised by one before and after each change; above them is the number of keys that overflowed.</summary>
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
/// The reader. A key lies in the first of its two buckets, or in the second if the first was full; the first tells whether any does,
/// so that nearly every look-up, hit or miss, reads the one bucket that was prefetched. Holds no memory: the caller owns the mapping
/// and keeps it while the reader is in use.
/// </summary>
public readonly unsafe struct MacTable
{
    /// <summary>What <see cref="LookupBatch"/> says of a key whose bucket was being written at every attempt. No port's word.</summary>
    public const ulong BusyWord = ulong.MaxValue;

    private const int HeaderBytes = 4096, CacheLineBytes = 64;

    private readonly MacBucket* _buckets;
    private readonly ulong _seed;
    private readonly uint _count;

    /// <summary>Looks at a table that a <see cref="MacTableWriter"/> has made. Null: a table without entries.</summary>
    public MacTable(void* memory)
    {
        if (memory == null)
            return;
        MacTableHeader* header = (MacTableHeader*)memory;
        _buckets = (MacBucket*)((byte*)memory + HeaderBytes);
        _seed = header->Seed;
        _count = header->BucketCount;
    }

    /// <summary>Is there a table behind this reader?</summary>
    public bool IsEmpty => _buckets == null;

    /// <summary>Bytes of memory for a table with this many buckets.</summary>
    public static long BytesFor(uint bucketCount) => HeaderBytes + bucketCount * (long)sizeof(MacBucket);

    /// <summary>Each half of this hash names a bucket; see <see cref="Index"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Hash(ulong key, ulong seed)
    {
        ulong h = (key ^ seed) * 0x9e3779b97f4a7c15;
        h ^= h >> 32;
        h *= 0xd6e8feb86659fd93;
        return h ^ h >> 29;
    }

    /// <summary>
    /// Half of a hash as a number below <paramref name="count"/>: its top bits, by multiplication, so that a table has as many buckets as
    /// it needs and not the next power of two.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static uint Index(uint half, uint count) => (uint)((ulong)half * count >> 32);

    /// <summary>The hash of a key in this table.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ulong HashOf(ulong key) => Hash(key, _seed);

    /// <summary>Asks for the cache lines that <see cref="Lookup"/> will read first.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Prefetch(ulong hash)
    {
        if (Sse.IsSupported)
        {
            // Not bucket->Values: taking a fixed buffer's address reads it first, to see that it is not null, and so waits for the line.
            byte* bucket = (byte*)(_buckets + Index((uint)hash, _count));
            Sse.Prefetch0(bucket);
            Sse.Prefetch0(bucket + CacheLineBytes);
        }
    }

    /// <summary>
    /// Finds several keys: their words, 0 for what is not there, <see cref="BusyWord"/>. All hashes and prefetches come first, so that the
    /// cache misses of a batch overlap. A key of 0 is not there.
    /// </summary>
    public void LookupBatch(ulong* keys, ulong* words, uint count)
    {
        if (IsEmpty)
        {
            new Span<ulong>(words, (int)count).Clear();
            return;
        }

        for (uint i = 0; i < count; i++)
        {
            words[i] = HashOf(keys[i]);
            Prefetch(words[i]);
        }

        for (uint i = 0; i < count; i++)
        {
            MacLookup found = keys[i] == 0 ? MacLookup.NotFound : Lookup(keys[i], words[i], out words[i]);
            if (found != MacLookup.Found)
                words[i] = found == MacLookup.Busy ? BusyWord : 0;
        }
    }

    /// <summary>Finds a key. <paramref name="hash"/> is <see cref="HashOf"/> of it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public MacLookup Lookup(ulong key, ulong hash, out ulong word)
    {
        MacBucket* first = _buckets + MacTable.Index((uint)hash, _count);
        MacLookup found = LookupBucket(first, key, out word, out ulong version);
        return found != MacLookup.NotFound || version < MacBucket.OneOverflow ? found : LookupOverflow(first, hash, key, version, out word);
    }

    /// <summary>
    /// Some key that belongs into this bucket lies in its second one; ours? If it is not there, it may have been moved back here after
    /// we looked: then this bucket has changed, and is looked at again.
    /// </summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private MacLookup LookupOverflow(MacBucket* first, ulong hash, ulong key, ulong version, out ulong word)
    {
        MacBucket* second = _buckets + MacTable.Index((uint)(hash >> 32), _count);
        for (int attempt = 0; attempt < Limits.TableReadsMax; attempt++)
        {
            MacLookup found = LookupBucket(second, key, out word, out _);
            if (found != MacLookup.NotFound || Volatile.Read(ref first->Version) == version)
                return found;
            found = LookupBucket(first, key, out word, out version);
            if (found != MacLookup.NotFound || version < MacBucket.OneOverflow)
                return found;
        }

        word = 0;
        return MacLookup.Busy;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static MacLookup LookupBucket(MacBucket* bucket, ulong key, out ulong word, out ulong version)
    {
        MacLookup found = Read(bucket, key, out word, out version);
        return found == MacLookup.Busy ? LookupAgain(bucket, key, out word, out version) : found;
    }

    /// <summary>The bucket was being written: a bounded number of further attempts.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static MacLookup LookupAgain(MacBucket* bucket, ulong key, out ulong word, out ulong version)
    {
        MacLookup found = MacLookup.Busy;
        word = version = 0;
        for (int attempt = 1; attempt < Limits.TableReadsMax && found == MacLookup.Busy; attempt++)
            found = Read(bucket, key, out word, out version);
        return found;
    }

    /// <summary>One attempt; busy: the writer was at work, and what was read is worth nothing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static MacLookup Read(MacBucket* bucket, ulong key, out ulong word, out ulong version)
    {
        version = Volatile.Read(ref bucket->Version);
        uint hits = Compare(bucket, key);
        word = hits == 0 ? 0 : bucket->Values[System.Numerics.BitOperations.TrailingZeroCount(hits)];
        Volatile.ReadBarrier();
        if ((version & 1) != 0 || bucket->Version != version)
            return MacLookup.Busy;
        return hits == 0 ? MacLookup.NotFound : MacLookup.Found;
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
    private readonly uint _count;

    /// <summary>Makes an empty table for about <paramref name="entriesMax"/> entries, sealed against other writers.</summary>
    public MacTableWriter(int entriesMax)
    {
        // At full load 60 % of the slots are taken, 4.2 of a bucket's seven on average: some 3 % of the keys overflow into their second
        // bucket, and moving one key makes room for all others.
        uint bucketCount = (uint)(entriesMax * 10L / (6 * MacBucket.Slots)) + 1;
        _memory = SharedMemory.Create("xenfastpath-macs", MacTable.BytesFor(bucketCount));
        MacTableHeader* header = (MacTableHeader*)_memory.Address;
        header->LayoutVersion = Layout.Version;
        header->BucketCount = bucketCount;
        header->Seed = _seed = (ulong)Random.Shared.NextInt64();
        _count = bucketCount;
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
        MacBucket* first = _buckets + MacTable.Index((uint)hash, _count);
        MacBucket* second = _buckets + MacTable.Index((uint)(hash >> 32), _count);
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

        if (Find(first, 0, out slot))
            Write(first, slot, key, word);
        else if (first != second && Find(second, 0, out slot))
            WriteOverflow(first, MacBucket.OneOverflow, second, slot, key, word);
        else if (TryMakeRoom(first, out slot))
            Write(first, slot, key, word);
        else
            return false;
        Count++;
        return true;
    }

    /// <summary>
    /// Moves one key of a full bucket into that key's other bucket; both are found meanwhile, and <paramref name="slot"/> holds the
    /// moved key still, to be overwritten. With seven keys to choose from and half of all slots empty, it fails about never.
    /// </summary>
    private bool TryMakeRoom(MacBucket* full, out int slot)
    {
        for (slot = 0; slot < MacBucket.Slots; slot++)
        {
            ulong key = full->Keys[slot], hash = MacTable.Hash(key, _seed);
            MacBucket* first = _buckets + MacTable.Index((uint)hash, _count);
            MacBucket* second = _buckets + MacTable.Index((uint)(hash >> 32), _count);
            MacBucket* other = first == full ? second : first;
            if (other == full || !Find(other, 0, out int free))
                continue;
            if (first == full)
            {
                WriteOverflow(first, MacBucket.OneOverflow, second, free, key, full->Values[slot]);
            }
            else
            {
                // Found in its first bucket from here on; the count that led to this one falls after it is gone from here.
                Write(first, free, key, full->Values[slot]);
                WriteOverflow(first, unchecked(0 - MacBucket.OneOverflow), full, slot, 0, 0);
            }

            return true;
        }

        return false;
    }

    /// <summary>Removes an entry; false if it was not there.</summary>
    public bool Remove(ulong key)
    {
        ulong hash = MacTable.Hash(key, _seed);
        MacBucket* first = _buckets + MacTable.Index((uint)hash, _count);
        MacBucket* second = _buckets + MacTable.Index((uint)(hash >> 32), _count);
        if (Find(first, key, out int slot))
            Write(first, slot, 0, 0);
        else if (Find(second, key, out slot))
            WriteOverflow(first, unchecked(0 - MacBucket.OneOverflow), second, slot, 0, 0);
        else
            return false;
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

    /// <summary>
    /// Changes an entry in its second bucket, and the first one's count of those. An entry is there before the count says so, and the
    /// count falls after it is gone: a reader in between finds it or not, and finds no other's.
    /// </summary>
    private static void WriteOverflow(MacBucket* first, ulong overflow, MacBucket* second, int slot, ulong key, ulong word)
    {
        Write(second, slot, key, word);
        Volatile.Write(ref first->Version, first->Version + overflow + 2);
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
}
