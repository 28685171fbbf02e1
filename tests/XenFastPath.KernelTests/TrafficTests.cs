using System.Text.Json;
using XenFastPath.KernelTests.Lab;

namespace XenFastPath.KernelTests;

/// <summary>Real stacks talk through the afxdp path with their default offloads: no receiver may see a bad checksum.</summary>
public sealed class TrafficTests
{
    private static Lab.Lab FastLab(int guests = 2)
    {
        Lab.Lab lab = new(guests);
        lab.CreateNetwork("lan", "afxdp");
        lab.PlugAll("lan", "afxdp");
        foreach (Guest guest in lab.Guests)
            guest.AddAddress();
        lab.Guests[0].Netns.Run("ping", "-c", "2", "-i", "0.2", lab.Guests[1].Ip);
        lab.Sync();
        return lab;
    }

    [Fact]
    public void Tcp_with_default_offloads_has_no_checksum_error()
    {
        using Lab.Lab lab = FastLab();
        Guest a = lab.Guests[0], b = lab.Guests[1];
        Assert.Contains("tx-checksumming: on", a.Netns.Run("ethtool", "-k", "eth0"));
        double mbits = Iperf(a, b, b.Ip, "-t", "3");
        Assert.True(mbits > 50, $"only {mbits} Mbit/s");
        AssertNoChecksumErrors(lab);
        Assert.True(lab.VifOf(a).Counters!.FastRxFrames > 10_000, "the traffic did not take the fast path");
        Assert.True(lab.Counter(b.Vif, "fwd_checksum_by_kernel") + lab.Counter(b.Vif, "fwd_checksum_by_software") > 10_000, "no checksum was finished");
    }

    [Fact]
    public void Udp_with_default_offloads_has_no_checksum_error()
    {
        using Lab.Lab lab = FastLab();
        Guest a = lab.Guests[0], b = lab.Guests[1];
        Iperf(a, b, b.Ip, "-u", "-b", "100M", "-t", "2");
        AssertNoChecksumErrors(lab);
        Assert.True(lab.VifOf(a).Counters!.FastRxFrames > 10_000);
    }

    [Fact]
    public void Tcp_and_udp_over_ipv6_have_no_checksum_error()
    {
        using Lab.Lab lab = FastLab();
        foreach (Guest guest in lab.Guests)
        {
            guest.Netns.Run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0", "net.ipv6.conf.eth0.accept_dad=0");
            guest.Netns.Run("ip", "address", "add", $"fd77::{guest.Number}/64", "dev", "eth0", "nodad");
        }

        Guest a = lab.Guests[0], b = lab.Guests[1];
        a.Netns.Run("ping", "-6", "-c", "3", "-i", "0.2", "fd77::2");
        Assert.True(Iperf(a, b, "fd77::2", "-t", "2") > 50);
        Iperf(a, b, "fd77::2", "-u", "-b", "50M", "-t", "1");
        AssertNoChecksumErrors(lab);
        Assert.True(lab.VifOf(a).Counters!.FastRxFrames > 10_000);
    }

    [Fact]
    public void Fragments_arrive_whole_and_with_their_flow()
    {
        using Lab.Lab lab = FastLab();
        Guest a = lab.Guests[0], b = lab.Guests[1];
        string output = a.Netns.Run("ping", "-q", "-c", "50", "-i", "0.01", "-s", "4000", b.Ip);
        Assert.Contains("50 received", output);
        Iperf(a, b, b.Ip, "-u", "-b", "50M", "-l", "8000", "-t", "1");
        AssertNoChecksumErrors(lab);
        Assert.True(lab.VifOf(a).Counters!.FastRxFrames > 1000, "fragments did not take the fast path");
    }

    [Fact]
    public void Vxlan_inside_a_guest_has_no_checksum_error_and_goes_the_kernels_way()
    {
        using Lab.Lab lab = FastLab();
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
            Assert.True(Iperf(a, b, $"10.88.{overlay}.2", "-t", "2") > 50);
            AssertNoChecksumErrors(lab);
        }

        Assert.True(lab.Counter("vif1.0", "pass_protocol") > 1000, "tunnel traffic took the fast path");
    }

    [Fact]
    public void Sctp_of_the_guests_kernel_has_no_checksum_error()
    {
        Assert.SkipUnless(File.Exists("/proc/net/protocols") && File.ReadAllText("/proc/net/protocols").Contains("SCTP", StringComparison.Ordinal),
            "this kernel has no SCTP (CONFIG_IP_SCTP); the frames themselves are covered by ComparisonTests");
        using Lab.Lab lab = FastLab();
        Assert.True(Iperf(lab.Guests[0], lab.Guests[1], lab.Guests[1].Ip, "--sctp", "-t", "2") > 10);
        AssertNoChecksumErrors(lab);
    }

    [Fact]
    public void Guests_reach_the_world_behind_the_pif_and_each_other_at_once()
    {
        using Lab.Lab lab = new(guests: 3);
        Guest world = lab.AddWorld();
        lab.CreateNetwork("xenbr0", "afxdp", pif: "eth0");
        lab.PlugAll("xenbr0", "afxdp");
        foreach (Guest guest in lab.Guests.Append(world))
            guest.AddAddress();
        lab.Guests[0].Netns.Run("ping", "-c", "2", "-i", "0.2", world.Ip);
        Task<double> toWorld = Task.Run(() => Iperf(lab.Guests[0], world, world.Ip, "-t", "2"));
        Task<double> between = Task.Run(() => Iperf(lab.Guests[1], lab.Guests[2], lab.Guests[2].Ip, "-t", "2"));
        Assert.True(toWorld.Result > 20, $"{toWorld.Result} Mbit/s to the world");
        Assert.True(between.Result > 20, $"{between.Result} Mbit/s between guests");
        Assert.Equal(0, world.ChecksumErrors());
        AssertNoChecksumErrors(lab);
        Assert.True(lab.Network("xenbr0").Pif!.Counters!.FastTxFrames > 5000);
    }

    /// <summary>iperf3 from one guest to another; returns what the receiver got in Mbit/s.</summary>
    private static double Iperf(Guest from, Guest to, string address, params string[] arguments)
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

    private static void AssertNoChecksumErrors(Lab.Lab lab)
    {
        foreach (Guest guest in lab.Guests)
            Assert.Equal(0, guest.ChecksumErrors());
    }
}
