// The forwarder's copy of the FDB: a hash table in shared memory, written by control, read by the packet loop.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace XenFastPath.Dataplane;

/// <summary>
/// One bucket, one cache line: a version, four keys and their words. Looking for a key touches this line only, hit or miss, unless the
/// bucket has overflowed. The version is odd while the writer is at work; a reader that saw it change reads again.
/// </summary>
[StructLayout(LayoutKind.Sequential, Size = 64)]
public unsafe struct MacBucket
{
    /// <summary>Entries of a bucket.</summary>
    public const int Slots = 4;

    /// <summary>One key more that belongs here and lies in its other bucket, because this one was full when it came.</summary>
    public const ulong OneOverflow = 1UL << 48;

    /// <summary>The low 48 bits are raised by one before and after each change; above them is the number of keys that overflowed.</summary>
    public ulong Version;

    /// <summary>Keys (<see cref="FdbKey"/>); 0 is an empty slot.</summary>
    public fixed ulong Keys[Slots];

    private fixed uint _generations[Slots];
    private fixed ushort _ports[Slots];

    /// <summary>The word (<see cref="FdbWord"/>) of a slot; an empty one's is 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Word(MacBucket* bucket, int slot) => FdbWord.Make(bucket->_generations[slot], bucket->_ports[slot]);

    /// <summary>Fills a slot, or empties it with zeros. The caller sees to the version.</summary>
    public static void Put(MacBucket* bucket, int slot, ulong key, ulong word)
    {
        bucket->Keys[slot] = key;
        bucket->_generations[slot] = FdbWord.GenerationOf(word);
        bucket->_ports[slot] = FdbWord.PortOf(word);
    }
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

/// <summary>
/// The reader. A key lies in the first of its two buckets, or in the second if the first was full; the first tells whether any does,
/// so that nearly every look-up, hit or miss, reads the one bucket that was prefetched. Holds no memory: the caller owns the mapping
/// and keeps it while the reader is in use.
/// </summary>
public readonly unsafe struct MacTable
{
    /// <summary>What a look-up says of a key whose bucket was being written at every attempt. No port's word.</summary>
    public const ulong BusyWord = ulong.MaxValue;

    private const int HeaderBytes = 4096;

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

        // The bucket's address waits where the word will be.
        for (uint i = 0; i < count; i++)
        {
            MacBucket* first = _buckets + Index((uint)Hash(keys[i], _seed), _count);
            words[i] = (ulong)first;
            if (Sse.IsSupported)
                Sse.Prefetch0(first);
        }

        for (uint i = 0; i < count; i++)
            words[i] = Lookup((MacBucket*)words[i], keys[i]);
    }

    /// <summary>Finds one key: its word, 0 if it is not there, <see cref="BusyWord"/>.</summary>
    public ulong Lookup(ulong key) => IsEmpty ? 0 : Lookup(_buckets + Index((uint)Hash(key, _seed), _count), key);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ulong Lookup(MacBucket* first, ulong key)
    {
        ulong word = Read(first, key, out ulong version);
        return word == BusyWord || (word == 0 && version >= MacBucket.OneOverflow) ? LookupAgain(first, key) : word;
    }

    /// <summary>
    /// The bucket was being written, or some key that belongs into it lies in its second one, and it may be this. If it is not there, it
    /// may have been moved back after we looked here: then this bucket has changed, and is looked at again.
    /// </summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private ulong LookupAgain(MacBucket* first, ulong key)
    {
        MacBucket* second = _buckets + Index((uint)(Hash(key, _seed) >> 32), _count);
        for (int attempt = 0; attempt < Limits.TableReadsMax; attempt++)
        {
            ulong word = Read(first, key, out ulong version);
            if (word == BusyWord)
                continue;
            if (word != 0 || version < MacBucket.OneOverflow)
                return word;
            word = Read(second, key, out _);
            if (word != BusyWord && (word != 0 || Volatile.Read(ref first->Version) == version))
                return word;
        }

        return BusyWord;
    }

    /// <summary>One attempt at one bucket; busy: the writer was at work, and what was read is worth nothing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Read(MacBucket* bucket, ulong key, out ulong version)
    {
        version = Volatile.Read(ref bucket->Version);
        // The keys begin behind the version.
        uint hits = Vector256.Equals(Vector256.Load((ulong*)bucket + 1), Vector256.Create(key)).ExtractMostSignificantBits();
        ulong word = hits == 0 ? 0 : MacBucket.Word(bucket, System.Numerics.BitOperations.TrailingZeroCount(hits));
        Volatile.ReadBarrier();
        return (version & 1) != 0 || bucket->Version != version ? BusyWord : word;
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
        // At full load 40 % of the slots are taken, 1.6 of a bucket's four on average: some 2 % of the keys overflow into their second
        // bucket, and moving one key makes room for all others. (With half of them taken, two tables of a million were seen to have no
        // room for their last entries.)
        uint bucketCount = (uint)(entriesMax * 10L / (4 * MacBucket.Slots)) + 1;
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
        else if (first != second && TryMakeRoom(second, out slot))
            WriteOverflow(first, MacBucket.OneOverflow, second, slot, key, word);
        else
            return false;
        Count++;
        return true;
    }

    /// <summary>
    /// Moves one key of a full bucket into that key's other bucket; both are found meanwhile, and <paramref name="slot"/> holds the
    /// moved key still, to be overwritten. At full load one bucket in twelve is full, so it fails for all eight keys of two about never.
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
                WriteOverflow(first, MacBucket.OneOverflow, second, free, key, MacBucket.Word(full, slot));
            }
            else
            {
                // Found in its first bucket from here on; the count that led to this one falls after it is gone from here.
                Write(first, free, key, MacBucket.Word(full, slot));
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
        MacBucket.Put(bucket, slot, key, word);
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
