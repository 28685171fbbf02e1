// The program's copy of the FDB: a hash table in a BPF array, written by control, read by the program (native/fdb.bpf.h).
using System.Numerics;
using XenFastPath.Dataplane;
using XenFastPath.Interop;

namespace XenFastPath.Daemon.FastPath;

/// <summary>What the table says of an address. Times are CLOCK_MONOTONIC, exact to a tick of <see cref="Layout.FdbTickShift"/>.</summary>
/// <param name="Word">See <see cref="FdbWord"/>.</param>
/// <param name="SeenNs">Last frame with this source on this port, as the program saw it.</param>
/// <param name="PassedNs">Last time one of them went the kernel's way.</param>
/// <param name="SuspectNs">Last time this source came in on another port; 0: never.</param>
internal readonly record struct FdbValue(ulong Word, ulong SeenNs, ulong PassedNs, ulong SuspectNs);

/// <summary>
/// The writer of <c>xfp_fdb</c>; one thread at a time, looking is free for all. A key that has to be moved is at both places for a
/// moment; a frame whose look-up meets that may miss it, and then goes the kernel's way.
/// </summary>
internal sealed unsafe class FdbMap : IDisposable
{
    private readonly SharedMemory _memory;
    private readonly FdbMapHead* _head;
    private readonly FdbMapEntry* _buckets;

    /// <summary>Takes the map over from an earlier daemon, or begins an empty one. Owns <paramref name="fd"/>.</summary>
    /// <exception cref="SystemCallException">It cannot be mapped.</exception>
    public FdbMap(int fd, uint elements)
    {
        _memory = SharedMemory.OpenReadWrite(fd, elements * (long)Layout.FdbSlots * sizeof(FdbMapEntry), "xfp_fdb");
        _head = (FdbMapHead*)_memory.Address;
        _buckets = (FdbMapEntry*)_memory.Address + Layout.FdbSlots;
        if (_head->Buckets == elements - 1)
            return;
        _head->Seed = (ulong)Random.Shared.NextInt64();
        _head->Shift = 32 - (uint)BitOperations.Log2(elements - 1);
        Volatile.Write(ref _head->Buckets, elements - 1);
    }

    /// <summary>
    /// Elements of the map for this many addresses: half of the slots or more stay free, so that nearly every key lies in its first
    /// bucket; and the head.
    /// </summary>
    public static uint ElementsFor(int macs) => BitOperations.RoundUpToPowerOf2((uint)macs * 2 / Layout.FdbSlots) + 1;

    /// <summary>
    /// Each half of this hash names a bucket by its upper bits. The Network comes in last: the program mixes the address while it still
    /// looks up the port that the frame came in by.
    /// </summary>
    public static ulong Hash(ulong key, ulong seed)
    {
        ulong h = (FdbKey.MacOf(key) ^ seed) * 0x9e3779b97f4a7c15;
        h ^= h >> 32;
        h *= 0xd6e8feb86659fd93;
        h ^= h >> 29;
        return h ^ FdbKey.NetworkOf(key) * 0xa0761d6478bd642f;
    }

    /// <summary>Enters an address or replaces what is there. False if there is no room.</summary>
    public bool TrySet(ulong key, FdbValue value)
    {
        FdbMapEntry* entry = Find(key);
        bool isNew = entry == null;
        if (isNew && (entry = FindRoom(key)) == null)
            return false;
        Volatile.Write(ref entry->Word, value.Word);
        entry->Seen = Tick(value.SeenNs);
        entry->Passed = Tick(value.PassedNs);
        // After the word: the old one must not be trusted again.
        Volatile.Write(ref entry->Suspect, value.SuspectNs == 0 ? 0 : Math.Max(Tick(value.SuspectNs), 1));
        if (isNew)
            Volatile.Write(ref entry->Key, key);    // last: a reader takes the word of a key that it found
        return true;
    }

    /// <summary>Takes an address out, if it is there.</summary>
    public void Remove(ulong key)
    {
        FdbMapEntry* entry = Find(key);
        if (entry == null)
            return;
        Volatile.Write(ref entry->Key, 0);
        Volatile.Write(ref entry->Word, 0);
    }

    /// <summary>What is known of an address.</summary>
    public bool TryGet(ulong key, out FdbValue value)
    {
        FdbMapEntry* entry = Find(key);
        value = default;
        if (entry == null)
            return false;
        ulong nowNs = Clock.NowNs();
        value = new FdbValue(
            Volatile.Read(ref entry->Word), Time(entry->Seen, nowNs), Time(entry->Passed, nowNs), entry->Suspect == 0 ? 0 : Time(entry->Suspect, nowNs));
        return Volatile.Read(ref entry->Key) == key;
    }

    /// <summary>All addresses entered, by this daemon or by the one before it.</summary>
    public List<ulong> Keys()
    {
        List<ulong> keys = [];
        for (long i = 0; i < _head->Buckets * (long)Layout.FdbSlots; i++)
        {
            if (_buckets[i].Key != 0)
                keys.Add(_buckets[i].Key);
        }

        return keys;
    }

    public void Dispose() => _memory.Dispose();

    private static uint Tick(ulong ns) => (uint)(ns >> Layout.FdbTickShift);

    /// <summary>The latest time with this tick that is not after now, or little: control's clock is finer than the program's.</summary>
    private static ulong Time(uint tick, ulong nowNs)
    {
        const uint ticksAhead = 1024;
        long ticks = (long)(Tick(nowNs) - tick + ticksAhead) - ticksAhead;
        return (ulong)((long)(nowNs >> Layout.FdbTickShift) - ticks) << Layout.FdbTickShift;
    }

    private FdbMapEntry* Bucket(uint half) => _buckets + ((ulong)half >> (int)_head->Shift) * Layout.FdbSlots;

    private FdbMapEntry* Find(ulong key)
    {
        ulong hash = Hash(key, _head->Seed);
        FdbMapEntry* entry = Find(Bucket((uint)hash), key);
        return entry != null ? entry : Find(Bucket((uint)(hash >> 32)), key);
    }

    private static FdbMapEntry* Find(FdbMapEntry* bucket, ulong key)
    {
        for (int slot = 0; slot < Layout.FdbSlots; slot++)
        {
            if (bucket[slot].Key == key)
                return bucket + slot;
        }

        return null;
    }

    /// <summary>A free slot for a key; null if there is none, nor one that can be made.</summary>
    private FdbMapEntry* FindRoom(ulong key)
    {
        ulong hash = Hash(key, _head->Seed);
        FdbMapEntry* first = Bucket((uint)hash), second = Bucket((uint)(hash >> 32));
        FdbMapEntry* entry = Find(first, 0);
        if (entry == null)
            entry = Find(second, 0);
        if (entry == null)
            entry = MakeRoom(first);
        return entry != null ? entry : MakeRoom(second);
    }

    /// <summary>
    /// Moves one key of a full bucket into its other one. Of the eight that a new key has to choose from one can about always go.
    /// </summary>
    private FdbMapEntry* MakeRoom(FdbMapEntry* full)
    {
        for (FdbMapEntry* old = full; old < full + Layout.FdbSlots; old++)
        {
            ulong hash = Hash(old->Key, _head->Seed);
            FdbMapEntry* other = Bucket((uint)hash) == full ? Bucket((uint)(hash >> 32)) : Bucket((uint)hash);
            FdbMapEntry* entry = Find(other, 0);
            if (entry == null)
                continue;
            entry->Word = old->Word;
            entry->Seen = old->Seen;
            entry->Passed = old->Passed;
            entry->Suspect = old->Suspect;
            Volatile.Write(ref entry->Key, old->Key);
            Volatile.Write(ref old->Key, 0);
            entry->Suspect = old->Suspect;      // again: the program may have marked it meanwhile
            return old;
        }

        return null;
    }
}
