// The program's table of addresses, in ordinary memory: against a dictionary, and full.
using XenFastPath.Daemon.FastPath;
using XenFastPath.Dataplane;

namespace XenFastPath.Tests.Daemon;

public sealed class FdbMapTests
{
    private const ulong SecondNs = 1_000_000_000;

    [Fact]
    public void It_says_what_a_dictionary_says()
    {
        using FdbMap map = Make(macs: 1024, out int fd);
        Dictionary<ulong, ulong> expected = [];
        Random random = new(5);
        for (int i = 0; i < 100_000; i++)
        {
            ulong key = FdbKey.Make((ushort)random.Next(1, 4), 0x02_0000 + (ulong)random.Next(400)), word = FdbWord.Make((uint)i, (ushort)random.Next(1, 99));
            if (random.Next(3) == 0)
            {
                map.Remove(key);
                expected.Remove(key);
            }
            else
            {
                Assert.True(map.TrySet(key, new FdbValue(word, 0, 0, 0)));
                expected[key] = word;
            }

            ulong other = FdbKey.Make((ushort)random.Next(1, 4), 0x02_0000 + (ulong)random.Next(400));
            Assert.Equal(expected.TryGetValue(other, out ulong known), map.TryGet(other, out FdbValue value));
            Assert.Equal(known, value.Word);
        }

        Assert.Equal(expected.Keys.Order(), map.Keys().Order());
        // The next daemon takes it over as it is.
        using FdbMap next = new(SharedMemory.Duplicate(fd), FdbMap.ElementsFor(1024));
        Assert.Equal(expected.Keys.Order(), next.Keys().Order());
        Assert.All(expected, e => Assert.True(next.TryGet(e.Key, out FdbValue value) && value.Word == e.Value));
    }

    [Theory]
    [InlineData(1024)]
    [InlineData(Limits.MacsDefault)]
    public void It_takes_what_it_was_made_for_and_says_no_when_it_is_full(int macs)
    {
        using FdbMap map = Make(macs, out _);
        Random random = new(6);
        HashSet<ulong> keys = [];
        while (keys.Count < macs)
            keys.Add(FdbKey.Make(1, (ulong)random.NextInt64()));
        Assert.All(keys, k => Assert.True(map.TrySet(k, new FdbValue(1, 0, 0, 0))));
        Assert.All(keys, k => Assert.True(map.TryGet(k, out _)));
        int more = 0;
        while (map.TrySet(FdbKey.Make(2, (ulong)random.NextInt64()), new FdbValue(1, 0, 0, 0)))
            more++;
        Assert.InRange(more, 1, macs);
        Assert.All(keys, k => Assert.True(map.TryGet(k, out _)));
    }

    [Fact]
    public void One_address_may_be_known_in_thousands_of_networks()
    {
        // A router's, on a trunk of many VLANs.
        using FdbMap map = Make(macs: 4096, out _);
        for (ushort network = 1; network <= 4096; network++)
            Assert.True(map.TrySet(FdbKey.Make(network, 0x0000_5e00_0101), new FdbValue(network, 0, 0, 0)));
        for (ushort network = 1; network <= 4096; network++)
        {
            Assert.True(map.TryGet(FdbKey.Make(network, 0x0000_5e00_0101), out FdbValue value));
            Assert.Equal(network, value.Word);
        }
    }

    [Fact]
    public void Times_come_back_exact_to_a_tick_and_a_suspicion_is_cleared_by_the_next_value()
    {
        const ulong tickNs = 1 << Layout.FdbTickShift;
        using FdbMap map = Make(macs: 1024, out _);
        ulong key = FdbKey.Make(1, 2), now = Clock.NowNs();
        foreach (ulong ago in (ulong[])[0, 5 * SecondNs, 300 * SecondNs])
        {
            if (ago > now)
                continue;
            Assert.True(map.TrySet(key, new FdbValue(1, now - ago, now - ago / 2, now - ago / 3)));
            Assert.True(map.TryGet(key, out FdbValue value));
            Assert.InRange(now - ago - value.SeenNs, 0ul, tickNs);
            Assert.InRange(now - ago / 2 - value.PassedNs, 0ul, tickNs);
            Assert.InRange(now - ago / 3 - value.SuspectNs, 0ul, tickNs);
        }

        Assert.True(map.TrySet(key, new FdbValue(1, now, now, 0)));
        Assert.True(map.TryGet(key, out FdbValue clean));
        Assert.Equal(0ul, clean.SuspectNs);
    }

    private static FdbMap Make(int macs, out int fd)
    {
        uint elements = FdbMap.ElementsFor(macs);
        SharedMemory memory = SharedMemory.Create("test", elements * (long)Layout.FdbSlots * 32);
        fd = memory.Fd;
        return new FdbMap(SharedMemory.Duplicate(fd), elements);
    }
}
