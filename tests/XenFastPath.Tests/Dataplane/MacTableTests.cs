using XenFastPath.Dataplane;

namespace XenFastPath.Tests.Dataplane;

public sealed class MacTableTests
{
    [Theory]
    [InlineData(11)]
    [InlineData(12)]
    public void Agrees_with_a_dictionary_under_random_use(int seed)
    {
        using MacTableWriter writer = new(entriesMax: 8192);
        MacTable reader = writer.Reader;
        Dictionary<ulong, ulong> reference = [];
        Random random = new(seed);
        for (int step = 0; step < 50_000; step++)
        {
            ulong key = FdbKey.Make((ushort)random.Next(1, 4), (ulong)random.Next(3000) * 0x10001);
            if (random.Next(3) == 0)
            {
                Assert.Equal(reference.Remove(key), writer.Remove(key));
            }
            else
            {
                ulong word = FdbWord.Make((uint)random.Next(1, 100), (ushort)random.Next(1, 8000));
                Assert.True(writer.TrySet(key, word));
                reference[key] = word;
            }

            ulong probe = FdbKey.Make((ushort)random.Next(1, 4), (ulong)random.Next(3000) * 0x10001);
            Assert.Equal(reference.GetValueOrDefault(probe), reader.Lookup(probe));
        }

        Assert.Equal(reference.Count, writer.Count);
    }

    [Fact]
    public void Holds_as_many_entries_as_it_was_made_for()
    {
        const int entries = 1_000_000;
        using MacTableWriter writer = new(entries);
        MacTable reader = writer.Reader;
        for (uint i = 1; i <= entries; i++)
            Assert.True(writer.TrySet(FdbKey.Make(1, i), FdbWord.Make(i, 1)), $"entry {i} found no room");
        for (uint i = 1; i <= entries; i++)
            Assert.Equal(FdbWord.Make(i, 1), reader.Lookup(FdbKey.Make(1, i)));
    }

    [Fact]
    public void An_entry_that_finds_no_room_changes_nothing()
    {
        using MacTableWriter writer = new(entriesMax: 7);
        List<ulong> held = [];
        for (ulong i = 1; i < 200; i++)
        {
            if (writer.TrySet(FdbKey.Make(1, i), i))
                held.Add(i);
        }

        Assert.True(held.Count is >= 7 and < 199);
        Assert.Equal(held.Count, writer.Count);
        MacTable reader = writer.Reader;
        foreach (ulong i in held)
            Assert.Equal(i, reader.Lookup(FdbKey.Make(1, i)));
    }

    [Fact]
    public void A_reader_never_sees_the_value_of_another_key()
    {
        // Few buckets and many keys that come and go in the same slots. Every value carries its key, so a mix-up shows.
        using MacTableWriter writer = new(entriesMax: 14);
        MacTable reader = writer.Reader;
        bool stop = false;
        long wrong = 0, found = 0;
        Thread[] readers = new Thread[2];
        for (int t = 0; t < readers.Length; t++)
        {
            readers[t] = new Thread(() =>
            {
                for (ulong i = 1; !Volatile.Read(ref stop); i = i % 64 + 1)
                {
                    ulong word = reader.Lookup(FdbKey.Make(5, i));
                    if (word is 0 or MacTable.BusyWord)
                        continue;
                    Interlocked.Increment(ref found);
                    if ((word & 0xffff) != i)
                        Interlocked.Increment(ref wrong);
                }
            });
            readers[t].Start();
        }

        Random random = new(5);
        for (int step = 0; step < 3_000_000 || Interlocked.Read(ref found) < 1000; step++)
        {
            ulong i = (ulong)random.Next(1, 65);
            if (random.Next(2) == 0)
                writer.Remove(FdbKey.Make(5, i));
            else
                writer.TrySet(FdbKey.Make(5, i), FdbWord.Make((uint)step, (ushort)i));
        }

        Volatile.Write(ref stop, true);
        foreach (Thread thread in readers)
            thread.Join();
        Assert.Equal(0, Interlocked.Read(ref wrong));
    }

    [Fact]
    public void A_key_that_stays_is_found_at_every_moment_however_often_others_make_it_move()
    {
        // Eleven buckets; every other key of these comes and goes, so that those that stay are moved to and fro between their two.
        using MacTableWriter writer = new(entriesMax: 16);
        MacTable reader = writer.Reader;
        ulong[] staying = [.. Enumerable.Range(1, 12).Select(i => FdbKey.Make(1, (ulong)i)).Where(k => writer.TrySet(k, WordOf(k)))];
        Assert.Equal(12, staying.Length);
        bool stop = false;
        long lost = 0, found = 0;
        Thread thread = new(() =>
        {
            while (!Volatile.Read(ref stop))
            {
                foreach (ulong key in staying)
                {
                    ulong word = reader.Lookup(key);
                    if (word != MacTable.BusyWord && word != WordOf(key))
                        Interlocked.Increment(ref lost);
                    Interlocked.Increment(ref found);
                }
            }
        });
        thread.Start();
        Random random = new(6);
        HashSet<ulong> others = [];
        int refused = 0;
        for (int step = 0; step < 1_000_000 || Interlocked.Read(ref found) < 100_000; step++)
        {
            ulong key = FdbKey.Make(2, (ulong)random.Next(1, 200));
            if (others.Remove(key))
                Assert.True(writer.Remove(key));
            else if (writer.TrySet(key, WordOf(key)))
                others.Add(key);
            else
                refused++;
        }

        Volatile.Write(ref stop, true);
        thread.Join();
        Assert.True(refused > 0, "the table was never full: nothing had to move");
        Assert.Equal(0, Interlocked.Read(ref lost));
        Assert.Equal(staying.Length + others.Count, writer.Count);
        foreach (ulong key in others)
            Assert.True(writer.Remove(key));
        Assert.All(staying, key => Assert.Equal(WordOf(key), reader.Lookup(key)));
        foreach (ulong key in staying)
            Assert.True(writer.Remove(key));
        for (ulong i = 1; i < 200; i++)
            Assert.Equal(0u, reader.Lookup(FdbKey.Make(2, i)));
        Assert.Equal(0, writer.Count);
    }

    /// <summary>A word that no other key has.</summary>
    private static ulong WordOf(ulong key) => FdbWord.Make((uint)key, FdbKey.NetworkOf(key));

    [Fact]
    public void The_memory_cannot_be_mapped_writable_by_another()
    {
        using MacTableWriter writer = new(64);
        Assert.Throws<Interop.SystemCallException>(() => SharedMemory.OpenReadWrite(Tmds.Linux.LibC.dup(writer.Fd), writer.Bytes, "macs"));
        Assert.True(writer.TrySet(FdbKey.Make(1, 1), 1));
    }
}
