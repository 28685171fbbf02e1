// This host's own addresses: they move between NIC and bridge under an open connection, follow requests, and come from a DHCP server.
using System.Diagnostics;
using System.Text.RegularExpressions;
using XenFastPath.Api;
using XenFastPath.KernelTests.Lab;

namespace XenFastPath.KernelTests;

public sealed class HostIpTests(ITestOutputHelper output)
{
    private const string HostIp = "192.0.2.1", WorldIp = "192.0.2.200", HostIp6 = "2001:db8::1", WorldIp6 = "2001:db8::200";

    /// <summary>A connection whose segment is lost waits 200 ms for its second try (TCP_RTO_MIN), and once more for luck.</summary>
    private const double GapMsMax = 1000;

    [Theory]
    [InlineData(HostIp)]
    [InlineData(HostIp6)]
    public void An_open_connection_survives_the_move_to_the_bridge_and_back(string address)
    {
        using Lab.Lab lab = new(guests: 1);
        using Guest world = lab.AddWorld();
        MakeHost(lab, world);
        string before = HostOf(lab, "eth0");
        Assert.Contains("default via 192.0.2.200 dev DEVICE", before);
        Assert.Contains("10.99.0.0/16 via 192.0.2.201 dev DEVICE", before);
        Assert.Contains("100:\tfrom 10.50.0.0/16 iif DEVICE lookup 100", before);
        using TcpTalk talk = new(lab.Dom0, world.Netns, address);
        for (int round = 0; round < 3; round++)
        {
            lab.CreateNetwork("lan", "bridge", "eth0", bridge: "xenbr0");
            talk.AssertAlive("on the bridge");
            Report($"{address} eth0 -> xenbr0", talk.TakeGapMs());
            Assert.Equal(before, HostOf(lab, "xenbr0"));
            Assert.Equal("", lab.Dom0.Run("ip", "-o", "address", "show", "dev", "eth0"));
            Assert.Empty(lab.Call(ApiMethods.Plan, new()).Actions);
            lab.Call(ApiMethods.NetworkDestroy, new("lan"));
            talk.AssertAlive("on the NIC again");
            Report($"{address} xenbr0 -> eth0", talk.TakeGapMs());
            Assert.Equal(before, HostOf(lab, "eth0"));
        }
    }

    [Fact]
    public void A_daemon_killed_in_the_middle_of_the_move_finishes_it_at_the_next_start()
    {
        using Lab.Lab lab = new(guests: 1);
        using Guest world = lab.AddWorld();
        MakeHost(lab, world);
        string before = HostOf(lab, "eth0");
        using TcpTalk talk = new(lab.Dom0, world.Netns, HostIp);
        lab.CreateNetwork("lan", "bridge", "eth0", bridge: "xenbr0");
        lab.EndDaemon(9);
        // As if it had been killed after the port was attached: half of the host is on either side.
        lab.Dom0.Run("ip", "address", "add", HostIp + "/24", "dev", "eth0");
        lab.Dom0.Run("ip", "route", "replace", "default", "via", WorldIp, "dev", "eth0");
        lab.Dom0.Run("ip", "rule", "add", "pref", "100", "from", "10.50.0.0/16", "iif", "eth0", "lookup", "100");
        lab.StartDaemon();
        Assert.Equal(before, HostOf(lab, "xenbr0"));
        Assert.Equal("", lab.Dom0.Run("ip", "-o", "address", "show", "dev", "eth0"));
        talk.AssertAlive("after the second start");
        lab.Call(ApiMethods.NetworkDestroy, new("lan"));
        Assert.Equal(before, HostOf(lab, "eth0"));
        talk.AssertAlive("at the end");
    }

    [Fact]
    public void A_guard_that_undoes_the_move_takes_the_host_back_to_its_nic()
    {
        using Lab.Lab lab = new(guests: 1);
        using Guest world = lab.AddWorld();
        MakeHost(lab, world);
        string before = HostOf(lab, "eth0"), file = Path.Combine(lab.RunDir, "document.json");
        File.WriteAllText(file, "{\"networks\": [{\"label\": \"lan\", \"bridge\": \"xenbr0\"}], \"pifs\": [{\"device\": \"eth0\", \"network\": \"lan\"}]}");
        using TcpTalk talk = new(lab.Dom0, world.Netns, HostIp);
        (int status, string text) = lab.Xfp("apply", file, "--confirm", $"{3 * Lab.Lab.Scale}");
        Assert.True(status == 0, text);
        lab.EndDaemon(9);
        Assert.Equal(before, HostOf(lab, "xenbr0"));
        Tool.Eventually(() => !lab.Guards().Any(), "the guard has done its work", 20);
        Assert.Equal(before, HostOf(lab, "eth0"));
        Assert.DoesNotContain("xenbr0", lab.Dom0.Run("ip", "link", "show", "type", "bridge"));
        talk.AssertAlive("on the NIC again");
        lab.StartDaemon();
        Assert.Empty(lab.Call(ApiMethods.NetworkList, new()));
        Assert.Equal(before, HostOf(lab, "eth0"));
    }

    [Fact]
    public void Static_addresses_are_set_changed_kept_and_removed()
    {
        using Lab.Lab lab = new(guests: 1, startDaemon: false);
        using Guest world = lab.AddWorld();
        string resolv = StartWithResolver(lab);
        world.Netns.Run("ip", "address", "add", WorldIp + "/24", "dev", "wan");
        lab.Call(ApiMethods.PifIntroduce, new("eth0"));
        Configure(lab, "--mode static --ip 192.0.2.10/24 --gateway 192.0.2.200 --dns 192.0.2.53 --domain example.org --route 10.0.0.0/8=192.0.2.201");
        Assert.Contains("inet 192.0.2.10/24 brd 192.0.2.255 scope global eth0", Addresses(lab, "eth0"));
        Assert.Contains("default via 192.0.2.200 dev eth0", Routes(lab));
        Assert.Contains("10.0.0.0/8 via 192.0.2.201 dev eth0", Routes(lab));
        Assert.Contains("search example.org\nnameserver 192.0.2.53\n", File.ReadAllText(resolv));
        Ping(world, "192.0.2.10");
        lab.CreateNetwork("lan", "bridge", "eth0", bridge: "xenbr0");
        Assert.Contains("192.0.2.10/24 dev xenbr0", lab.Call(ApiMethods.PifShow, new("eth0")).Addresses);
        Assert.Contains("default via 192.0.2.200 dev xenbr0", Routes(lab));
        Ping(world, "192.0.2.10");
        // Somebody takes it away: it comes back. Somebody else's stays, whatever is asked.
        lab.Dom0.Run("ip", "address", "add", "198.51.100.7/24", "dev", "xenbr0");
        lab.Dom0.Run("ip", "address", "del", "192.0.2.10/24", "dev", "xenbr0");
        Tool.Eventually(() => Addresses(lab, "xenbr0").Contains("192.0.2.10/24"), "the address is back");
        Configure(lab, "--mode static --ip 192.0.2.11/25 --dns 192.0.2.54");
        Assert.Contains("192.0.2.11/25", Addresses(lab, "xenbr0"));
        Assert.DoesNotContain("192.0.2.10/", Addresses(lab, "xenbr0"));
        Assert.Empty(lab.Call(ApiMethods.Plan, new()).Actions);
        Assert.DoesNotContain("default", Routes(lab));
        lab.EndDaemon();
        lab.StartDaemon();
        Assert.Contains("192.0.2.11/25", Addresses(lab, "xenbr0"));
        Configure(lab, "--mode none");
        Assert.DoesNotContain("192.0.2.", Addresses(lab, "xenbr0"));
        Assert.Contains("198.51.100.7/24", Addresses(lab, "xenbr0"));
        Assert.Equal("nameserver 9.9.9.9\n", File.ReadAllText(resolv));
        lab.Call(ApiMethods.NetworkDestroy, new("lan"));
        Assert.Contains("198.51.100.7/24", Addresses(lab, "eth0"));
    }

    [Fact]
    public void Ipv6_static_and_what_is_refused()
    {
        using Lab.Lab lab = new(guests: 1);
        using Guest world = lab.AddWorld();
        foreach (Netns netns in (Netns[])[lab.Dom0, world.Netns])
            netns.Run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.disable_ipv6=0");
        world.Netns.Run("ip", "address", "add", WorldIp6 + "/64", "dev", "wan", "nodad");
        lab.CreateNetwork("lan", "bridge", "eth0", bridge: "xenbr0");
        Configure(lab, "--ipv6-mode static --ipv6 2001:db8::10/64 --gateway6 2001:db8::200");
        Tool.Eventually(
            () => Addresses(lab, "xenbr0") is var all && all.Contains("2001:db8::10/64") && all.Contains("fe80::") && !all.Contains("tentative"),
            "both addresses are valid");
        Assert.Contains("default via 2001:db8::200 dev xenbr0", lab.Dom0.Run("ip", "-6", "route"));
        Ping(world, "2001:db8::10");
        Assert.Empty(lab.Call(ApiMethods.Plan, new()).Actions);
        (string Arguments, string Reason)[] refused =
        [
            ("", "eth0: nothing to do: give --mode, --ipv6-mode or both"),
            ("--mode static", "eth0: mode static needs an IPv4 address"),
            ("--mode static --ip 192.0.2.10/24 --gateway 10.0.0.1", "eth0: gateway 10.0.0.1 is not in the subnet of 192.0.2.10/24"),
            ("--ip 192.0.2.10/24", "eth0: nothing to do: give --mode, --ipv6-mode or both"),
            ("--mode dhcp --route 10.0.0.0/8=192.0.2.1", "eth0: route 10.0.0.0/8: routes go with mode static, not with dhcp"),
        ];
        foreach ((string arguments, string reason) in refused)
        {
            (int status, string text) = lab.Xfp(["pif", "reconfigure-ip", "eth0", .. arguments.Split(' ', StringSplitOptions.RemoveEmptyEntries)]);
            Assert.Equal((1, "xfp: " + reason), (status, text.TrimEnd()));
        }

        Configure(lab, "--ipv6-mode none");
        Assert.DoesNotContain("2001:db8::10/64", Addresses(lab, "xenbr0"));
    }

    [Fact]
    public void A_dhcp_client_is_kept_running_on_the_bridge_and_ended()
    {
        using Lab.Lab lab = new(guests: 1, startDaemon: false);
        using Guest world = lab.AddWorld();
        StartWithResolver(lab);
        world.Netns.Run("ip", "address", "add", WorldIp + "/24", "dev", "wan");
        using Process server = Tool.Start("nsenter", "--net=" + world.Netns.Path, "dnsmasq", "--no-daemon", "--port=0", "--conf-file=/dev/null",
            "--interface=wan", "--dhcp-range=192.0.2.100,192.0.2.150,1h", "--dhcp-option=6", "--no-ping",
            "--dhcp-leasefile=" + Path.Combine(lab.RunDir, "leases"));
        try
        {
            lab.CreateNetwork("lan", "bridge", "eth0", bridge: "xenbr0");
            Configure(lab, "--mode dhcp");
            Tool.Eventually(() => Addresses(lab, "xenbr0").Contains("inet 192.0.2.1"), "a lease", 30);
            Tool.Eventually(() => Routes(lab).Contains("default via 192.0.2.200 dev xenbr0"), "the router of the lease");
            string address = lab.Call(ApiMethods.PifShow, new("eth0")).Addresses.Single(a => a.StartsWith("192.0.2.", StringComparison.Ordinal));
            Ping(world, address.Split('/')[0]);
            int first = ClientPid(lab, "xenbr0");
            Lab.Lab.Signal(first, 9);
            Tool.Eventually(() => ClientPid(lab, "xenbr0") is > 0 and var pid && pid != first && Directory.Exists($"/proc/{pid}"), "another client", 20);
            Tool.Eventually(() => Addresses(lab, "xenbr0").Contains("inet 192.0.2.1"), "a lease again", 30);
            // A client outlives the daemon; the next daemon knows it.
            int second = ClientPid(lab, "xenbr0");
            lab.EndDaemon();
            lab.StartDaemon();
            Assert.Equal(second, ClientPid(lab, "xenbr0"));
            // It follows the address to the NIC.
            int leases = Leases(lab);
            lab.Call(ApiMethods.NetworkDestroy, new("lan"));
            Tool.Eventually(() => ClientPid(lab, "eth0") > 0 && ClientPid(lab, "xenbr0") == 0, "a client on eth0");
            Tool.Eventually(() => Leases(lab) > leases && Addresses(lab, "eth0").Contains("inet 192.0.2.1"), "the lease on eth0", 30);
            int last = ClientPid(lab, "eth0");
            Configure(lab, "--mode none");
            Tool.Eventually(() => ClientPid(lab, "eth0") == 0 && !Alive(last), "the client ends");
            Tool.Eventually(() => !Addresses(lab, "eth0").Contains("inet "), "and gives its lease back");
        }
        finally
        {
            EndClients(lab);
            server.Kill();
            server.WaitForExit();
        }
    }

    /// <summary>How often a client has said that it has one: udhcpc's words, and dhclient's.</summary>
    private static int Leases(Lab.Lab lab) => Regex.Count(lab.Log(), @"(lease of|bound to) 192\.0\.2\.");

    [Fact]
    public void Advertisements_count_only_where_they_are_asked_for()
    {
        using Lab.Lab lab = new(guests: 1, startDaemon: false);
        using Guest world = lab.AddWorld();
        StartWithResolver(lab);
        world.Netns.Run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0");
        world.Netns.Run("ip", "address", "add", "2001:db8::1/64", "dev", "wan", "nodad");
        lab.CreateNetwork("lan", "bridge", "eth0", bridge: "xenbr0");
        string log = Path.Combine(lab.RunDir, "router");
        using Process router = Tool.Start("nsenter", "--net=" + world.Netns.Path, "dnsmasq", "--no-daemon", "--port=0", "--conf-file=/dev/null",
            "--interface=wan", "--enable-ra", "--ra-param=wan,4,60", "--dhcp-range=2001:db8::,ra-only", "--log-facility=" + log);
        try
        {
            Tool.Eventually(() => File.Exists(log) && Regex.Count(File.ReadAllText(log), "RTR-ADVERT") > 1, "two advertisements: the first has been read", 60);
            Assert.Equal("", lab.Dom0.Run("ip", "-6", "route", "show", "dev", "xenbr0", "proto", "ra"));
            Configure(lab, "--ipv6-mode autoconf");
            Tool.Eventually(() => Addresses(lab, "xenbr0").Contains("inet6 2001:db8::"), "an address", 20);
            Assert.Contains("default via fe80::", lab.Dom0.Run("ip", "-6", "route", "show", "dev", "xenbr0"));
        }
        finally
        {
            router.Kill();
            router.WaitForExit();
        }
    }

    [Fact]
    public void A_device_with_a_client_of_somebody_elses_is_refused_with_the_way_out()
    {
        using Lab.Lab lab = new(guests: 1);
        using Guest world = lab.AddWorld();
        lab.Dom0.Run("ip", "link", "set", "eth0", "up");
        lab.Dom0.Run("ip", "address", "add", HostIp + "/24", "dev", "eth0");
        using Process client = Tool.Start("nsenter", "--net=" + lab.Dom0.Path, "udhcpc", "-f", "-s", "/bin/true", "-i", "eth0");
        try
        {
            string before = HostOf(lab, "eth0");
            string reason = $"xfp: eth0: its addresses are managed by udhcpc (pid {client.Id}); hand it over first: kill {client.Id}";
            Assert.Equal((1, reason), Refused(lab, "network", "create", "lan", "--pif", "eth0"));
            lab.Call(ApiMethods.PifIntroduce, new("eth0"));
            Assert.Equal((1, reason), Refused(lab, "pif", "reconfigure-ip", "eth0", "--mode", "static", "--ip", "192.0.2.10/24"));
            Assert.Equal(before, HostOf(lab, "eth0"));
        }
        finally
        {
            client.Kill();
            client.WaitForExit();
        }

        lab.CreateNetwork("lan", "bridge", "eth0");
    }

    private static (int, string) Refused(Lab.Lab lab, params string[] arguments)
    {
        (int status, string text) = lab.Xfp(arguments);
        return (status, text.TrimEnd());
    }

    private static string StartWithResolver(Lab.Lab lab)
    {
        lab.ResolvConf = Path.Combine(lab.RunDir, "resolv.conf");
        File.WriteAllText(lab.ResolvConf, "nameserver 9.9.9.9\n");
        lab.StartDaemon();
        return lab.ResolvConf;
    }

    private static void Configure(Lab.Lab lab, string arguments)
    {
        (int status, string text) = lab.Xfp(["pif", "reconfigure-ip", "eth0", .. arguments.Split(' ')]);
        Assert.True(status == 0, text);
    }

    private static void Ping(Guest world, string address) =>
        Tool.Eventually(() => Tool.TryRun("nsenter", "--net=" + world.Netns.Path, "ping", "-c1", "-W1", address).Status == 0, $"{address} answers");

    private static string Addresses(Lab.Lab lab, string device) =>
        Tool.TryRun("nsenter", "--net=" + lab.Dom0.Path, "ip", "address", "show", "dev", device).Output;

    private static string Routes(Lab.Lab lab) => lab.Dom0.Run("ip", "route", "show");

    private static int ClientPid(Lab.Lab lab, string device)
    {
        string file = Path.Combine(lab.RunDir, $"dhcp-{device}-4.pid");
        try
        {
            return int.TryParse(File.ReadAllText(file).Split(' ')[0], out int pid) ? pid : 0;
        }
        catch (IOException)
        {
            return 0;
        }
    }

    private static bool Alive(int pid) => Directory.Exists($"/proc/{pid}") && !File.ReadAllText($"/proc/{pid}/stat").Contains(") Z ");

    private static void EndClients(Lab.Lab lab)
    {
        foreach (string device in (string[])["eth0", "xenbr0"])
        {
            if (ClientPid(lab, device) is > 0 and var pid)
                Lab.Lab.Signal(pid, 9);
        }
    }

    /// <summary>dom0 reachable through eth0, with a second table, a rule and an alias.</summary>
    private static void MakeHost(Lab.Lab lab, Guest world)
    {
        foreach (Netns netns in (Netns[])[lab.Dom0, world.Netns])
        {
            netns.Run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.disable_ipv6=0");
            netns.Run("sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0");
        }

        world.Netns.Run("ip", "address", "add", WorldIp + "/24", "dev", "wan");
        world.Netns.Run("ip", "address", "add", WorldIp6 + "/64", "dev", "wan", "nodad");
        string[] commands =
        [
            "link set eth0 up", $"address add {HostIp}/24 brd + dev eth0", "address add 192.0.2.2/24 dev eth0 label eth0:1",
            $"address add {HostIp6}/64 dev eth0 nodad", $"route add default via {WorldIp} dev eth0",
            "route add 10.99.0.0/16 via 192.0.2.201 dev eth0 src 192.0.2.2 metric 7 table 100", "route add 10.98.0.0/16 dev eth0 mtu 1400",
            "rule add pref 100 from 10.50.0.0/16 iif eth0 lookup 100", $"-6 route add default via {WorldIp6} dev eth0 metric 20",
        ];
        foreach (string command in commands)
            lab.Dom0.Run("ip", command.Split(' '));
        Tool.Eventually(() => lab.Dom0.Run("ip", "-6", "address", "show", "dev", "eth0", "-tentative").Contains("fe80::"), "the link-local address");
    }

    /// <summary>Everything by which the host is on the network, with the device's name taken out.</summary>
    private static string HostOf(Lab.Lab lab, string device)
    {
        string listed = Regex.Replace(lab.Dom0.Run("ip", "-o", "address", "show", "dev", device), @"^\d+: ", "", RegexOptions.Multiline);
        string addresses = Regex.Replace(listed.Replace(" proto kernel_ll", "").Replace(" nodad", ""), @"[ \\]+", " ");
        string routes = lab.Dom0.Run("ip", "route", "show", "table", "all", "dev", device)
            + lab.Dom0.Run("ip", "-6", "route", "show", "table", "all", "dev", device);
        string[] kept = [.. routes.Split('\n').Where(l => !l.Contains("fe80::") && !l.Contains("ff00::")).Select(l => l.Trim()).Order(StringComparer.Ordinal)];
        string all = addresses + string.Join('\n', kept) + lab.Dom0.Run("ip", "route", "show", "default")
            + Tool.TryRun("nsenter", "--net=" + lab.Dom0.Path, "ip", "route", "show", "table", "100").Output + lab.Dom0.Run("ip", "rule", "show");
        return all.Replace(device, "DEVICE").Replace(" linkdown", "");
    }

    private void Report(string what, double gapMs)
    {
        output.WriteLine($"management move, {what}: longest silence {gapMs:F0} ms");
        TestContext.Current.SendDiagnosticMessage($"management move, {what}: longest silence {gapMs:F0} ms");
        Assert.InRange(gapMs, 0, GapMsMax);
    }
}
