using XenFastPath.Dataplane;
using XenFastPath.KernelTests.Lab;
using XenFastPath.Reconcile;
using XenFastPath.Tests.Daemon;

namespace XenFastPath.KernelTests;

/// <summary>balance-slb end to end, with a Linux bridge as the switch that knows nothing of the bond. See SlbLab.</summary>
public sealed class SlbTests
{
    private const int Sources = 64;
    private const string Broadcast = "ff:ff:ff:ff:ff:ff", Multicast = "01:00:5e:00:00:fb", Unknown = "02:00:00:00:09:09";
    private const string Guest2Mac = "02:00:00:00:01:02", WorldMac = "02:00:00:00:02:01";
    private const byte ToAll = 1, ToGroup = 2, ToNobody = 3, ToWorld = 4, ToGuest2 = 5, FromWorld = 6;

    /// <summary>A million frames of 64 addresses with tcx, 100000 with filters: all kinds of destinations, both directions.</summary>
    [Theory]
    [InlineData(true, 131)]
    [InlineData(false, 14)]
    public void No_frame_is_lost_doubled_or_looped_and_an_address_has_one_member(bool hasTcx, int rounds)
    {
        using SlbLab lab = new(hasTcx);
        Exchange(lab, rounds);
    }

    /// <summary>The same with the kernel's own bond, on the VM's kernels.</summary>
    [Fact]
    [Trait("rung", "vm")]
    public void No_frame_is_lost_doubled_or_looped_on_a_real_bond()
    {
        using SlbLab lab = new(hasBonding: true);
        Exchange(lab, rounds: 14);
    }

    private static void Exchange(SlbLab lab, int rounds)
    {
        const int perSource = 20;
        rounds = Math.Max(1, rounds / Lab.Lab.Scale);
        lab.Configure(SlbLab.Settings());
        Introduce(lab);
        Dictionary<string, int>[] seen = [[], [], [], [], []];
        int sent = 0;
        for (int round = 0; round < rounds; round++)
        {
            lab.Tick();
            for (int i = 0; i < Sources; i++)
            {
                foreach ((string destination, byte kind) in ((string, byte)[])[(Broadcast, ToAll), (Multicast, ToGroup), (Unknown, ToNobody),
                    (WorldMac, ToWorld), (Guest2Mac, ToGuest2)])
                {
                    lab.Guest1.SendMany(SlbLab.Frame(destination, Source(i), kind), perSource);
                    sent += perSource;
                }

                lab.World.SendMany(SlbLab.Frame(Broadcast, ComparisonTests.Mac(WorldMac), FromWorld), perSource / 2);
                lab.World.SendMany(SlbLab.Frame(Text(Source(i)), ComparisonTests.Mac(WorldMac), FromWorld), perSource / 2);
                sent += perSource;
                Count(lab, seen);
            }
        }

        Tool.Eventually(() => Count(lab, seen) == 0, "the last frame has come");
        int each = rounds * Sources * perSource;
        (Dictionary<string, int> guest1, Dictionary<string, int> guest2, Dictionary<string, int> world) = (seen[0], seen[1], seen[2]);
        // Nothing of its own comes back to guest 1; everybody else gets each frame once.
        Assert.Equal([$"{FromWorld}: {each}"], ByKind(guest1));
        Assert.Equal([$"{ToAll}: {each}", $"{ToGroup}: {each}", $"{ToNobody}: {each}", $"{ToGuest2}: {each}", $"{FromWorld}: {each / 2}"], ByKind(guest2));
        Assert.Equal([$"{ToAll}: {each}", $"{ToGroup}: {each}", $"{ToNobody}: {each}", $"{ToWorld}: {each}"], ByKind(world));
        // At the switch: each address by one member, and by the one of its bucket.
        HashSet<string> by0 = Senders(seen[3]), by1 = Senders(seen[4]);
        Assert.Empty(by0.Intersect(by1));
        for (int i = 0; i < Sources; i++)
            Assert.Contains(Convert.ToHexString(Source(i)), lab.MemberOf(SlbLab.Address(Source(i))) == SlbLab.Member0 ? by0 : by1);
        Assert.InRange(by0.Count, Sources / 4, Sources * 3 / 4);
        Assert.True(lab.Counters["in_drop_looped"] > 0 && lab.Counters["in_drop_group"] > 0, "the switch has sent nothing back: the test proves nothing");
        Assert.Equal(0, lab.Counters["out_stale"] + lab.Counters["out_no_member"]);
        TestContext.Current.SendDiagnosticMessage($"balance-slb: {sent} frames, none lost, doubled or looped");
    }

    [Fact]
    public void After_load_shifts_the_shares_are_those_of_open_vswitch()
    {
        const int frameBytes = 1400;
        using SlbLab lab = new();
        lab.Configure(SlbLab.Settings(rebalanceSeconds: 1));
        // Elephants that all begin on one member, and mice everywhere.
        Random random = new(3);
        int[] frames = new int[Sources];
        for (int i = 0; i < Sources; i++)
            frames[i] = lab.MemberOf(SlbLab.Address(Source(i))) == SlbLab.Member0 ? random.Next(40, 400) : random.Next(1, 8);
        long[] before = Replay(lab, frames, frameBytes);
        SlbReference reference = new([.. Enumerable.Range(0, SlbLayout.Buckets).Select(b => MemberOfBucket(lab, b))]);
        for (int i = 0; i < Sources; i++)
            reference.Load[SlbAddress.Bucket(SlbLab.Address(Source(i)))] += (long)frames[i] * frameBytes;
        reference.Rebalance([SlbLab.Member0, SlbLab.Member1]);

        Tool.Eventually(() => Ticked(lab)["rebalances"] == 1, "the load is looked at");
        Assert.Equal(reference.Member, Enumerable.Range(0, SlbLayout.Buckets).Select(b => MemberOfBucket(lab, b)));
        long[] after = Replay(lab, frames, frameBytes);
        long all = frames.Sum() * (long)frameBytes;
        long expected = Enumerable.Range(0, Sources).Where(i => reference.Member[SlbAddress.Bucket(SlbLab.Address(Source(i)))] == SlbLab.Member0)
            .Sum(i => (long)frames[i] * frameBytes);
        Assert.Equal(all, after.Sum());
        Assert.InRange(after[0] / (double)all, expected / (double)all - 0.1, expected / (double)all + 0.1);
        Assert.True(before[0] > all * 0.9 && after[0] < all * 0.6, $"of {all} bytes member 0 had {before[0]}, then {after[0]}");
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"member 0: {100 * before[0] / all} %, then {100 * after[0] / all} %; Open vSwitch {100 * expected / all} %");
    }

    [Fact]
    public void At_failover_the_addresses_move_and_the_switch_is_told()
    {
        const ushort vlan = 100;
        using SlbLab lab = new();
        lab.Configure(SlbLab.Settings());
        foreach (int i in Enumerable.Range(0, Sources))
        {
            lab.Guest1.Send(SlbLab.Frame(WorldMac, Source(i)));
            lab.Guest1.Send(ComparisonTests.Tagged(WorldMac, Text(Source(i)), number: 1, vlan));
        }

        Tool.Eventually(() => lab.Counters["out_bucket"] >= 2 * Sources, "the bond has seen all");
        List<ulong> addresses = [.. Enumerable.Range(0, Sources).SelectMany(i => new[] { SlbLab.Address(Source(i)), SlbLab.Address(Source(i), vlan) })];
        List<ulong> moving = [.. addresses.Where(a => lab.MemberOf(a) == SlbLab.Member0)];
        Clear(lab);
        lab.Configure(SlbLab.Settings(usable: [SlbLab.Member1], active: SlbLab.Member1));
        Assert.All(addresses, a => Assert.Equal(SlbLab.Member1, lab.MemberOf(a)));

        List<byte[]> told = lab.AtSwitch1.Collect(IsRarp, moving.Count + 1, quietMs: 400);
        Assert.Equal(moving.Order(), told.Select(AddressOf).Order());
        Assert.DoesNotContain(lab.AtSwitch0.Collect(_ => true, 1, quietMs: 100), IsRarp);
        Assert.Equal(moving.Count, lab.Counters["announced"]);
        // What the switch sends back of it is dropped; the addresses stay ours.
        Assert.Equal(0, lab.Counters["in_moved"]);
        lab.Guest1.SendMany(SlbLab.Frame(WorldMac, Source(0)), 10);
        Assert.Equal(10, lab.AtSwitch1.Collect(f => f.AsSpan(6, 6).SequenceEqual(Source(0)), 10).Count);
    }

    [Fact]
    public void Another_daemon_goes_on_with_the_table_and_everything_holds_meanwhile()
    {
        using SlbLab lab = new();
        lab.Configure(SlbLab.Settings(usable: [SlbLab.Member1]));
        lab.Guest1.Send(SlbLab.Frame(Broadcast, Source(1)));
        Tool.Eventually(() => lab.Counters["in_drop_group"] == 0 && lab.Counters["in_drop_looped"] == 1, "the broadcast has come back by member 0");
        lab.Slb.Dispose();                  // no control: the rules hold
        lab.Guest2.Clear();
        lab.Guest1.SendMany(SlbLab.Frame(Broadcast, Source(1), ToAll), 10);
        Assert.Equal(10, lab.Guest2.Collect(f => f[14] == ToAll, 20, quietMs: 300).Count);

        lab.Restart();
        SlbSettings found = Assert.Single(lab.Slb.Bonds).Value;
        Assert.False(found.IsWhole);
        Assert.Equal([SlbLab.Member0, SlbLab.Member1], found.Members.Members.ToArray().Order());
        Assert.Equal([SlbLab.Member1], found.Usable.Members.ToArray());
        Assert.Equal(11, lab.Counters["in_drop_looped"]);
        lab.Configure(SlbLab.Settings());
        Assert.True(lab.Slb.Bonds[SlbLab.Bond].IsWhole);
        Assert.Equal(0, lab.Counters["bucket_moves"]);
        Assert.Equal(SlbLab.Member1, lab.MemberOf(SlbLab.Address(Source(1))));
    }

    [Fact]
    public unsafe void Without_control_for_long_or_without_a_member_the_kernel_chooses()
    {
        using SlbLab lab = new();
        lab.Configure(SlbLab.Settings());
        lab.Slb.Maps!.Bonds[0].ConfirmedNs -= SlbLayout.StaleNs + 100_000_000;
        lab.AtKernel.Clear();
        lab.Guest1.Send(SlbLab.Frame(WorldMac, Source(1), ToWorld));
        Assert.Single(lab.AtKernel.Collect(f => f[14] == ToWorld, 1));
        Assert.Equal(1, lab.Counters["out_stale"]);
        lab.Tick();
        lab.Configure(SlbLab.Settings(usable: [], active: 0));
        lab.Guest1.Send(SlbLab.Frame(WorldMac, Source(1), ToWorld));
        Assert.Single(lab.AtKernel.Collect(f => f[14] == ToWorld, 1));
        Assert.True(lab.Counters["out_no_member"] >= 1);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_bond_that_is_removed_leaves_nothing_behind(bool hasTcx)
    {
        using SlbLab lab = new(hasTcx);
        lab.Configure(SlbLab.Settings());
        lab.Guest1.Send(SlbLab.Frame(WorldMac, Source(1), ToWorld));
        Tool.Eventually(() => SourcesOf(lab) > 0, "the address is noted");
        lab.Do(slb => slb.Remove(SlbLab.Bond, "bond0"));
        Assert.Empty(lab.Slb.Bonds);
        Assert.Null(lab.Slb.ReportOf(SlbLab.Bond));
        Assert.Equal(0, SourcesOf(lab));
        Assert.Empty(lab.Slb.Maps!.Devices());
        Assert.Empty(Directory.EnumerateFiles(lab.Pins.Path, "link-*"));
        Assert.DoesNotContain("xfp_slb", lab.Dom0.Run("tc", "filter", "show", "dev", "bond0", "egress"));
        Assert.DoesNotContain("xfp_slb", lab.Dom0.Run("tc", "filter", "show", "dev", "m0", "ingress"));
        lab.AtKernel.Clear();
        lab.Guest1.Send(SlbLab.Frame(WorldMac, Source(1), ToWorld));
        Assert.Single(lab.AtKernel.Collect(f => f[14] == ToWorld, 1));
    }

    [Fact]
    public void A_guest_that_left_is_heard_through_the_bond_at_once()
    {
        using SlbLab lab = new();
        lab.Configure(SlbLab.Settings());
        lab.Guest1.Send(SlbLab.Frame(WorldMac, Source(1)));
        lab.Guest2.Send(SlbLab.Frame(WorldMac, Source(2)));
        Tool.Eventually(() => SourcesOf(lab) == 2, "both are noted");
        lab.Do(slb => slb.Forget(SlbLab.Vif1));             // unplugged
        Assert.Equal(1, SourcesOf(lab));
        lab.Guest1.Send(SlbLab.Frame(WorldMac, Source(1)));
        Tool.Eventually(() => SourcesOf(lab) == 2, "it is noted again");
        lab.Dom0.Run("ip", "link", "del", "vif1");          // its device goes, and nobody tells
        lab.Guest2.Clear();
        lab.World.SendMany(SlbLab.Frame(Broadcast, Source(1), FromWorld), 3);
        Assert.Equal(3, lab.Guest2.Collect(f => f[14] == FromWorld, 4, quietMs: 300).Count);
    }

    /// <summary>The switch and the bridge must know where everybody is: a frame to an unknown address is flooded to both members.</summary>
    private static void Introduce(SlbLab lab)
    {
        for (int i = 0; i < Sources; i++)
            lab.Guest1.Send(SlbLab.Frame(Broadcast, Source(i)));
        lab.Guest2.Send(SlbLab.Frame(Broadcast, ComparisonTests.Mac(Guest2Mac)));
        lab.World.Send(SlbLab.Frame(Broadcast, ComparisonTests.Mac(WorldMac)));
        Tool.Eventually(() => Known() == Sources, "the switch knows all addresses");
        Clear(lab);

        int Known() => lab.Switch.Run("bridge", "fdb", "show").Split('\n').Count(l => l.StartsWith("02:00:00:00:07", StringComparison.Ordinal));
    }

    private static void Clear(SlbLab lab)
    {
        foreach (PacketSocket socket in (PacketSocket[])[lab.Guest1, lab.Guest2, lab.World, lab.AtSwitch0, lab.AtSwitch1])
            socket.Clear();
    }

    /// <summary>Takes in what has come: by place, "source kind" -> frames. Returns how many came.</summary>
    private static int Count(SlbLab lab, Dictionary<string, int>[] seen)
    {
        PacketSocket[] sockets = [lab.Guest1, lab.Guest2, lab.World, lab.AtSwitch0, lab.AtSwitch1];
        int came = 0;
        for (int i = 0; i < sockets.Length; i++)
        {
            while (sockets[i].Receive(0) is { } frame)
            {
                if (frame is not [_, _, _, _, _, _, 2, _, _, _, _, _, 0x88, 0xb5, > 0, ..])
                    continue;       // what the test's own devices say
                string key = $"{Convert.ToHexString(frame, 6, 6)} {frame[14]}";
                seen[i][key] = seen[i].GetValueOrDefault(key) + 1;
                came++;
            }
        }

        return came;
    }

    private static IEnumerable<string> ByKind(Dictionary<string, int> seen) =>
        seen.GroupBy(s => s.Key.Split(' ')[1]).OrderBy(g => g.Key).Select(g => $"{g.Key}: {g.Sum(s => s.Value)}");

    private static HashSet<string> Senders(Dictionary<string, int> seen) => [.. seen.Keys.Select(k => k.Split(' ')[0])];

    /// <summary>Sends a trace; the bytes that came to the switch by each member.</summary>
    private static long[] Replay(SlbLab lab, int[] frames, int frameBytes)
    {
        Clear(lab);
        int left = frames.Sum();
        long[] bytes = new long[2];
        for (int i = 0; i < Sources; i++)
        {
            lab.Guest1.SendMany(SlbLab.Frame(WorldMac, Source(i), ToWorld, frameBytes), frames[i]);
            HasCome();      // as it goes: a slow machine's queues do not hold it all
        }

        Tool.Eventually(HasCome, "the trace has come");
        return bytes;

        bool HasCome()
        {
            for (int member = 0; member < 2; member++)
            {
                while ((member == 0 ? lab.AtSwitch0 : lab.AtSwitch1).Receive(0) is { } frame)
                {
                    if (frame[14] != ToWorld || frame.Length != frameBytes)
                        continue;
                    bytes[member] += frame.Length;
                    left--;
                }
            }

            return left <= 0;
        }
    }

    private static IReadOnlyDictionary<string, long> Ticked(SlbLab lab)
    {
        lab.Tick();
        return lab.Counters;
    }

    private static unsafe int MemberOfBucket(SlbLab lab, int bucket) => (int)lab.Slb.Maps!.Bonds[0].Member[bucket];

    private static int SourcesOf(SlbLab lab)
    {
        int count = 0;
        lab.Slb.Maps!.EachSource((_, _) => count++);
        return count;
    }

    private static bool IsRarp(byte[] frame) => frame.AsSpan(frame[12] == 0x81 ? 16 : 12) is [0x80, 0x35, ..];

    private static ulong AddressOf(byte[] frame) =>
        SlbLab.Address(frame[6..12], frame[12] == 0x81 ? (ushort)((frame[14] << 8 | frame[15]) & 0xfff) : (ushort)0);

    private static byte[] Source(int number) => [2, 0, 0, 0, 7, (byte)number];

    private static string Text(byte[] mac) => Convert.ToHexString(mac).Chunk(2).Select(p => new string(p)).Aggregate((a, b) => a + ":" + b);
}
