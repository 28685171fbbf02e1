using XenFastPath.Api;
using XenFastPath.KernelTests.Lab;

namespace XenFastPath.KernelTests;

/// <summary>Which path a port gets, why, and whether its frames really take it.</summary>
public sealed class PathTests
{
    [Fact]
    [Trait("rung", "minimum")]
    public void Auto_means_redirect_says_so_and_gives_way_to_filters()
    {
        using Lab.Lab lab = new(guests: 2);
        lab.CreateNetwork("lan", "auto");
        lab.PlugAll("lan", "redirect");
        NetworkInfo network = lab.Network("lan");
        Assert.Equal(XenFastPath.Reconcile.PathRule.AutoRedirects, network.PathReason);
        // Guests that run no XDP keep their TSO: no program in the driver.
        Assert.All(network.Vifs, v => Assert.Null(v.Path!.Xdp));
        Assert.All(network.Vifs, v => Assert.StartsWith("tc: ", v.Path!.Reason));
        Assert.DoesNotContain("xdp", lab.Dom0.Run("ip", "-details", "link", "show", "vif1.0"));
        Assert.Equal(0, network.Vifs.Sum(v => v.Path!.Queues));
        Guest a = lab.Guests[0], b = lab.Guests[1];
        a.AddAddress();
        b.AddAddress();
        a.Netns.Run("ping", "-c", "2", "-i", "0.2", b.Ip);
        lab.Sync();
        Assert.True(FastShare(lab, a, b) > 0.98 / Lab.Lab.Scale);

        lab.Dom0.Run("nft", "add table bridge guard; add chain bridge guard passing { type filter hook forward priority 0; }; "
            + "add rule bridge guard passing counter");
        lab.WaitForPath("lan", "bridge");
        Assert.Contains("nft chain bridge guard passing", lab.Network("lan").PathReason);
        Assert.Equal(0, FastShare(lab, a, b));
        Assert.DoesNotContain("packets 0 ", lab.Dom0.Run("nft", "list", "table", "bridge", "guard"));

        lab.Dom0.Run("nft", "delete", "table", "bridge", "guard");
        lab.WaitForPath("lan", "redirect");
        lab.Sync();
        Assert.True(FastShare(lab, a, b) > 0.98 / Lab.Lab.Scale);
    }

    /// <summary>The share of pings from one guest to another that took the fast path.</summary>
    private static double FastShare(Lab.Lab lab, Guest a, Guest b)
    {
        (int sent, long fast) = lab.PingFast(a, b, 500, intervalMs: 2);
        return (double)fast / sent;
    }

    [Fact]
    [Trait("rung", "minimum")]
    public void Known_unicast_between_two_vifs_goes_through_the_forwarder()
    {
        using Lab.Lab lab = new(guests: 2);
        lab.CreateNetwork("lan", "afxdp");
        lab.PlugAll("lan", "afxdp");
        Guest a = lab.Guests[0], b = lab.Guests[1];
        a.AddAddress();
        b.AddAddress();
        a.Netns.Run("ping", "-c", "2", "-i", "0.2", b.Ip);
        lab.Sync();
        PortCountersInfo before = lab.VifOf(a).Counters!;
        int pings = Lab.Lab.Ping(a, b, 2000, intervalMs: 1);
        PortCountersInfo after = lab.VifOf(a).Counters!;
        long fast = after.FastRxFrames - before.FastRxFrames, kernel = after.KernelFrames - before.KernelFrames;
        Assert.True(fast > 99 / Lab.Lab.Scale * kernel, $"{fast} frames by the forwarder, {kernel} by the bridge");
        Assert.True(fast >= pings - Lab.Lab.LossMax(pings) - kernel);
        PortPathInfo path = lab.VifOf(a).Path!;
        Assert.Equal(("afxdp", "native", "copy"), (path.Path, path.Xdp, path.Umem));
        Assert.Contains("xdp", lab.Dom0.Run("ip", "-details", "link", "show", "vif1.0"));
    }

    [Fact]
    [Trait("rung", "minimum")]
    public void A_frame_for_dom0_itself_never_leaves_the_kernels_way()
    {
        using Lab.Lab lab = new(guests: 2);
        lab.CreateNetwork("lan", "afxdp");
        lab.PlugAll("lan", "afxdp");
        lab.Guests[0].AddAddress();
        lab.Dom0.Run("ip", "address", "add", "10.77.0.100/24", "dev", "lan");
        lab.Guests[0].Netns.Run("ping", "-c", "20", "-i", "0.01", "10.77.0.100");
        lab.Sync();
        Assert.Equal(0, lab.VifOf(lab.Guests[0]).Counters!.FastRxFrames);
        // While either process is held up, or control has not told of the guest yet (an emulated machine), the frames pass for that reason.
        string[] reasons = ["pass_unknown", "pass_source_unknown", "pass_control_stale", "pass_forwarder_stale"];
        Assert.True(lab.Counter("vif1.0", "pass_unknown") > 0);
        Assert.True(reasons.Sum(r => lab.Counter("vif1.0", r)) >= 19);
    }

    [Fact]
    [Trait("rung", "minimum")]
    public void The_path_can_be_changed_while_traffic_runs()
    {
        using Lab.Lab lab = new(guests: 2);
        lab.CreateNetwork("lan", "bridge");
        lab.PlugAll("lan", "bridge");
        Guest a = lab.Guests[0], b = lab.Guests[1];
        a.AddAddress();
        b.AddAddress();
        a.Netns.Run("ping", "-c", "1", b.Ip);
        using Prober prober = new(a, b, count: 4000);
        foreach (string datapath in new[] { "afxdp", "redirect", "bridge", "redirect", "afxdp", "auto" })
        {
            lab.Call(ApiMethods.NetworkSet, new("lan", Datapath: datapath));
            lab.WaitForPath("lan", datapath == "auto" ? "redirect" : datapath);
            Tmds.Linux.LibC.usleep(300_000);
        }

        prober.FinishWith(Lab.Lab.LossMax(4000));
        string[] details = lab.Dom0.Run("ip", "-details", "link", "show", "vif1.0").Split('\n');
        Assert.Equal("", details.FirstOrDefault(l => l.Contains("xdp", StringComparison.Ordinal)) ?? "");
    }

    [Fact]
    public void Ports_come_and_go_while_traffic_runs()
    {
        using Lab.Lab lab = new(guests: 5);
        lab.CreateNetwork("lan", "afxdp");
        Guest a = lab.Guests[0], b = lab.Guests[1];
        lab.Plug(a, "lan");
        lab.Plug(b, "lan");
        lab.WaitForPath("lan", "afxdp");
        a.AddAddress();
        b.AddAddress();
        a.Netns.Run("ping", "-c", "2", "-i", "0.2", b.Ip);
        lab.Sync();
        using Prober prober = new(a, b, count: 5000);
        int changes = 0;
        while (prober.Sent < 4500)
        {
            foreach (Guest guest in lab.Guests.Skip(2))
                lab.Plug(guest, "lan");
            foreach (Guest guest in lab.Guests.Skip(2))
                lab.Call(ApiMethods.VifUnplug, new(guest.Vif));
            changes += 6;
        }

        Assert.True(changes > 20 / Lab.Lab.Scale, $"only {changes} changes");
        prober.FinishWith(Lab.Lab.LossMax(5000));
        HostileTests.AssertSound(lab);
    }

    [Theory]
    [InlineData("mtu")]
    [InlineData("tap with virtio headers")]
    [InlineData("foreign XDP")]
    [InlineData("locked port")]
    [InlineData("learning off")]
    [InlineData("vlan_filtering")]
    [InlineData("ageing 0")]
    public void What_afxdp_cannot_carry_stays_on_the_bridge_with_the_reason(string obstacle)
    {
        using Lab.Lab lab = new(guests: 2);
        string device = "vif1.0", reason;
        int mtu = 1500;
        switch (obstacle)
        {
            case "mtu":
                (mtu, reason) = (9000, "MTU 9000 is over the 1774");
                break;
            case "tap with virtio headers":
                lab.Dom0.Run("ip", "tuntap", "add", "tap9", "mode", "tap", "vnet_hdr");
                (device, reason) = ("tap9", "GSO frames");
                break;
            case "foreign XDP":
                XdpProgram.AttachPass(lab.Dom0, "vif1.0");
                reason = "somebody else's XDP program";
                break;
            default:
                reason = obstacle switch
                {
                    "locked port" => "locked",
                    "learning off" => "learning is off",
                    "vlan_filtering" => "vlan_filtering",
                    _ => "ageing_time 0",
                };
                break;
        }

        lab.CreateNetwork("lan", "afxdp", mtu: mtu);
        lab.Call(ApiMethods.VifPlug, new(device, "lan"));
        switch (obstacle)
        {
            case "locked port":
                lab.Dom0.Run("bridge", "link", "set", "dev", "vif1.0", "locked", "on");
                break;
            case "learning off":
                lab.Dom0.Run("bridge", "link", "set", "dev", "vif1.0", "learning", "off");
                break;
            case "vlan_filtering":
                (int status, string output) = Tool.TryRun("nsenter", "--net=" + lab.Dom0.Path,
                    "ip", "link", "set", "lan", "type", "bridge", "vlan_filtering", "1");
                Assert.SkipWhen(status != 0, "this kernel has no CONFIG_BRIDGE_VLAN_FILTERING: " + output);
                break;
            case "ageing 0":
                lab.Dom0.Run("ip", "link", "set", "lan", "type", "bridge", "ageing_time", "0");
                break;
        }

        Tool.Eventually(() => lab.Call(ApiMethods.VifShow, new(device)).Path!.Path == "bridge", $"{device} is on the bridge");
        Assert.Contains(reason, lab.Call(ApiMethods.VifShow, new(device)).Path!.Reason);
        Assert.Empty(lab.Call(ApiMethods.Plan, new()).Actions);
    }

    [Fact]
    [Trait("rung", "minimum")]
    public void A_tap_without_virtio_headers_gets_the_fast_path()
    {
        using Lab.Lab lab = new(guests: 1);
        lab.Dom0.Run("ip", "tuntap", "add", "tap9", "mode", "tap");
        lab.CreateNetwork("lan", "afxdp");
        VifInfo vif = lab.Call(ApiMethods.VifPlug, new("tap9", "lan"));
        Assert.Equal("afxdp", vif.Path!.Path);
        Assert.Equal("native", vif.Path.Xdp);
    }

    [Fact]
    public void Filters_that_the_fast_path_bypasses_are_named()
    {
        using Lab.Lab lab = new(guests: 2);
        lab.CreateNetwork("lan", "afxdp");
        lab.CreateNetwork("quiet", "auto");
        lab.PlugAll("lan", "afxdp");
        Assert.Empty(lab.Network("lan").Bypassed);
        lab.Dom0.Run("nft", "add table bridge guard; add chain bridge guard passing { type filter hook forward priority 0; }; "
            + "add rule bridge guard passing counter");
        lab.Dom0.Run("nft", "add table netdev edge; add chain netdev edge in { type filter hook ingress device vif1.0 priority 0; }; "
            + "add rule netdev edge in counter");
        lab.Dom0.Run("nft", "add table inet wall; add chain inet wall in { type filter hook ingress device vif2.0 priority 0; }; "
            + "add rule inet wall in counter");
        lab.Dom0.Run("tc", "qdisc", "add", "dev", "vif2.0", "root", "tbf", "rate", "1gbit", "burst", "100k", "latency", "10ms");
        // Without tcx (before kernel 6.6) our own policy filter has brought it.
        if (!lab.Dom0.Run("tc", "qdisc", "show", "dev", "vif2.0").Contains("clsact", StringComparison.Ordinal))
            lab.Dom0.Run("tc", "qdisc", "add", "dev", "vif2.0", "clsact");
        lab.Dom0.Run("tc", "filter", "add", "dev", "vif2.0", "egress", "u32", "match", "u32", "0", "0", "flowid", "1:1");
        string all = "";
        Tool.Eventually(() => (all = string.Join('\n', lab.Network("lan").Bypassed)).Split('\n').Length >= 5, "five filters are found");
        Assert.Contains("nft chain inet wall in", all);
        Assert.Contains("nft chain bridge guard passing", all);
        Assert.Contains("nft chain netdev edge in", all);
        Assert.Contains("qdisc tbf on vif2.0", all);
        Assert.Contains("tc u32 filter on vif2.0 egress", all);
        Assert.Equal("afxdp", lab.Network("lan").Path);     // asked for, so it stays; people are told
        Assert.Equal("bridge", lab.Network("quiet").Path);
        Assert.Contains("guard", lab.Network("quiet").PathReason);
    }

    [Fact]
    [Trait("rung", "minimum")]
    public void A_port_with_two_queues_gets_two_sockets()
    {
        using Lab.Lab lab = new(guests: 1);
        Guest wide = lab.AddGuest(queues: 2);
        lab.Dom0.Run("ethtool", "-L", wide.Vif, "rx", "2", "tx", "2");
        wide.Netns.Run("ethtool", "-L", "eth0", "rx", "2", "tx", "2");
        lab.CreateNetwork("lan", "afxdp");
        lab.PlugAll("lan", "afxdp");
        Assert.Equal(2, lab.VifOf(wide).Path!.Queues);
        lab.Guests[0].AddAddress();
        wide.AddAddress();
        wide.Netns.Run("ping", "-q", "-c", "200", "-i", "0.002", lab.Guests[0].Ip);
        lab.Sync();
        Assert.True(lab.VifOf(wide).Counters!.FastRxFrames > 150);
    }
}
