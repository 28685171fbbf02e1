using System.Net.Sockets;
using System.Text;
using XenFastPath.Api;
using XenFastPath.KernelTests.Lab;

namespace XenFastPath.KernelTests;

/// <summary>Objects come, go, are renamed, and are refused; the machine is what it was before whenever it must be.</summary>
public sealed class LifecycleTests
{
    [Theory]
    [InlineData("no such device", "vif plug nope --network lan", "nope: no such device")]
    [InlineData("no such network", "vif plug vif2.0 --network nope", "nope: no such network")]
    [InlineData("duplicate label", "network create lan", "lan: there is a network with this label already")]
    [InlineData("duplicate bridge", "network create other --bridge lan", "lan: this is the bridge of network lan already")]
    [InlineData("long bridge name", "network create x --bridge abcdefghijklmnop", "abcdefghijklmnop: the name has 16 bytes; a device name has at most 15")]
    [InlineData("MTU too small", "network create x --mtu 67", "x: MTU 67 is out of range 68..65535")]
    [InlineData("MTU too large", "network create x --mtu 65536", "x: MTU 65536 is out of range 68..65535")]
    [InlineData("plugged twice", "vif plug vif1.0 --network lan", "vif1.0: plugged already, into network lan")]
    [InlineData("in another bridge", "vif plug vif3.0 --network lan", "vif3.0: is in bridge foreign already")]
    [InlineData("pif in another bridge", "network create x --pif vif3.0", "vif3.0: is in bridge foreign already")]
    [InlineData("pif is a bridge", "network create x --pif foreign", "foreign: is a bridge, not a network card")]
    [InlineData("bridge name is a device", "network create x --bridge lo", "lo: exists and is no bridge")]
    [InlineData("loopback", "vif plug lo --network lan", "lo: is the loopback device")]
    [InlineData("unknown datapath", "network create x --datapath fast", "x: datapath \"fast\" is none of auto, afxdp, redirect, bridge")]
    [InlineData("network in use", "network destroy lan", "lan: 1 vif is still plugged (vif1.0); unplug first")]
    [InlineData("guest address", "vif plug vif2.0 --network lan --mac 01:00:5e:00:00:01", "vif2.0: 01:00:5e:00:00:01 is a group or zero address")]
    [InlineData("two places at once", "network create x --bridge foreign --pif eth0", "eth0: carries 192.0.2.1/24, and bridge foreign has 192.0.2.9/24")]
    [InlineData("no such pif", "pif reconfigure-ip eth0 --mode none", "eth0: no such pif")]
    public void Bad_input_is_refused_with_the_reason_and_changes_nothing(string what, string command, string reason)
    {
        Assert.NotEmpty(what);
        using Lab.Lab lab = new(guests: 3);
        using Guest world = lab.AddWorld();
        lab.Dom0.Run("ip", "address", "add", "192.0.2.1/24", "dev", "eth0");
        lab.Dom0.Run("ip", "link", "add", "foreign", "type", "bridge");
        lab.Dom0.Run("ip", "address", "add", "192.0.2.9/24", "dev", "foreign");
        lab.Dom0.Run("ip", "link", "set", "vif3.0", "master", "foreign");
        lab.CreateNetwork("lan", "bridge");
        lab.Plug(lab.Guests[0], "lan");
        Tool.Eventually(() => lab.Call(ApiMethods.VifList, new()).All(v => v.State == "forwarding"), "the carrier is noticed");
        string before = Machine(lab);
        (int status, string output) = lab.Xfp(command.Split(' '));
        Assert.Equal(1, status);
        Assert.StartsWith("xfp: " + reason, output);
        Assert.Equal(before, Machine(lab));
    }

    [Fact]
    public void Garbage_on_the_socket_harms_nobody()
    {
        using Lab.Lab lab = new(guests: 0);
        byte[] ten = new byte[10 << 20];
        Array.Fill(ten, (byte)'x');
        foreach (byte[] garbage in new[] { "{\n"u8.ToArray(), "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"nope\"}\n"u8.ToArray(), [0xff, 0xfe, 10], ten })
        {
            using Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            socket.Connect(new UnixDomainSocketEndPoint(Path.Combine(lab.RunDir, "xenfastpath.sock")));
            try
            {
                socket.Send(garbage);
            }
            catch (SocketException)
            {
                // It closed the connection before the ten megabytes were through: right so.
            }

            byte[] answer = new byte[4096];
            Assert.Contains("error", Encoding.UTF8.GetString(answer, 0, socket.Receive(answer)));
        }

        using (Socket vanishing = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            vanishing.Connect(new UnixDomainSocketEndPoint(Path.Combine(lab.RunDir, "xenfastpath.sock")));
            vanishing.Send("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"network.create\",\"params\":{\"label\":\"x\"}}\n"u8);
        }

        Tool.Eventually(() => lab.Call(ApiMethods.NetworkList, new()).Any(n => n.Label == "x"), "the request of a client that vanished is carried out");
        Assert.True(lab.Daemon!.HasExited == false && new FileInfo($"/proc/{lab.Daemon.Id}/status").Exists);
    }

    [Fact]
    [Trait("rung", "minimum")]
    public void Destroy_leaves_nothing_behind()
    {
        using Lab.Lab lab = new(guests: 2);
        Guest world = lab.AddWorld();
        foreach (string device in new[] { "eth0", "vif1.0", "vif2.0" })
            lab.Dom0.Run("ip", "link", "set", device, "up");
        Tool.Eventually(() => !lab.Dom0.Run("ip", "-brief", "link", "show").Contains("NO-CARRIER", StringComparison.Ordinal), "carrier everywhere");
        string before = Machine(lab);
        lab.CreateNetwork("xenbr0", "afxdp", pif: "eth0");
        lab.PlugAll("xenbr0", "afxdp");
        Assert.Equal(3, lab.Dom0.Run("bpftool", "net", "show").Split('\n').Count(l => l.Contains("driver id", StringComparison.Ordinal)));
        foreach (Guest guest in lab.Guests)
            lab.Call(ApiMethods.VifUnplug, new(guest.Vif));
        lab.Call(ApiMethods.NetworkDestroy, new("xenbr0"));
        lab.Call(ApiMethods.PifForget, new("eth0"));
        Assert.Equal(before, Machine(lab));
        Assert.DoesNotContain("driver id", lab.Dom0.Run("bpftool", "net", "show"));
        lab.EndDaemon();
        Tool.Eventually(() => !lab.Forwarders().Any(), "the forwarder goes when no network is left");
        Assert.False(Directory.Exists(Path.Combine(lab.Bpffs, "xenfastpath")) && Directory.EnumerateDirectories(Path.Combine(lab.Bpffs, "xenfastpath")).Any());
    }

    [Fact]
    public void An_existing_bridge_is_adopted_not_rebuilt_and_left_as_it_was_found()
    {
        using Lab.Lab lab = new(guests: 3);
        Guest world = lab.AddWorld();
        lab.Dom0.Run("ip", "link", "add", "xenbr0", "type", "bridge", "forward_delay", "0");
        lab.Dom0.Run("ip", "link", "set", "xenbr0", "up");
        lab.Dom0.Run("ip", "link", "set", "eth0", "up", "master", "xenbr0");
        lab.Dom0.Run("ip", "link", "set", "vif3.0", "up", "master", "xenbr0");
        string before = Members(lab);
        string index = lab.Dom0.Run("cat", "/proc/self/net/dev_snmp6/xenbr0").Split('\n')[0];
        NetworkInfo network = lab.CreateNetwork("xenbr0", "afxdp", pif: "eth0");
        Assert.True(network.BridgeAdopted);
        Assert.Equal(index, lab.Dom0.Run("cat", "/proc/self/net/dev_snmp6/xenbr0").Split('\n')[0]);
        lab.Plug(lab.Guests[0], "xenbr0");
        lab.Call(ApiMethods.VifUnplug, new("vif1.0"));
        lab.Call(ApiMethods.NetworkDestroy, new("xenbr0"));
        Assert.Equal(before, Members(lab));
    }

    [Fact]
    public void A_new_device_with_a_known_name_is_not_joined()
    {
        using Lab.Lab lab = new(guests: 2);
        lab.CreateNetwork("lan", "afxdp");
        lab.PlugAll("lan", "afxdp");
        lab.Dom0.Run("ip", "link", "del", "vif1.0");
        Tool.Eventually(() => lab.Network("lan").Vifs.Count == 1, "the vif is gone");
        lab.Dom0.Run("ip", "link", "add", "vif1.0", "type", "veth", "peer", "name", "other");
        lab.Dom0.Run("ip", "link", "set", "vif1.0", "up");
        lab.Sync();
        Assert.Single(lab.Network("lan").Vifs);
        Assert.DoesNotContain("master", lab.Dom0.Run("ip", "link", "show", "vif1.0"));
        // Nor by a daemon that starts anew.
        lab.EndDaemon();
        lab.StartDaemon();
        Assert.Single(lab.Network("lan").Vifs);
        Assert.DoesNotContain("master", lab.Dom0.Run("ip", "link", "show", "vif1.0"));
        // But by request.
        lab.Call(ApiMethods.VifPlug, new("vif1.0", "lan"));
        Assert.Contains("master lan", lab.Dom0.Run("ip", "link", "show", "vif1.0"));
    }

    [Fact]
    public void A_vif_that_vanished_while_the_daemon_was_away_is_not_joined_by_its_name()
    {
        using Lab.Lab lab = new(guests: 2);
        lab.CreateNetwork("lan", "afxdp");
        lab.PlugAll("lan", "afxdp");
        lab.EndDaemon(9);
        lab.Dom0.Run("ip", "link", "del", "vif1.0");
        lab.Dom0.Run("ip", "link", "add", "vif1.0", "type", "veth", "peer", "name", "other");
        lab.StartDaemon();
        Assert.Equal(["vif2.0"], lab.Network("lan").Vifs.Select(v => v.Device));
        Assert.DoesNotContain("master", lab.Dom0.Run("ip", "link", "show", "vif1.0"));
    }

    [Fact]
    [Trait("rung", "minimum")]
    public void Renamed_devices_keep_their_place()
    {
        Assert.SkipUnless(Environment.OSVersion.Version >= new Version(6, 2), "devices that are up can be renamed from kernel 6.2 on");
        using Lab.Lab lab = new(guests: 2);
        Guest world = lab.AddWorld();
        lab.CreateNetwork("xenbr0", "afxdp", pif: "eth0");
        lab.PlugAll("xenbr0", "afxdp");
        Guid uuid = lab.VifOf(lab.Guests[0]).Uuid;
        lab.Dom0.Run("ip", "link", "set", "vif1.0", "name", "guest-a");
        lab.Dom0.Run("ip", "link", "set", "eth0", "name", "lan0");
        lab.Dom0.Run("ip", "link", "set", "xenbr0", "name", "outside");
        Tool.Eventually(
            () => lab.Network("xenbr0") is { Bridge: "outside", Pif.Device: "lan0" } n && n.Vifs.Any(v => v.Device == "guest-a"),
            "the objects follow");
        NetworkInfo network = lab.Network("xenbr0");
        Assert.Equal(uuid, network.Vifs.Single(v => v.Device == "guest-a").Uuid);
        Assert.Equal("up", network.State);
        lab.WaitForPath("xenbr0", "afxdp");
        Assert.DoesNotContain(" xenbr0:", lab.Dom0.Run("ip", "link", "show", "type", "bridge"));
    }

    [Fact]
    [Trait("rung", "minimum")]
    public void Carrier_bridge_and_membership_are_mended_or_followed()
    {
        using Lab.Lab lab = new(guests: 2);
        Guest world = lab.AddWorld();
        lab.CreateNetwork("xenbr0", "afxdp", pif: "eth0");
        lab.PlugAll("xenbr0", "afxdp");
        world.Netns.Run("ip", "link", "set", "wan", "down");
        Tool.Eventually(() => lab.Network("xenbr0").Pif!.State == "no-carrier", "the NIC has lost its carrier");
        Assert.False(lab.Network("xenbr0").Pif!.Carrier);
        world.Netns.Run("ip", "link", "set", "wan", "up");
        lab.WaitForPath("xenbr0", "afxdp");
        lab.Dom0.Run("ip", "link", "set", "vif1.0", "nomaster");
        Tool.Eventually(() => lab.Dom0.Run("ip", "link", "show", "vif1.0").Contains("master xenbr0", StringComparison.Ordinal), "the vif is put back");
        lab.Dom0.Run("ip", "link", "set", "vif2.0", "down");
        Tool.Eventually(() => lab.VifOf(lab.Guests[1]).State == "forwarding", "the vif is set up again");
        lab.Dom0.Run("ip", "link", "del", "xenbr0");
        Tool.Eventually(() => lab.Network("xenbr0").State == "up", "the bridge is made again");
        lab.WaitForPath("xenbr0", "afxdp");
        lab.Guests[0].AddAddress();
        lab.Guests[1].AddAddress();
        lab.Guests[0].Netns.Run("ping", "-c", "2", "-i", "0.2", lab.Guests[1].Ip);
        Assert.Empty(lab.Call(ApiMethods.Plan, new()).Actions);
    }

    [Fact]
    public void A_vif_moves_between_networks_with_its_frames()
    {
        using Lab.Lab lab = new(guests: 3);
        lab.CreateNetwork("a", "afxdp");
        lab.CreateNetwork("b", "afxdp");
        lab.Plug(lab.Guests[0], "a");
        lab.Plug(lab.Guests[1], "a");
        lab.Plug(lab.Guests[2], "b");
        lab.WaitForPath("a", "afxdp");
        foreach (Guest guest in lab.Guests)
            guest.AddAddress();
        Guest nomad = lab.Guests[0], old = lab.Guests[1], fresh = lab.Guests[2];
        nomad.Netns.Run("ping", "-c", "3", "-i", "0.2", old.Ip);
        lab.Call(ApiMethods.VifMove, new(nomad.Vif, "b"));
        lab.WaitForPath("b", "afxdp");
        nomad.Netns.Run("ip", "neighbour", "flush", "dev", "eth0");
        nomad.Netns.Run("ping", "-c", "3", "-i", "0.2", fresh.Ip);
        Assert.NotEqual(0, Tool.TryRun("nsenter", "--net=" + nomad.Netns.Path, "ping", "-c", "1", "-W", "1", old.Ip).Status);
        Assert.DoesNotContain(lab.Call(ApiMethods.FdbList, new("a")), e => e.Mac == nomad.Mac);
    }

    [Fact]
    [Trait("rung", "minimum")]
    public void Brctl_show_is_what_bridge_utils_prints()
    {
        using Lab.Lab lab = new(guests: 3);
        lab.CreateNetwork("lan", "bridge");
        lab.CreateNetwork("empty", "bridge");
        lab.PlugAll("lan", "bridge");
        lab.Dom0.Run("ip", "link", "add", "foreign", "type", "bridge", "stp_state", "1");
        // Bridges come in sysfs' order there and by name here: compared as a set of blocks.
        Assert.Equal(Blocks(lab.Dom0.Run("unshare", "-m", "sh", "-c", "mount -t sysfs sysfs /sys && brctl show")), Blocks(lab.Xfp("brctl", "show").Output));

        static string[] Blocks(string text) => [.. text.TrimEnd().Split("\n").Aggregate(new List<string>(), (blocks, line) =>
        {
            if (line.StartsWith('\t'))
                blocks[^1] += "\n" + line;
            else
                blocks.Add(line);
            return blocks;
        }).Order(StringComparer.Ordinal)];
    }

    [Fact]
    public void Exit_status_says_what_went_wrong()
    {
        using Lab.Lab lab = new(guests: 0);
        Assert.Equal(0, lab.Xfp("show").Status);
        Assert.Equal(1, lab.Xfp("network", "show", "nope").Status);
        Assert.Equal(2, lab.Xfp("network", "show").Status);
        Assert.Equal(2, lab.Xfp("frobnicate").Status);
        lab.EndDaemon();
        (int status, string output) = lab.Xfp("show");
        Assert.Equal(3, status);
        Assert.Contains("xenfastpath.sock", output);
    }

    [Fact]
    public void Two_daemons_on_one_run_dir_and_damaged_state_are_refused()
    {
        using Lab.Lab lab = new(guests: 0);
        (int status, string output) = lab.TryDaemon();
        Assert.Equal(1, status);
        Assert.Contains("another xenfastpathd serves this run-dir", output);
        lab.CreateNetwork("lan", "bridge");
        lab.EndDaemon();
        string state = Path.Combine(lab.StateDir, "state.json");
        File.WriteAllText(state, File.ReadAllText(state)[..^20]);
        (status, output) = lab.TryDaemon();
        Assert.Equal(1, status);
        Assert.Contains("state.json", output);
        Assert.Contains("Mend the file", output);
        Assert.Contains("lan:", lab.Dom0.Run("ip", "link", "show", "lan"));     // nothing was torn down for it
    }

    [Fact]
    public void Events_tell_what_happens()
    {
        using Lab.Lab lab = new(guests: 1);
        using var events = Tool.Start(Lab.Lab.Bin + "/xfp", "--socket", Path.Combine(lab.RunDir, "xenfastpath.sock"), "--json", "events");
        Tool.Eventually(() => lab.Log().Length > 0 && Subscribed(lab), "the client listens");
        lab.CreateNetwork("lan", "bridge");
        lab.Plug(lab.Guests[0], "lan");
        lab.Dom0.Run("ip", "link", "del", "vif1.0");
        List<string> kinds = [];
        while (!kinds.Contains("vif.gone"))
            kinds.Add(System.Text.Json.JsonDocument.Parse(events.StandardOutput.ReadLine()!).RootElement.GetProperty("kind").GetString()!);
        events.Kill();
        Assert.Contains("network.created", kinds);
        Assert.Contains("vif.plugged", kinds);
        Assert.Contains("port.changed", kinds);
    }

    /// <summary>The switch is for the whole machine: it is on only while a plan is carried out, also if that is cut short by a kill.</summary>
    [Fact]
    public void The_kernels_grace_periods_are_as_they_were_when_a_plan_is_done_and_after_a_kill()
    {
        const string expedited = "/sys/kernel/rcu_expedited";
        Assert.SkipUnless(File.Exists(expedited) && File.ReadAllText(expedited).Trim() == "0", expedited + " is not there, or is on already");
        using Lab.Lab lab = new(guests: 2);
        string note = Path.Combine(lab.RunDir, "rcu_expedited");
        lab.CreateNetwork("lan", "redirect");
        lab.PlugAll("lan", "redirect");
        Assert.Equal("0", File.ReadAllText(expedited).Trim());
        Assert.False(File.Exists(note));
        lab.EndDaemon(9);
        try
        {
            // As it is left by a daemon that was killed in between.
            File.WriteAllText(note, "");
            File.WriteAllText(expedited, "1");
            lab.StartDaemon();
            Assert.Equal("0", File.ReadAllText(expedited).Trim());
            Assert.False(File.Exists(note));
        }
        finally
        {
            File.WriteAllText(expedited, "0");
        }
    }

    private static string Members(Lab.Lab lab) => string.Join('\n', System.Text.Json.JsonDocument.Parse(lab.Dom0.Run("bridge", "-json", "link", "show"))
        .RootElement.EnumerateArray().Select(p => $"{p.GetProperty("ifname")} in {p.GetProperty("master")}"));

    /// <summary>The subscription is answered before events flow; a second client cannot see it, so look at the socket's peers.</summary>
    private static bool Subscribed(Lab.Lab lab)
    {
        lab.Show();
        return Tool.Run("ss", "-xH").Split('\n').Count(l => l.Contains(lab.RunDir + "/xenfastpath.sock", StringComparison.Ordinal)) >= 2;
    }

    /// <summary>Links, addresses, bridge ports and what hangs on them: what a refused request must not change.</summary>
    private static string Machine(Lab.Lab lab)
    {
        lab.WaitForOperstates();
        return string.Join('\n',
            lab.Dom0.Run("ip", "-brief", "link", "show"), lab.Dom0.Run("ip", "-brief", "address", "show"), lab.Dom0.Run("bridge", "link", "show"),
            string.Join(' ', lab.Call(ApiMethods.NetworkList, new()).Select(n => n.Label)),
            string.Join(' ', lab.Call(ApiMethods.PifList, new()).Select(p => p.Device)));
    }
}
