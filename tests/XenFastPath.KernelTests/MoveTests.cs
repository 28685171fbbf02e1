using XenFastPath.Api;
using XenFastPath.KernelTests.Lab;

namespace XenFastPath.KernelTests;

/// <summary>Stations that move from port to port while traffic runs and entries are refreshed.</summary>
public sealed class MoveTests
{
    private const int Nomads = 50;
    private static readonly int s_moves = 10_000 / Lab.Lab.Scale;

    [Theory]
    [InlineData("afxdp")]
    [InlineData("redirect")]
    public void Ten_thousand_moves_leave_no_mac_on_its_old_port(string datapath)
    {
        using Lab.Lab lab = new(guests: 4);
        PlugThreeAndAStranger(lab, datapath);
        Guest[] ports = [.. lab.Guests.Take(3)];
        Guest stranger = lab.Guests[3];
        foreach (Guest port in lab.Guests)
            port.Socket.Send(ComparisonTests.Frame("ff:ff:ff:ff:ff:ff", port.Mac, 0));
        lab.Sync();
        stranger.Socket.Clear();

        int[] place = MoveUnderTraffic(ports);
        // One last word of each from where it is now, then the mirror must agree with the kernel, and both with the truth.
        for (int nomad = 0; nomad < Nomads; nomad++)
            ports[place[nomad]].Socket.Send(ComparisonTests.Frame("ff:ff:ff:ff:ff:ff", Nomad(nomad), 0));
        lab.Sync();
        AssertTablesKnow(place, ports, lab);
        AssertFramesArriveAt(place, ports);
        Assert.Empty(stranger.Socket.Collect(f => f[6] == 2 && f[10] == 0xcc, 1, quietMs: 200));
        Assert.True(lab.Stats().Mirror["moves"] > s_moves / 10, $"{lab.Stats().Mirror["moves"]} moves seen");
        HostileTests.AssertSound(lab);
    }

    [Theory]
    [InlineData("afxdp")]
    [InlineData("redirect")]
    public void A_source_that_only_the_fast_path_sees_does_not_age_out(string datapath)
    {
        using Lab.Lab lab = new(guests: 3);
        lab.CreateNetwork("lan", datapath);
        lab.Dom0.Run("ip", "link", "set", "lan", "type", "bridge", "ageing_time", "300");
        lab.PlugAll("lan", datapath);
        Guest a = lab.Guests[0], b = lab.Guests[1], bystander = lab.Guests[2];
        a.AddAddress();
        b.AddAddress();
        a.Netns.Run("ping", "-c", "2", "-i", "0.2", b.Ip);
        // No ARP that the bridge would see.
        a.Netns.Run("ip", "neighbour", "replace", b.Ip, "lladdr", b.Mac, "dev", "eth0", "nud", "permanent");
        b.Netns.Run("ip", "neighbour", "replace", a.Ip, "lladdr", a.Mac, "dev", "eth0", "nud", "permanent");
        lab.Sync();
        bystander.Socket.Clear();
        long passed = lab.VifOf(a).Counters!.KernelFrames;
        string output = a.Netns.Run("ping", "-q", "-i", "0.005", "-c", "2000", b.Ip);    // ten seconds, three ageing times
        Assert.Contains("2000 received", output);
        Assert.Empty(bystander.Socket.Collect(f => f[12] == 8 && f[13] == 0, 1, quietMs: 100));   // nothing was flooded
        Assert.Equal(2, lab.Call(ApiMethods.FdbList, new("lan")).Count(e => e.FastPath && (e.Mac == a.Mac || e.Mac == b.Mac)));
        long refreshes = lab.Counter(a.Vif, "pass_refresh");
        Assert.InRange(refreshes, 5, 30);
        Assert.InRange(lab.VifOf(a).Counters!.KernelFrames - passed, refreshes, refreshes + 10);
    }

    [Fact]
    public void A_silent_station_ages_out_of_both_tables()
    {
        using Lab.Lab lab = new(guests: 2);
        lab.CreateNetwork("lan", "afxdp");
        lab.PlugAll("lan", "afxdp");
        lab.Guests[0].Socket.Send(ComparisonTests.Frame("ff:ff:ff:ff:ff:ff", lab.Guests[0].Mac, 0));
        lab.Sync();
        Assert.Contains(lab.Call(ApiMethods.FdbList, new("lan")), e => e.Mac == lab.Guests[0].Mac && e.FastPath);
        lab.Dom0.Run("ip", "link", "set", "lan", "type", "bridge", "ageing_time", "100");
        Tool.Eventually(() => lab.Stats().Mirror["entries"] == 0, "the mirror forgets it", 30);
    }

    /// <summary>Three guests on one Network, the fourth on another.</summary>
    private static void PlugThreeAndAStranger(Lab.Lab lab, string datapath)
    {
        lab.CreateNetwork("lan", datapath);
        lab.CreateNetwork("other", datapath);
        // The shortest ageing time that the kernel takes seriously: every source is refreshed several times a second.
        lab.Dom0.Run("ip", "link", "set", "lan", "type", "bridge", "ageing_time", "300");
        for (int i = 0; i < 3; i++)
            lab.Plug(lab.Guests[i], "lan");
        lab.Plug(lab.Guests[3], "other");
        lab.WaitForPath("lan", datapath);
        lab.WaitForPath("other", datapath);
    }

    /// <summary>Moves the nomads at random while frames are sent to all of them; returns the port where each ended.</summary>
    private static int[] MoveUnderTraffic(Guest[] ports)
    {
        // Background traffic to all nomads from one of the ports, all the time.
        using CancellationTokenSource stop = new();
        using PacketSocket sender = ports[0].Netns.Inside(() => new PacketSocket("eth0"));
        Thread traffic = new(() =>
        {
            for (int i = 0; !stop.IsCancellationRequested; i++)
                sender.Send(ComparisonTests.Frame(Nomad(i % Nomads), ports[0].Mac, i));
        });
        traffic.Start();
        Random random = new(3);
        int[] place = new int[Nomads];
        for (int i = 0; i < s_moves; i++)
        {
            int nomad = random.Next(Nomads);
            place[nomad] = (place[nomad] + 1 + random.Next(2)) % 3;
            Guest port = ports[place[nomad]];
            port.Socket.Send(ComparisonTests.Frame(ports[(place[nomad] + 1) % 3].Mac, Nomad(nomad), i));
            // Sometimes it talks on from there, so that it is refreshed while the next move is on its way.
            for (int more = random.Next(3); more > 0; more--)
                port.Socket.Send(ComparisonTests.Frame(ports[(place[nomad] + 2) % 3].Mac, Nomad(nomad), i));
        }

        stop.Cancel();
        traffic.Join();
        return place;
    }

    private static void AssertTablesKnow(int[] place, Guest[] ports, Lab.Lab lab)
    {
        Dictionary<string, FdbEntryInfo> entries = lab.Call(ApiMethods.FdbList, new("lan")).Where(e => !e.Permanent).ToDictionary(e => e.Mac);
        for (int nomad = 0; nomad < Nomads; nomad++)
        {
            Assert.Equal(ports[place[nomad]].Vif, entries[Nomad(nomad)].Device);
            Assert.True(entries[Nomad(nomad)].FastPath);
        }
    }

    /// <summary>A frame to each nomad, from a port where it is not, arrives where it is and nowhere else.</summary>
    private static void AssertFramesArriveAt(int[] place, Guest[] ports)
    {
        foreach (Guest port in ports)
            port.Socket.Clear();
        for (int nomad = 0; nomad < Nomads; nomad++)
        {
            int from = (place[nomad] + 1) % 3;
            ports[from].Socket.Send(ComparisonTests.Ipv4(Nomad(nomad), ports[from].Mac, 1, [(byte)nomad, 1, 2, 3]));
        }

        for (int p = 0; p < 3; p++)
        {
            byte[][] got = [.. ports[p].Socket.Collect(f => f[12] == 8 && f[13] == 0, int.MaxValue, quietMs: 300)];
            Assert.All(got, f => Assert.Equal(p, place[f[34]]));
            Assert.Equal(Enumerable.Range(0, Nomads).Where(n => place[n] == p), got.Select(f => (int)f[34]).Order());
        }
    }

    private static string Nomad(int number) => $"02:00:00:00:cc:{number:x2}";
}
