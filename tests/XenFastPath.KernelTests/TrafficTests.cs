using System.Text.Json;
using XenFastPath.Api;
using XenFastPath.KernelTests.Lab;

namespace XenFastPath.KernelTests;

/// <summary>Real stacks talk through the fast paths with their default offloads: no receiver may see a bad checksum.</summary>
public sealed class TrafficTests
{
    private const int SIGCONT = 18, SIGSTOP = 19;

    private static Lab.Lab FastLab(int guests = 2, string datapath = "afxdp")
    {
        Lab.Lab lab = new(guests);
        lab.CreateNetwork("lan", datapath);
        lab.PlugAll("lan", datapath);
        foreach (Guest guest in lab.Guests)
            guest.AddAddress();
        lab.Guests[0].Netns.Run("ping", "-c", "2", "-i", "0.2", lab.Guests[1].Ip);
        lab.Sync();
        return lab;
    }

    [Theory]
    [InlineData("afxdp")]
    [InlineData("redirect")]
    [Trait("rung", "minimum")]
    public void Tcp_with_default_offloads_has_no_checksum_error(string datapath)
    {
        using Lab.Lab lab = FastLab(datapath: datapath);
        Guest a = lab.Guests[0], b = lab.Guests[1];
        Assert.Contains("tx-checksumming: on", a.Netns.Run("ethtool", "-k", "eth0"));
        double mbits = Iperf(a, b, b.Ip, "-t", "3");
        Assert.True(mbits > 50.0 / Lab.Lab.Scale, $"only {mbits} Mbit/s");
        AssertNoChecksumErrors(lab);
        Assert.True(lab.VifOf(a).Counters!.FastRxFrames > (datapath == "afxdp" ? 10_000 : 500) / Lab.Lab.Scale, "the traffic did not take the fast path");
        if (datapath == "redirect")
        {
            // Super-frames stay what they are, on the input as on the output.
            Assert.Contains("tcp-segmentation-offload: on", a.Netns.Run("ethtool", "-k", "eth0"));
            PortCountersInfo counters = lab.VifOf(a).Counters!;
            Assert.True(counters.RxBytes / counters.RxFrames > 3000, $"{counters.RxBytes} bytes in {counters.RxFrames} frames");
            Assert.True(counters.KernelFrames < counters.FastRxFrames / 10, $"{counters.KernelFrames} frames by the bridge");
            return;
        }

        long finished = lab.Counter(b.Vif, "fwd_checksum_by_kernel") + lab.Counter(b.Vif, "fwd_checksum_by_software");
        Assert.True(finished > 10_000 / Lab.Lab.Scale, "no checksum was finished");
    }

    [Theory]
    [InlineData("afxdp")]
    [InlineData("redirect")]
    public void Udp_with_default_offloads_has_no_checksum_error(string datapath)
    {
        using Lab.Lab lab = FastLab(datapath: datapath);
        Guest a = lab.Guests[0], b = lab.Guests[1];
        Iperf(a, b, b.Ip, "-u", "-b", "100M", "-t", "2");
        AssertNoChecksumErrors(lab);
        Assert.True(lab.VifOf(a).Counters!.FastRxFrames > 10_000 / Lab.Lab.Scale);
    }

    /// <summary>Under load the forwarder takes the sockets out of its epoll; afterwards each frame must wake it again.</summary>
    [Fact]
    public void After_a_flood_a_single_frame_wakes_the_forwarder_at_once()
    {
        using Lab.Lab lab = FastLab();
        Guest a = lab.Guests[0], b = lab.Guests[1];
        int forwarder = lab.Show().Forwarder.Pid!.Value;
        for (int i = 0; i < 3; i++)
        {
            bool isOver = false;
            Thread pauses = new(() =>
            {
                // However fast it is, it finds a full batch when it was stopped for a moment; for longer (60 ms) it would throw that away.
                for (; !Volatile.Read(ref isOver); Thread.Sleep(80))
                {
                    Lab.Lab.Signal(forwarder, SIGSTOP);
                    Thread.Sleep(20);
                    Lab.Lab.Signal(forwarder, SIGCONT);
                }
            });
            pauses.Start();
            try
            {
                Iperf(a, b, b.Ip, "-u", "-b", "0", "-l", "100", "-t", "1");
            }
            finally
            {
                Volatile.Write(ref isOver, true);
                pauses.Join();
            }

            // From the flooded one: it was its socket. (Its replies would be there before the loop has done with the request.)
            string report = b.Netns.Run("ping", "-c", "60", "-i", "0.05", a.Ip);
            // An idle loop that nothing wakes sleeps for Limits.IdleWaitMsMax, 20 ms: then the mean is 10.
            double meanMs = double.Parse(report.Split("rtt min/avg/max/mdev = ")[1].Split('/')[1], System.Globalization.CultureInfo.InvariantCulture);
            Assert.True(meanMs < 5, report);
        }

        Assert.Equal(0, lab.Stats().Loop.GetValueOrDefault("watch_failures"));
    }

    [Theory]
    [InlineData("afxdp")]
    [InlineData("redirect")]
    public void Tcp_and_udp_over_ipv6_have_no_checksum_error(string datapath)
    {
        using Lab.Lab lab = FastLab(datapath: datapath);
        foreach (Guest guest in lab.Guests)
        {
            guest.Netns.Run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0", "net.ipv6.conf.eth0.accept_dad=0");
            guest.Netns.Run("ip", "address", "add", $"fd77::{guest.Number}/64", "dev", "eth0", "nodad");
        }

        Guest a = lab.Guests[0], b = lab.Guests[1];
        a.Netns.Run("ping", "-6", "-c", "3", "-i", "0.2", "fd77::2");
        Assert.True(Iperf(a, b, "fd77::2", "-t", "2") > 50.0 / Lab.Lab.Scale);
        Iperf(a, b, "fd77::2", "-u", "-b", "50M", "-t", "1");
        AssertNoChecksumErrors(lab);
        Assert.True(lab.VifOf(a).Counters!.FastRxFrames > (datapath == "afxdp" ? 10_000 : 500) / Lab.Lab.Scale);
    }

    [Theory]
    [InlineData("afxdp", Traits = ["rung", "minimum"])]
    [InlineData("redirect")]
    public void Fragments_arrive_whole_and_with_their_flow(string datapath)
    {
        using Lab.Lab lab = FastLab(datapath: datapath);
        Guest a = lab.Guests[0], b = lab.Guests[1];
        Lab.Lab.Ping(a, b, 50, intervalMs: 10, bytes: 4000);
        Iperf(a, b, b.Ip, "-u", "-b", "50M", "-l", "8000", "-t", "1");
        AssertNoChecksumErrors(lab);
        Assert.True(lab.VifOf(a).Counters!.FastRxFrames > 1000 / Lab.Lab.Scale, "fragments did not take the fast path");
    }

    /// <summary>On afxdp it goes the kernel's way; at tc ingress the frame is an skb, which knows where its unfinished checksum is.</summary>
    [Theory]
    [InlineData("afxdp", "pass_protocol")]
    [InlineData("redirect", "redirect_skb")]
    public void Vxlan_inside_a_guest_has_no_checksum_error(string datapath, string counter)
    {
        using Lab.Lab lab = FastLab(datapath: datapath);
        // On an unusual port too: what may be a tunnel is not recognised by its number.
        int overlay = 0;
        foreach (string port in new[] { "4789", "7777" })
        {
            overlay++;
            foreach (Guest guest in lab.Guests)
            {
                Guest other = lab.Guests.First(g => g != guest);
                guest.Netns.Run("ip", "link", "add", $"vx{overlay}", "type", "vxlan", "id", $"{overlay}", "remote", other.Ip, "dstport", port, "dev", "eth0");
                guest.Netns.Run("ip", "address", "add", $"10.88.{overlay}.{guest.Number}/24", "dev", $"vx{overlay}");
                guest.Netns.Run("ip", "link", "set", $"vx{overlay}", "up");
            }

            Guest a = lab.Guests[0], b = lab.Guests[1];
            a.Netns.Run("ping", "-c", "3", "-i", "0.2", $"10.88.{overlay}.2");
            Assert.True(Iperf(a, b, $"10.88.{overlay}.2", "-t", "2") > 50.0 / Lab.Lab.Scale);
            AssertNoChecksumErrors(lab);
        }

        Assert.True(lab.Counter("vif1.0", counter) > 1000 / Lab.Lab.Scale, "tunnel traffic took another way");
    }

    [Fact]
    [Trait("rung", "minimum")]
    public void Sctp_of_the_guests_kernel_has_no_checksum_error()
    {
        Assert.SkipUnless(File.Exists("/proc/net/protocols") && File.ReadAllText("/proc/net/protocols").Contains("SCTP", StringComparison.Ordinal),
            "this kernel has no SCTP (CONFIG_IP_SCTP); the frames themselves are covered by ComparisonTests");
        using Lab.Lab lab = FastLab();
        Assert.True(Iperf(lab.Guests[0], lab.Guests[1], lab.Guests[1].Ip, "--sctp", "-t", "2") > 10.0 / Lab.Lab.Scale);
        AssertNoChecksumErrors(lab);
    }

    [Theory]
    [InlineData("afxdp")]
    [InlineData("redirect")]
    public void Guests_reach_the_world_behind_the_pif_and_each_other_at_once(string datapath)
    {
        using Lab.Lab lab = new(guests: 3);
        Guest world = lab.AddWorld();
        lab.CreateNetwork("xenbr0", datapath, pif: "eth0");
        lab.PlugAll("xenbr0", datapath);
        foreach (Guest guest in lab.Guests.Append(world))
            guest.AddAddress();
        lab.Guests[0].Netns.Run("ping", "-c", "2", "-i", "0.2", world.Ip);
        Task<double> toWorld = Task.Run(() => Iperf(lab.Guests[0], world, world.Ip, "-t", "2"));
        Task<double> between = Task.Run(() => Iperf(lab.Guests[1], lab.Guests[2], lab.Guests[2].Ip, "-t", "2"));
        Assert.True(toWorld.Result > 20.0 / Lab.Lab.Scale, $"{toWorld.Result} Mbit/s to the world");
        Assert.True(between.Result > 20.0 / Lab.Lab.Scale, $"{between.Result} Mbit/s between guests");
        Assert.Equal(0, world.ChecksumErrors());
        AssertNoChecksumErrors(lab);
        Assert.True(lab.Network("xenbr0").Pif!.Counters!.FastTxFrames > (datapath == "afxdp" ? 5000 : 500) / Lab.Lab.Scale);
    }

    /// <summary>iperf3 from one guest to another; returns what the receiver got in Mbit/s.</summary>
    internal static double Iperf(Guest from, Guest to, string address, params string[] arguments)
    {
        using var server = Tool.Start("nsenter", "--net=" + to.Netns.Path, "iperf3", "-s", "-1");
        Tool.Eventually(() => to.Netns.Run("ss", "-Hltn", "sport = :5201").Length > 0, "iperf3 listens");
        string output = from.Netns.Run("iperf3", ["-c", address, "-J", .. arguments]);
        server.WaitForExit(10_000);
        // Its warnings stand behind the document.
        JsonElement end = JsonDocument.Parse(output[..(output.LastIndexOf('}') + 1)]).RootElement.GetProperty("end");
        JsonElement sum = end.TryGetProperty("sum_received", out JsonElement received) ? received : end.GetProperty("sum");
        return sum.GetProperty("bits_per_second").GetDouble() / 1e6;
    }

    internal static void AssertNoChecksumErrors(Lab.Lab lab)
    {
        foreach (Guest guest in lab.Guests)
            Assert.Empty(guest.ChecksumErrorsByName());
    }
}
