// Bonds against partners that nobody here wrote. Only in the VM: this needs bonding.
using System.Diagnostics;
using XenFastPath.Api;
using XenFastPath.KernelTests.Lab;
using XenFastPath.Netlink;

namespace XenFastPath.KernelTests;

/// <summary>active-backup, balance-slb and lacp: made, failing over, changed and taken away.</summary>
[Trait("rung", "vm")]
public sealed class BondTests
{
    /// <summary>What a failover may cost beside the bond's own times, ms: the machine is emulated.</summary>
    private static int SlackMs => 50 * Lab.Lab.Scale;

    [Fact]
    public void Lacp_with_a_linux_bond_as_partner_aggregates_and_both_members_carry()
    {
        using Lab.Lab lab = new(guests: 1);
        BondSwitch partner = new(lab, lacp: true);
        lab.CreateNetwork("xenbr0", "bridge");
        Create(lab, "lacp", ("lacp-time", "fast"));
        lab.Plug(lab.Guests[0], "xenbr0");
        WaitForAggregate(lab, partner);
        AssertPings(lab, partner);
        int[] bridge = MembersOfFlows(lab, partner);
        Assert.All([0, 1], i => Assert.True(bridge.Count(m => m == i) > 5, $"member {i} carried {bridge.Count(m => m == i)} of 64 flows"));
        // The fast path chooses as the kernel does.
        lab.Call(ApiMethods.NetworkSet, new("xenbr0", Datapath: "afxdp"));
        lab.WaitForPath("xenbr0", "afxdp");
        WaitForAggregate(lab, partner);
        AssertPings(lab, partner);
        lab.Sync();
        long before = lab.VifOf(lab.Guests[0]).Counters!.FastRxFrames;
        Assert.Equal(bridge, MembersOfFlows(lab, partner));
        long fast = lab.VifOf(lab.Guests[0]).Counters!.FastRxFrames - before;
        Assert.True(fast > 60, $"{fast} of 64 frames by the forwarder");
        // Loaded or not, the two go on speaking: no LACPDU was lost on the way.
        WaitForAggregate(lab, partner);
        HostileTests.AssertSound(lab);
    }

    [Theory]
    [InlineData("active-backup", 0, 1000, "bridge", Traits = ["kernel", "newest"])]
    [InlineData("active-backup", 200, 31000, "bridge", Traits = ["kernel", "oldest"])]     // XenServer's defaults
    [InlineData("active-backup", 0, 1000, "afxdp", Traits = ["kernel", "oldest"])]
    [InlineData("active-backup", 0, 1000, "redirect", Traits = ["kernel", "newest"])]
    [InlineData("balance-slb", 0, 1000, "bridge", Traits = ["kernel", "oldest"])]
    [InlineData("balance-slb", 0, 1000, "redirect", Traits = ["kernel", "newest"])]
    [InlineData("balance-slb", 200, 1000, "bridge", Traits = ["kernel", "newest"])]
    [InlineData("balance-slb", 0, 1000, "afxdp", Traits = ["kernel", "newest"])]
    [InlineData("lacp", 0, 1000, "bridge", Traits = ["kernel", "newest"])]
    [InlineData("lacp", 200, 1000, "bridge", Traits = ["kernel", "newest"])]
    [InlineData("lacp", 0, 1000, "afxdp", Traits = ["kernel", "oldest"])]
    public void A_member_without_carrier_costs_no_more_than_the_bonds_own_times(string mode, int downDelayMs, int upDelayMs, string datapath)
    {
        int lostMax = downDelayMs == 0 ? 200 : 400;
        using Lab.Lab lab = new(guests: 2);
        BondSwitch partner = new(lab, lacp: mode == "lacp");
        lab.CreateNetwork("xenbr0", datapath);
        (string, string)[] lacpTime = mode == "lacp" ? [("lacp-time", "fast")] : [];
        Create(lab, mode, [("downdelay", $"{downDelayMs}"), ("updelay", $"{upDelayMs}"), .. lacpTime]);
        lab.Plug(lab.Guests[0], "xenbr0");
        PlugSilent(lab, lab.Guests[1]);
        if (mode == "lacp")
            WaitForAggregate(lab, partner);
        Tool.Eventually(() => Show(lab).Members.Count(m => m.State == "active") == (mode == "active-backup" ? 1 : 2), "the members are up", 30);
        lab.WaitForPath("xenbr0", datapath);
        AssertPings(lab, partner);
        lab.Guests[1].Socket.Send(ComparisonTests.Frame("ff:ff:ff:ff:ff:ff", lab.Guests[1].Mac, 1));
        lab.Sync();
        long fast = lab.VifOf(lab.Guests[0]).Counters!.FastRxFrames;
        using Prober prober = new(lab.Guests[0], partner.Host, 4000);
        int carrying = Carrying(lab);
        partner.CutLink(carrying);
        (int lost, int longest) = prober.Finish();
        TestContext.Current.SendDiagnosticMessage($"bond {mode}, {datapath}, downdelay {downDelayMs}: {lost} of 4000 replies lost, {longest} ms at a stretch");
        Assert.True(lost <= lostMax + SlackMs, $"{lost} replies lost, at most {lostMax} + {SlackMs}");
        Assert.Equal("down", Show(lab).Members[carrying].State);
        fast = lab.VifOf(lab.Guests[0]).Counters!.FastRxFrames - fast;
        Assert.True(datapath == "bridge" ? fast == 0 : fast > prober.Sent / Lab.Lab.Scale * 0.8, $"{fast} requests were fast");
        AssertPings(lab, partner);
        if (mode != "lacp")
            Tool.Eventually(() => partner.PortOf(lab.Guests[1].Mac) == $"wan{1 - carrying}", "the switch is told where the silent guest is");
        FailBack(lab, partner, carrying, upDelayMs);
        // The primary is back: nothing tells the switch but what we send.
        if (mode == "active-backup")
            Tool.Eventually(() => partner.PortOf(lab.Guests[1].Mac) == $"wan{carrying}", "the switch is told again");
    }

    /// <summary>A bond is made anew in the forwarder: until it is, its frames go the kernel's way.</summary>
    [Fact]
    [Trait("kernel", "newest")]
    public void A_restart_of_the_daemon_loses_nothing_over_a_bond_on_the_fast_path()
    {
        using Lab.Lab lab = new(guests: 1);
        BondSwitch partner = new(lab, lacp: false);
        lab.CreateNetwork("xenbr0", "afxdp");
        Create(lab, "active-backup", []);
        lab.Plug(lab.Guests[0], "xenbr0");
        lab.WaitForPath("xenbr0", "afxdp");
        AssertPings(lab, partner);
        lab.Sync();
        foreach (int signal in new[] { 15, 9 })
        {
            using Prober prober = new(lab.Guests[0], partner.Host, 4000);
            Tool.Eventually(() => prober.Sent > 500, "requests run");
            lab.EndDaemon(signal);
            lab.StartDaemon();
            prober.FinishWith(Lab.Lab.LossMax(4000));
            lab.WaitForPath("xenbr0", "afxdp");
        }
    }

    /// <summary>Two cards in a bond, its untagged Network and a VLAN on it; zero-copy where the driver has it.</summary>
    [Theory]
    [InlineData("active-backup", Traits = ["kernel", "newest"])]
    [InlineData("balance-slb", Traits = ["kernel", "newest"])]
    [InlineData("lacp", Traits = ["kernel", "oldest"])]
    public void A_bond_of_cards_carries_a_vlan_and_the_native_network_on_the_fast_path(string mode)
    {
        using Lab.Lab lab = new(guests: 2);
        BondSwitch partner = new(lab, lacp: mode == "lacp", cards: true, tags: 100);
        lab.CreateNetwork("xenbr0", "afxdp");
        lab.CreateNetwork("prod", "afxdp");
        Create(lab, mode, mode == "lacp" ? [("lacp-time", "fast")] : []);
        lab.Call(ApiMethods.VlanCreate, new("bond0", 100, "prod"));
        lab.Plug(lab.Guests[0], "xenbr0");
        lab.Plug(lab.Guests[1], "prod");
        if (mode == "lacp")
            WaitForAggregate(lab, partner);
        lab.WaitForPath("xenbr0", "afxdp");
        lab.WaitForPath("prod", "afxdp");
        AssertPings(lab, partner);
        lab.Guests[1].AddAddress("100");
        partner.AddTagged(100).AddAddress("100");
        lab.Guests[1].Netns.Run("ping", "-c", "3", "-i", "0.2", "-w", "20", partner.Tagged.Ip);
        lab.Sync();
        foreach ((Guest guest, Guest host) in new[] { (lab.Guests[0], partner.Host), (lab.Guests[1], partner.Tagged) })
        {
            PortCountersInfo before = lab.VifOf(guest).Counters!;
            int sent = Lab.Lab.Ping(guest, host, 1000, intervalMs: 2);
            PortCountersInfo after = lab.VifOf(guest).Counters!;
            Assert.True(after.FastRxFrames - before.FastRxFrames > sent * 0.9, $"{guest.Vif}: {after.FastRxFrames - before.FastRxFrames} of {sent} out");
            Assert.True(after.FastTxFrames - before.FastTxFrames > sent * 0.9, $"{guest.Vif}: {after.FastTxFrames - before.FastTxFrames} of {sent} in");
            Assert.Equal(0, guest.ChecksumErrors() + host.ChecksumErrors());
        }

        string umem = Environment.OSVersion.Version >= new Version(6, 11) ? "zero-copy" : "copy";
        Assert.Equal(umem, lab.Network("xenbr0").Pif!.Path!.Umem);
        Assert.Equal(umem, lab.Network("prod").Vlan!.Path!.Umem);
        // Its members leave with what they carried, and are cards as before.
        lab.Call(ApiMethods.BondDestroy, new("bond0"));
        Assert.Equal("eth0", lab.Network("xenbr0").Pif!.Device);
        lab.WaitForPath("xenbr0", "afxdp");
        HostileTests.AssertSound(lab);
    }

    [Fact]
    public void Balance_slb_sends_an_address_by_one_member_whichever_path_its_frames_take()
    {
        const int frames = 10;
        using Lab.Lab lab = new(guests: 1);
        BondSwitch partner = new(lab, lacp: false);
        lab.CreateNetwork("xenbr0", "afxdp");
        Create(lab, "balance-slb", ("updelay", "0"));
        lab.Plug(lab.Guests[0], "xenbr0");
        lab.WaitForPath("xenbr0", "afxdp");
        AssertPings(lab, partner);
        PacketSocket guest = lab.Guests[0].Socket;
        string[] sources = [.. Enumerable.Range(0, 32).Select(i => $"02:00:00:00:0a:{i:x2}")];
        foreach (string source in sources)
            guest.Send(ComparisonTests.Frame("ff:ff:ff:ff:ff:ff", source, 0));
        lab.Sync();
        using PacketSocket wire0 = partner.Wire(0), wire1 = partner.Wire(1);
        partner.Host.Socket.Clear();
        long fast = lab.VifOf(lab.Guests[0]).Counters!.FastRxFrames;
        for (int number = 1; number <= frames; number++)
        {
            foreach (string source in sources)
            {
                guest.Send(ComparisonTests.Frame(partner.Host.Mac, source, number));
                guest.Send(ComparisonTests.Frame("ff:ff:ff:ff:ff:ff", source, number));
            }
        }

        bool IsOurs(byte[] f) => f.Length > 42 && sources.Contains(SenderOf(f));
        int sent = 2 * frames * sources.Length;
        List<byte[]> got = partner.Host.Socket.Collect(IsOurs, sent);
        Assert.InRange(got.Count, sent - Lab.Lab.LossMax(sent), sent);
        Assert.Equal(got.Count, got.Select(Convert.ToHexString).Distinct().Count());
        HashSet<string> by0 = [.. wire0.Collect(IsOurs, sent).Select(SenderOf)], by1 = [.. wire1.Collect(IsOurs, sent).Select(SenderOf)];
        Assert.Empty(by0.Intersect(by1));
        Assert.Equal(sources.Length, by0.Count + by1.Count);
        Assert.InRange(by0.Count, sources.Length / 4, sources.Length * 3 / 4);
        fast = lab.VifOf(lab.Guests[0]).Counters!.FastRxFrames - fast;
        Assert.True(fast > frames * sources.Length * 8 / 10, $"{fast} of {frames * sources.Length} unicast frames by the forwarder");
        HostileTests.AssertSound(lab);
    }

    private static string SenderOf(byte[] frame) => string.Join(':', frame[6..12].Select(b => b.ToString("x2")));

    [Fact]
    public void Making_a_bond_moves_networks_vlans_and_vifs_and_destroying_it_moves_them_back()
    {
        using Lab.Lab lab = new(guests: 3);
        BondSwitch partner = new(lab, lacp: false, tags: 100);
        lab.CreateNetwork("xenbr0", "bridge", pif: "eth0");
        lab.CreateNetwork("xenbr1", "bridge", pif: "eth1");
        lab.CreateNetwork("prod", "bridge");
        lab.Call(ApiMethods.VlanCreate, new("eth1", 100, "prod"));
        lab.Plug(lab.Guests[0], "xenbr0");
        lab.Plug(lab.Guests[1], "xenbr1");
        lab.Plug(lab.Guests[2], "prod");
        string mac = lab.Call(ApiMethods.PifShow, new("eth0")).Mac;
        Create(lab, "active-backup");
        Assert.Equal(mac, Show(lab).Mac);
        Assert.Equal("bond0", lab.Network("xenbr0").Pif!.Device);
        Assert.Null(lab.Network("xenbr1").Pif);
        Assert.Equal("xenbr0", lab.VifOf(lab.Guests[1]).Network);
        Assert.Equal(("bond0", "bond0.100"), (lab.Network("prod").Vlan!.Pif, lab.Network("prod").Vlan!.Device));
        Assert.DoesNotContain("eth1.100", lab.Dom0.Run("ip", "link", "show"));
        AssertPings(lab, partner);
        lab.Guests[2].AddAddress("100");
        partner.AddTagged(100).AddAddress("100");
        lab.Guests[2].Netns.Run("ping", "-c", "3", "-i", "0.2", "-w", "20", partner.Tagged.Ip);
        lab.Call(ApiMethods.BondDestroy, new("bond0"));
        Assert.Equal("eth0", lab.Network("xenbr0").Pif!.Device);
        Assert.Equal("eth0.100", lab.Network("prod").Vlan!.Device);
        Assert.DoesNotContain("bond0", lab.Dom0.Run("ip", "link", "show"));
        Assert.Empty(lab.Call(ApiMethods.Plan, new()).Actions);
        Assert.Equal(mac, lab.Call(ApiMethods.PifShow, new("eth0")).Mac);
        AssertPings(lab, partner);
    }

    [Fact]
    public void A_change_of_mode_restores_everything_and_a_restart_finds_it()
    {
        using Lab.Lab lab = new(guests: 1);
        BondSwitch partner = new(lab, lacp: false);
        lab.CreateNetwork("xenbr0", "bridge");
        lab.CreateNetwork("prod", "bridge");
        Create(lab, "active-backup");
        lab.Call(ApiMethods.VlanCreate, new("bond0", 100, "prod"));
        lab.Plug(lab.Guests[0], "xenbr0");
        AssertPings(lab, partner);
        string mac = Show(lab).Mac;
        (string, string)[] modes = [("balance-slb", "load balancing (xor)"), ("lacp", "802.3ad"), ("active-backup", "active-backup")];
        foreach ((string mode, string words) in modes)
        {
            Stopwatch outage = Stopwatch.StartNew();
            lab.Call(ApiMethods.BondSetMode, new("bond0", mode));
            TestContext.Current.SendDiagnosticMessage($"bond set-mode {mode}: {outage.ElapsedMilliseconds} ms");
            Assert.Contains(words, lab.Dom0.Run("cat", "/proc/net/bonding/bond0"));
            Assert.Equal((mode, mac, 2), (Show(lab).Mode, Show(lab).Mac, Show(lab).Members.Count(m => m.State != "missing")));
            Assert.Equal(2, lab.Dom0.Run("ip", "-o", "link", "show", "master", "bond0").Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
            Assert.Contains("bond0.100", lab.Dom0.Run("ip", "link", "show", "master", "prod"));
            Assert.Empty(lab.Call(ApiMethods.Plan, new()).Actions);
        }

        AssertPings(lab, partner);
        lab.EndDaemon();
        lab.StartDaemon();
        Assert.Empty(lab.Call(ApiMethods.Plan, new()).Actions);
        Assert.Equal("active-backup", Show(lab).Mode);
    }

    [Fact]
    public void Refusals_name_the_reason_and_change_nothing()
    {
        using Lab.Lab lab = new(guests: 0);
        _ = new BondSwitch(lab, lacp: false);
        lab.CreateNetwork("xenbr0", "bridge");
        lab.CreateNetwork("prod", "bridge");
        Create(lab, "active-backup");
        string before = lab.Links();
        lab.Call(ApiMethods.VlanCreate, new("eth1", 100, "prod"), "is a member of bond bond0; make the vlan on bond0");
        lab.Call(ApiMethods.BondCreate, new(["eth0", "eth1"], "lacp", "prod"), "is a member of bond bond0 already");
        lab.Call(ApiMethods.BondSetMode, new("bond0", "round-robin"), "none of active-backup, balance-slb, lacp");
        lab.Call(ApiMethods.BondSetMode, new("bond0", "lacp", new Dictionary<string, string> { ["updelay"] = "150" }), "no multiple of miimon");
        lab.Call(ApiMethods.NetworkSet, new("prod", Pif: "eth1"), "is a member of bond bond0");
        lab.Call(ApiMethods.PifForget, new("bond0"), "is a bond; bond destroy bond0");
        Assert.Equal(before, lab.Links());
    }

    private static void Create(Lab.Lab lab, string mode, params (string, string)[] properties) =>
        lab.Call(ApiMethods.BondCreate, new(["eth0", "eth1"], mode, "xenbr0", null, properties.ToDictionary(p => p.Item1, p => p.Item2)));

    private static BondInfo Show(Lab.Lab lab) => lab.Call(ApiMethods.BondShow, new("bond0"));

    /// <summary>Frames that each member has sent.</summary>
    private static long[] Sent(Lab.Lab lab) =>
        [.. Enumerable.Range(0, 2).Select(i => (long)lab.Dom0.Inside(() => Link($"eth{i}").Stats.TxFrames))];

    private static LinkInfo Link(string device)
    {
        using Rtnl rtnl = new();
        return rtnl.GetLink(device)!;
    }

    /// <summary>The member by which most frames leave now.</summary>
    private static int Carrying(Lab.Lab lab)
    {
        long[] before = Sent(lab);
        long difference = 0;
        Tool.Eventually(() =>
        {
            long[] now = Sent(lab);
            difference = now[0] - before[0] - (now[1] - before[1]);
            return Math.Abs(difference) > 30;
        }, "one member carries the probe", 20);
        return difference > 0 ? 0 : 1;
    }

    private static void WaitForAggregate(Lab.Lab lab, BondSwitch partner)
    {
        Tool.Eventually(() => Show(lab).LacpPartner == partner.BondMac, "the partner answers", 30);
        Tool.Eventually(() => lab.Dom0.Run("cat", "/proc/net/bonding/bond0").Contains("Number of ports: 2", StringComparison.Ordinal),
            "both members aggregate", 30);
        Tool.Eventually(() => Show(lab).Members.All(m => m.State == "active"), "both members distribute", 30);
    }

    /// <summary>Sends a frame of each of 64 TCP flows to the host. By which member did each leave?</summary>
    private static int[] MembersOfFlows(Lab.Lab lab, BondSwitch partner)
    {
        using PacketSocket wire0 = partner.Wire(0), wire1 = partner.Wire(1);
        int[] members = new int[64];
        for (int i = 0; i < members.Length; i++)
        {
            byte[] segment = [0x12, (byte)i, 0x1b, 0x58, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0x12, 0x34, .. new byte[22]];
            byte[] frame = ComparisonTests.Ipv4(partner.Host.Mac, lab.Guests[0].Mac, 6, segment);
            lab.Guests[0].Socket.Send(frame);
            bool IsFlow(byte[] f) => f.Length >= frame.Length && f.AsSpan(34, 4).SequenceEqual(frame.AsSpan(34, 4));
            members[i] = -1;
            Tool.Eventually(() =>
            {
                members[i] = wire0.Collect(IsFlow, 1, quietMs: 10).Count > 0 ? 0 : wire1.Collect(IsFlow, 1, quietMs: 10).Count > 0 ? 1 : -1;
                return members[i] >= 0;
            }, $"flow {i} arrives");
        }

        return members;
    }

    /// <summary>A guest whose kernel says nothing by itself.</summary>
    private static void PlugSilent(Lab.Lab lab, Guest guest)
    {
        guest.Netns.Run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1");
        lab.Plug(guest, "xenbr0");
    }

    /// <summary>The link comes back; the member is used again, but not before its updelay has passed.</summary>
    private static void FailBack(Lab.Lab lab, BondSwitch partner, int member, int upDelayMs)
    {
        Stopwatch watch = Stopwatch.StartNew();
        partner.MendLink(member);
        Tool.Eventually(() => Show(lab).Members[member].State is "active", "the member is used again", 45);
        Assert.True(watch.ElapsedMilliseconds >= upDelayMs - 100, $"used again after {watch.ElapsedMilliseconds} ms, with an updelay of {upDelayMs}");
        AssertPings(lab, partner);
    }

    private static void AssertPings(Lab.Lab lab, BondSwitch partner)
    {
        if (lab.Guests[0].Ip.Length == 0)
        {
            lab.Guests[0].AddAddress();
            partner.Host.AddAddress();
        }

        Tool.Eventually(() => Tool.TryRun("nsenter", "--net=" + lab.Guests[0].Netns.Path, "ping", "-c", "1", "-W", "1", partner.Host.Ip).Status == 0,
            "the guest reaches the host behind the switch", 30);
    }
}
