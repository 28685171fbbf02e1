using System.Diagnostics;
using XenFastPath.KernelTests.Lab;

namespace XenFastPath.KernelTests;

/// <summary>Guests that do what they must not: nobody else may notice.</summary>
public sealed class HostileTests
{
    [Theory]
    [InlineData("bridge", Traits = ["rung", "minimum"])]
    [InlineData("afxdp", Traits = ["rung", "minimum"])]
    [InlineData("redirect")]
    public void Tagged_frames_from_a_plain_vif_never_leave(string datapath)
    {
        using Lab.Lab lab = new(guests: 2);
        Guest world = lab.AddWorld();
        lab.CreateNetwork("xenbr0", datapath, pif: "eth0");
        lab.PlugAll("xenbr0", datapath);
        Guest bad = lab.Guests[0], good = lab.Guests[1];
        foreach (Guest guest in new[] { bad, good, world })
            guest.Socket.Send(ComparisonTests.Frame("ff:ff:ff:ff:ff:ff", guest.Mac, 0));
        lab.Sync();
        foreach (Guest guest in new[] { good, world })
            guest.Socket.Clear();
        int sent = 0;
        foreach (ushort tpid in new ushort[] { 0x8100, 0x88a8, 0x9100 })
        {
            foreach (ushort tag in new ushort[] { 0, 1, 42, 4095, 0xe02a })
            {
                foreach (string to in new[] { world.Mac, good.Mac, "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01" })
                {
                    bad.Socket.Send(ComparisonTests.Tagged(to, bad.Mac, ++sent, tag, tpid));
                }
            }
        }

        // A tag that the guest's kernel keeps beside the frame, as with tx-vlan offload.
        bad.Netns.Run("ethtool", "-K", "eth0", "txvlan", "on");
        bad.Socket.Send(ComparisonTests.Frame(world.Mac, bad.Mac, 9999));
        Assert.Equal(9999, ComparisonTests.Number(Assert.Single(world.Socket.Collect(ComparisonTests.IsProbe, 1))));
        Assert.Empty(good.Socket.Collect(f => f[12] is 0x81 or 0x88 or 0x91, 1, quietMs: 300));
        Assert.Equal(sent, lab.Counter(bad.Vif, "drop_tagged"));
        Assert.DoesNotContain(bad.Mac + " dev", lab.Dom0.Run("bridge", "fdb", "show", "vlan", "42"));
    }

    [Fact]
    public void Short_long_and_garbage_frames_harm_nobody()
    {
        using Lab.Lab lab = new(guests: 2);
        // A tap takes frames of any length from its guest; a veth would hold the long ones back.
        lab.Dom0.Run("ip", "tuntap", "add", "tap9", "mode", "tap");
        using TapHolder bad = TapHolder.Open(lab.Dom0, "tap9");
        lab.CreateNetwork("lan", "afxdp");
        lab.Call(Api.ApiMethods.VifPlug, new("tap9", "lan"));
        lab.PlugAll("lan", "afxdp");
        const string badMac = "02:00:00:00:0b:ad";
        Guest victim = lab.Guests[0], friend = lab.Guests[1];
        victim.AddAddress();
        friend.AddAddress();
        Assert.True(bad.Write(ComparisonTests.Frame("ff:ff:ff:ff:ff:ff", badMac, 0)));
        victim.Netns.Run("ping", "-c", "2", "-i", "0.2", friend.Ip);
        lab.Sync();
        victim.Socket.Clear();
        byte[] header = [.. ComparisonTests.Mac(victim.Mac), .. ComparisonTests.Mac(badMac)];
        Assert.False(bad.Write(header));                                        // no Ethernet header: the kernel refuses
        Assert.True(bad.Write([.. header, 8, 0]));                              // 14 bytes
        const int pings = 3000;
        Steal steal = new();
        using Process ping = Tool.Start("nsenter", "--net=" + victim.Netns.Path, "ping", "-q", "-i", "0.001", "-c", $"{pings}", friend.Ip);
        Random random = new(7);
        int[] longest = [100, 1600, 3000, 9000, 60_000];
        while (!ping.HasExited)
            bad.Write([.. header, .. Garbage(random, longest[random.Next(longest.Length)])]);
        AssertLost(lab, ping, pings, steal);
        List<byte[]> got = victim.Socket.Collect(f => f.AsSpan(6, 6).SequenceEqual(ComparisonTests.Mac(badMac)), int.MaxValue, quietMs: 200);
        Assert.NotEmpty(got);
        Assert.All(got, f => Assert.InRange(f.Length, 14, 1518));
        Assert.True(lab.Counter("tap9", "pass_oversize") + lab.Counter("tap9", "pass_protocol") > 100);
        Assert.True(lab.Call(Api.ApiMethods.VifShow, new("tap9")).Counters!.FastRxFrames > 100, "no garbage took the fast path");
        AssertSound(lab);
    }

    /// <summary>Random bytes that often begin like IP or ARP, with lengths and header sizes that lie.</summary>
    private static byte[] Garbage(Random random, int lengthMax)
    {
        byte[] garbage = new byte[random.Next(22, lengthMax)];
        random.NextBytes(garbage);
        switch (random.Next(4))
        {
            case 0:
                (garbage[0], garbage[1], garbage[2]) = (8, 0, (byte)(0x40 | random.Next(16)));
                garbage[11] = (byte)(random.Next(2) == 0 ? 6 : 17);
                break;
            case 1:
                (garbage[0], garbage[1], garbage[2]) = (0x86, 0xdd, 0x60);
                garbage[8] = (byte)(random.Next(2) == 0 ? 6 : 44);
                break;
            case 2:
                (garbage[0], garbage[1]) = (8, 6);
                break;
        }

        return garbage;
    }

    [Fact]
    public void Padding_is_zeros_never_another_guests_data()
    {
        using Lab.Lab lab = new(guests: 3);
        lab.CreateNetwork("lan", "afxdp");
        lab.PlugAll("lan", "afxdp");
        Guest a = lab.Guests[0], b = lab.Guests[1], secret = lab.Guests[2];
        foreach (Guest guest in lab.Guests)
            guest.Socket.Send(ComparisonTests.Frame("ff:ff:ff:ff:ff:ff", guest.Mac, 0));
        lab.Sync();
        byte[] secrets = ComparisonTests.Ipv4(b.Mac, secret.Mac, 1, [.. Enumerable.Repeat((byte)0x5e, 200)]);
        byte[] shortArp = [.. ComparisonTests.Mac(b.Mac), .. ComparisonTests.Mac(a.Mac), 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, .. new byte[20]];
        b.Socket.Clear();
        for (int i = 0; i < 2000; i++)
        {
            secret.Socket.Send(secrets);
            a.Socket.Send(shortArp);
        }

        List<byte[]> arps = b.Socket.Collect(f => f[12] == 8 && f[13] == 6 && f.AsSpan(6, 6).SequenceEqual(ComparisonTests.Mac(a.Mac)), 2000);
        Assert.True(arps.Count > 1000, $"only {arps.Count} came through");
        Assert.All(arps, f => Assert.All(f[42..], x => Assert.Equal(0, x)));
        Assert.Contains(arps, f => f.Length == 60);
        Assert.True(lab.Counter(b.Vif, "fwd_padded") > 1000);
    }

    [Fact]
    public void A_flood_of_source_addresses_costs_only_its_own_network()
    {
        using Lab.Lab lab = new(guests: 4);
        lab.CreateNetwork("bad", "afxdp");
        lab.CreateNetwork("good", "afxdp");
        lab.Plug(lab.Guests[0], "bad");
        lab.Plug(lab.Guests[1], "bad");
        lab.Plug(lab.Guests[2], "good");
        lab.Plug(lab.Guests[3], "good");
        lab.WaitForPath("bad", "afxdp");
        lab.WaitForPath("good", "afxdp");
        Guest flooder = lab.Guests[0], a = lab.Guests[2], b = lab.Guests[3];
        a.AddAddress();
        b.AddAddress();
        a.Netns.Run("ping", "-c", "2", "-i", "0.2", b.Ip);
        lab.Sync();
        long before = lab.VifOf(a).Counters!.FastRxFrames;
        const int pings = 3000;
        Steal steal = new();
        using Process ping = Tool.Start("nsenter", "--net=" + a.Netns.Path, "ping", "-q", "-i", "0.001", "-c", $"{pings}", b.Ip);
        Stopwatch watch = Stopwatch.StartNew();
        int flooded = 0;
        byte[] frame = ComparisonTests.Frame("02:00:00:00:0f:0f", flooder.Mac, 0);
        while (!ping.HasExited)
        {
            flooder.Socket.SendFromManySources(frame, ref flooded, 256);
        }

        double perSecond = flooded / watch.Elapsed.TotalSeconds;
        TestContext.Current.SendDiagnosticMessage($"{perSecond:f0} new source addresses a second");
        Assert.True(perSecond > 100_000.0 / Lab.Lab.Scale, $"only {perSecond:f0} new addresses a second: no flood");
        AssertLost(lab, ping, pings, steal);
        Tool.Eventually(() => lab.Network("bad").Path == "bridge", "the flooded network rests");
        Assert.Contains("floods", lab.Network("bad").PathReason);
        Assert.Contains(flooder.Vif, lab.Network("bad").PathReason);
        Assert.Equal("afxdp", lab.Network("good").Path);
        long fast = lab.VifOf(a).Counters!.FastRxFrames - before;
        Assert.True(fast > pings * 0.99 - Lab.Lab.LossMax(pings), $"{fast} of {pings} on the fast path during the flood");
        AssertSound(lab);
    }

    [Fact]
    public void A_guest_that_never_receives_slows_nobody()
    {
        using Lab.Lab lab = new(guests: 3);
        lab.Dom0.Run("ip", "tuntap", "add", "tap9", "mode", "tap");
        lab.CreateNetwork("lan", "afxdp");
        // Nobody reads this tap: what is sent to it piles up.
        using TapHolder holder = TapHolder.Open(lab.Dom0, "tap9");
        lab.Call(Api.ApiMethods.VifPlug, new("tap9", "lan"));
        lab.PlugAll("lan", "afxdp");
        Guest sender = lab.Guests[0], a = lab.Guests[1], b = lab.Guests[2];
        a.AddAddress();
        b.AddAddress();
        sender.Socket.Send(ComparisonTests.Frame("ff:ff:ff:ff:ff:ff", sender.Mac, 0));
        lab.Dom0.Run("bridge", "fdb", "replace", "02:00:00:00:0d:0d", "dev", "tap9", "master", "static");
        a.Netns.Run("ping", "-c", "2", "-i", "0.2", b.Ip);
        lab.Sync();
        Tool.Eventually(() => lab.Call(Api.ApiMethods.FdbList, new("lan")).Any(e => e.Mac == "02:00:00:00:0d:0d" && e.FastPath),
            "the dead guest is on the fast path");
        const int pings = 2000;
        Steal steal = new();
        using Process ping = Tool.Start("nsenter", "--net=" + a.Netns.Path, "ping", "-q", "-i", "0.001", "-c", $"{pings}", b.Ip);
        byte[] frame = ComparisonTests.Ipv4("02:00:00:00:0d:0d", sender.Mac, 1, new byte[100]);
        while (!ping.HasExited)
            sender.Socket.SendMany(frame, 256);
        AssertLost(lab, ping, pings, steal);
        long dropped = lab.Counter("tap9", "fwd_tx_dropped_by_device") + lab.Counter(sender.Vif, "fwd_drop_tx_full");
        Assert.True(dropped > 1000, $"only {dropped} drops: the dead guest was not full");
        AssertSound(lab);
    }

    /// <summary>Of so many pings none is lost but what the host has stolen, or an emulated machine loses.</summary>
    private static void AssertLost(Lab.Lab lab, Process ping, int pings, Steal steal)
    {
        string report = ping.StandardOutput.ReadToEnd();
        int lost = pings - int.Parse(report[..report.IndexOf(" received", StringComparison.Ordinal)].Split(' ')[^1]);
        Assert.True(lost <= Lab.Lab.LossMax(pings) + steal.Ms,
            $"{report}\nstolen by the host: {steal.Ms} ms; {string.Join(' ', lab.Stats().Loop)}");
    }

    /// <summary>The counters that must stay zero, and the ledger.</summary>
    internal static void AssertSound(Lab.Lab lab)
    {
        string[] names =
            ["fwd_ledger_violation", "fwd_drop_bad_descriptor", "fwd_drop_other_network", "fwd_tx_error", "fwd_kernel_tx_invalid"];
        Api.StatsInfo stats = lab.Stats();
        foreach (Api.PortStatsInfo port in stats.Ports)
        {
            foreach (string name in names)
                Assert.True(port.Counters.Named.GetValueOrDefault(name) == 0, $"{port.Device}: {name} = {port.Counters.Named.GetValueOrDefault(name)}");
        }

        Assert.Equal(0, stats.Loop["audit_failures"]);
    }
}
