using XenFastPath.Api;
using XenFastPath.KernelTests.Lab;

namespace XenFastPath.KernelTests;

/// <summary>Path redirect: the program looks up and sends by itself, at tc ingress, and in XDP where both ends carry XDP frames.</summary>
public sealed class RedirectTests
{
    private const int SIGKILL = 9, SIGCONT = 18, SIGSTOP = 19;

    [Fact]
    [Trait("rung", "minimum")]
    public void Known_unicast_goes_from_port_to_port_and_no_xdp_is_attached()
    {
        using Lab.Lab lab = Build();
        Guest a = lab.Guests[0], b = lab.Guests[1];
        PortCountersInfo before = lab.VifOf(a).Counters!, outBefore = lab.VifOf(b).Counters!;
        int pings = Lab.Lab.Ping(a, b, 2000, intervalMs: 1);
        PortCountersInfo after = lab.VifOf(a).Counters!;
        long fast = after.FastRxFrames - before.FastRxFrames, kernel = after.KernelFrames - before.KernelFrames;
        Assert.True(fast >= pings - kernel && kernel <= pings / 100 + 2, $"{fast} frames redirected, {kernel} by the bridge");
        Assert.True(lab.VifOf(b).Counters!.FastTxFrames - outBefore.FastTxFrames >= fast);
        Assert.Equal(new PortPathInfo("redirect", Reason(lab, a), null, null, 0), lab.VifOf(a).Path!);
        Assert.StartsWith("tc: ", Reason(lab, a));
        Assert.DoesNotContain("xdp", lab.Dom0.Run("ip", "-details", "link", "show", "vif1.0"));
        Assert.Empty(lab.Call(ApiMethods.Plan, new()).Actions);
    }

    /// <summary>No forwarder is needed: it stands still, it dies, there is none at all.</summary>
    [Fact]
    public void The_forwarder_does_not_matter()
    {
        using Lab.Lab lab = Build();
        Guest a = lab.Guests[0], b = lab.Guests[1];
        int pid = lab.Show().Forwarder.Pid!.Value;
        foreach (int signal in (int[])[SIGSTOP, SIGKILL])
        {
            using Prober prober = new(a, b, count: 2000);
            Tool.Eventually(() => prober.Sent > 500, "requests run");
            long before = lab.VifOf(a).Counters!.FastRxFrames;  // before: a daemon that starts another forwarder answers late
            Lab.Lab.Signal(pid, signal);
            Assert.Equal(0, prober.Finish().Lost);
            long fast = lab.VifOf(a).Counters!.FastRxFrames - before;
            Assert.True(fast > 1200 / Lab.Lab.Scale, $"only {fast} frames were redirected after signal {signal}");
            Lab.Lab.Signal(pid, SIGCONT);
        }

        lab.EndDaemon();
        foreach (int forwarder in lab.Forwarders().ToList())
            Lab.Lab.Signal(forwarder, SIGKILL);
        lab.StartDaemon("--forwarder", "/bin/false");
        lab.WaitForPath("lan", "redirect");
        a.Netns.Run("ping", "-c", "1", b.Ip);
        (int sent, long redirected) = lab.PingFast(a, b, 200, intervalMs: 2);
        Assert.True(redirected >= sent - 5);
    }

    [Theory]
    [InlineData(SIGKILL, Traits = ["rung", "minimum"])]
    [InlineData(SIGSTOP)]
    public void Without_control_everything_goes_over_the_bridge(int signal)
    {
        using Lab.Lab lab = Build();
        Guest a = lab.Guests[0], b = lab.Guests[1];
        using Prober prober = new(a, b, count: 6000);
        Tool.Eventually(() => prober.Sent > 1000, "requests run");
        Lab.Lab.Signal(lab.Daemon!.Id, signal);
        Assert.InRange(prober.Finish().Lost, 0, Lab.Lab.LossMax(6000));
        if (signal == SIGKILL)
        {
            lab.Daemon!.WaitForExit();
            lab.StartDaemon();
        }
        else
        {
            Lab.Lab.Signal(lab.Daemon!.Id, SIGCONT);
        }

        lab.WaitForPath("lan", "redirect");
        long stale = lab.Counter(a.Vif, "pass_control_stale");
        Assert.True(stale > 2000 / Lab.Lab.Scale, $"only {stale} frames passed because control was away");
        Tool.Eventually(() => lab.PingFast(a, b, 100, intervalMs: 2).Fast >= 95 / Lab.Lab.Scale, "frames are redirected again");
    }

    /// <summary>
    /// A guest that runs XDP itself takes XDP frames, which the netdev family tells without any event of the link. What has an unfinished
    /// checksum goes to tc, where it stays one.
    /// </summary>
    [Fact]
    public void Where_both_ends_carry_xdp_frames_they_go_from_driver_to_driver()
    {
        Assert.SkipWhen(Environment.OSVersion.Version < new Version(6, 3), "before kernel 6.3 nobody says who takes XDP frames");
        using Lab.Lab lab = Build();
        Guest a = lab.Guests[0], b = lab.Guests[1], c = lab.Guests[2];
        XdpProgram.AttachPass(a.Netns, "eth0");
        Tool.Eventually(() => Reason(lab, a).Contains("no other port", StringComparison.Ordinal), "one port has nobody to exchange XDP frames with");
        Assert.Null(lab.VifOf(a).Path!.Xdp);
        XdpProgram.AttachPass(b.Netns, "eth0");
        Tool.Eventually(() => lab.VifOf(a).Path!.Xdp == "native" && lab.VifOf(b).Path!.Xdp == "native", "both have XDP");
        Assert.Null(lab.VifOf(c).Path!.Xdp);
        Assert.Empty(lab.Call(ApiMethods.Plan, new()).Actions);
        Lab.Lab.Ping(a, b, 500, intervalMs: 2);
        Assert.True(lab.Counter(a.Vif, "redirect_xdp") > 450 / Lab.Lab.Scale, "pings did not take XDP");
        long skbs = lab.Counter(a.Vif, "redirect_skb");
        Lab.Lab.Ping(a, c, 500, intervalMs: 2);
        Assert.True(lab.Counter(a.Vif, "redirect_skb") - skbs > 450 / Lab.Lab.Scale, "pings to a port without XDP did not take tc");
        Assert.True(TrafficTests.Iperf(a, b, b.Ip, "-t", "2") > 20.0 / Lab.Lab.Scale);
        Assert.True(lab.VifOf(a).Counters!.KernelFrames < lab.VifOf(a).Counters!.FastRxFrames / 10);
        Assert.Equal(0, a.ChecksumErrors() + b.ChecksumErrors() + c.ChecksumErrors());
        // One of them stops: tc has it all, before long.
        using Prober prober = new(a, b, count: 3000);
        Tool.Eventually(() => prober.Sent > 500, "requests run");
        b.Netns.Run("ip", "link", "set", "eth0", "xdp", "off");
        int lost = prober.Finish().Lost;
        Assert.True(lost <= 200, $"{lost} replies lost");
        Assert.Null(lab.VifOf(a).Path!.Xdp);
        Assert.DoesNotContain("xdp", lab.Dom0.Run("ip", "-details", "link", "show", "vif1.0"));
        TestContext.Current.SendDiagnosticMessage($"an output stops taking XDP frames: {lost} of 3000 replies lost");
    }

    /// <summary>What afxdp cannot carry: a tap with virtio headers, and frames of 9000 bytes.</summary>
    [Fact]
    public void Jumbo_frames_and_taps_with_virtio_headers_are_redirected_too()
    {
        using Lab.Lab lab = new(guests: 2);
        foreach (Guest guest in lab.Guests)
        {
            guest.Netns.Run("ip", "link", "set", "eth0", "mtu", "9000");
            guest.AddAddress();
        }

        lab.Dom0.Run("ip", "tuntap", "add", "tap9", "mode", "tap", "vnet_hdr");
        lab.CreateNetwork("lan", "redirect", mtu: 9000);
        Assert.Equal("redirect", lab.Call(ApiMethods.VifPlug, new("tap9", "lan")).Path!.Path);
        foreach (Guest guest in lab.Guests)
            lab.Plug(guest, "lan");
        Tool.Eventually(() => lab.Guests.All(g => lab.VifOf(g) is { State: "forwarding", Path.Path: "redirect" }), "the guests are on redirect");
        Guest a = lab.Guests[0], b = lab.Guests[1];
        a.Netns.Run("ping", "-c", "2", "-i", "0.2", b.Ip);
        lab.Sync();
        long before = lab.VifOf(a).Counters!.FastRxFrames;
        a.Netns.Run("ping", "-q", "-M", "do", "-s", "8972", "-c", "50", "-i", "0.01", b.Ip);
        Assert.True(lab.VifOf(a).Counters!.FastRxFrames - before >= 48);
    }

    /// <summary>As the bridge does it: what is longer than the output's MTU allows does not arrive, and a super-frame of short segments does.</summary>
    [Fact]
    public void The_mtu_of_the_output_holds()
    {
        using Lab.Lab lab = Build();
        Guest a = lab.Guests[0], b = lab.Guests[1];
        lab.Guests[0].Netns.Run("ip", "link", "set", "eth0", "mtu", "3000");
        long oversize = lab.Counter(a.Vif, "pass_oversize");
        a.Socket.TrySend(ComparisonTests.Ipv4(b.Mac, a.Mac, 1, new byte[1481]));
        Tool.Eventually(() => lab.Counter(a.Vif, "pass_oversize") == oversize + 1, "a byte too long is not redirected");
        a.Netns.Run("ip", "link", "set", "eth0", "mtu", "1500");
        Assert.True(TrafficTests.Iperf(a, b, b.Ip, "-t", "1") > 50.0 / Lab.Lab.Scale);
        Assert.Equal(oversize + 1, lab.Counter(a.Vif, "pass_oversize"));
    }

    private static string Reason(Lab.Lab lab, Guest guest) => lab.VifOf(guest).Path!.Reason;

    /// <summary>Three guests on a Network on redirect, all of them known.</summary>
    private static Lab.Lab Build()
    {
        Lab.Lab lab = new(guests: 3);
        lab.CreateNetwork("lan", "redirect");
        lab.PlugAll("lan", "redirect");
        foreach (Guest guest in lab.Guests)
            guest.AddAddress();
        foreach (Guest guest in lab.Guests.Skip(1))
            lab.Guests[0].Netns.Run("ping", "-c", "2", "-i", "0.2", guest.Ip);
        lab.Sync();
        return lab;
    }
}
