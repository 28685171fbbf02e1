using System.Text.Json;
using XenFastPath.Api;
using XenFastPath.KernelTests.Lab;

namespace XenFastPath.KernelTests;

/// <summary>Either process is killed or stopped under a 1 kHz ping: connectivity stays.</summary>
public sealed class FailureTests
{
    private const int SIGKILL = 9, SIGCONT = 18, SIGSTOP = 19;

    [Theory]
    [InlineData("forwarder", SIGKILL, 6, 20, Traits = ["rung", "minimum"])]
    [InlineData("forwarder", SIGKILL, 64, 20)]
    [InlineData("forwarder", SIGSTOP, 6, 200)]
    [InlineData("forwarder", SIGSTOP, 64, 200)]
    [InlineData("control", SIGKILL, 6, 20)]
    [InlineData("control", SIGKILL, 64, 20)]
    [InlineData("control", SIGSTOP, 6, 200)]
    [InlineData("control", SIGSTOP, 64, 200)]
    public void Connectivity_stays(string victim, int signal, int ports, int lostMsMax)
    {
        using Lab.Lab lab = new(guests: ports);
        lab.CreateNetwork("lan", "afxdp");
        lab.PlugAll("lan", "afxdp");
        Guest a = lab.Guests[0], b = lab.Guests[1];
        a.AddAddress();
        b.AddAddress();
        a.Netns.Run("ping", "-c", "2", "-i", "0.2", b.Ip);
        lab.Sync();
        int forwarder = lab.Show().Forwarder.Pid!.Value;
        int pid = victim == "forwarder" ? forwarder : lab.Daemon!.Id;
        using Prober prober = new(a, b, count: 6000);
        Tool.Eventually(() => prober.Sent > 1500, "requests run");
        Lab.Lab.Signal(pid, signal);
        (int lost, int longestMs) = prober.Finish();
        TestContext.Current.SendDiagnosticMessage(
            $"{victim} {(signal == SIGKILL ? "killed" : "stopped")}, {ports} ports: {lost} of 6000 replies lost, {longestMs} ms at a stretch"
            + $"; stolen {prober.StolenMs} ms");
        lostMsMax = Math.Max(lostMsMax * Lab.Lab.Scale, Lab.Lab.LossMax(6000));
        Assert.True(lost <= lostMsMax + prober.StolenMs,
            $"{lost} replies lost at 1 kHz; at most {lostMsMax} are allowed, and {prober.StolenMs} that the host stole");
        if (signal == SIGSTOP)
            Lab.Lab.Signal(pid, SIGCONT);
        if (victim == "control" && signal == SIGKILL)
        {
            lab.Daemon!.WaitForExit();
            lab.StartDaemon();
            Assert.Equal(forwarder, lab.Show().Forwarder.Pid);      // it was left running and is attached to
        }

        // Everything is on the fast path again, with every port, and its counters show it.
        Tool.Eventually(() => lab.Show().Forwarder is { State: "running" } f && f.Ports == ports, "the forwarder serves all ports again", 60);
        lab.WaitForPath("lan", "afxdp");
        Assert.Equal(victim == "forwarder" && signal == SIGKILL, lab.Show().Forwarder.Pid != forwarder);
        a.Netns.Run("ping", "-c", "1", b.Ip);
        lab.Sync();
        (int sent, long fast) = lab.PingFast(a, b, 500, intervalMs: 2);
        Assert.True(fast > sent * 98 / 100 - Lab.Lab.LossMax(sent),
            $"the fast path did not come back: {fast} of {sent}; {string.Join(' ', lab.VifOf(a).Counters!.Named)}; {string.Join(' ', lab.Stats().Loop)}");
        HostileTests.AssertSound(lab);
    }

    [Fact]
    public void After_a_stop_no_stale_frame_is_sent()
    {
        using Lab.Lab lab = new(guests: 3);
        lab.CreateNetwork("lan", "afxdp");
        lab.PlugAll("lan", "afxdp");
        Guest a = lab.Guests[0], b = lab.Guests[1];
        foreach (Guest guest in lab.Guests)
            guest.Socket.Send(ComparisonTests.Frame("ff:ff:ff:ff:ff:ff", guest.Mac, 0));
        lab.Sync();
        int pid = lab.Show().Forwarder.Pid!.Value;
        long stale = 0;
        for (int round = 0; round < 10; round++)
        {
            // A stream of numbered frames runs; the forwarder is stopped in the middle of it, then the stream ends.
            using CancellationTokenSource stop = new();
            int number = 0;
            Thread stream = new(() =>
            {
                while (!stop.IsCancellationRequested)
                    a.Socket.Send(ComparisonTests.Ipv4(b.Mac, a.Mac, 1, [8, 0, 0, 0, .. BitConverter.GetBytes(++number)]));
            });
            stream.Start();
            Tmds.Linux.LibC.usleep(50_000);
            Lab.Lab.Signal(pid, SIGSTOP);
            Tmds.Linux.LibC.usleep(500_000);
            stop.Cancel();
            stream.Join();
            // By now every frame went the kernel's way or waits in a ring. What comes out after SIGCONT is stale.
            b.Socket.Collect(_ => false, int.MaxValue, quietMs: 200);
            b.Socket.Clear();
            Lab.Lab.Signal(pid, SIGCONT);
            stale += b.Socket.Collect(f => f[12] == 8 && f[13] == 0, int.MaxValue, quietMs: 200).Count;
            Tool.Eventually(() => lab.Show().Forwarder.State == "running", "the forwarder runs again");
        }

        Assert.True(lab.Counter(a.Vif, "fwd_drop_stale") > 0, "nothing waited in the rings: the test tested nothing");
        Assert.True(lab.Stats().Loop["stalls"] >= 10);
        Assert.Equal(0, stale);
        HostileTests.AssertSound(lab);
    }

    [Fact]
    [Trait("rung", "minimum")]
    public void A_restart_of_the_daemon_keeps_objects_bridges_and_traffic()
    {
        using Lab.Lab lab = new(guests: 3);
        Guest world = lab.AddWorld();
        NetworkInfo before = lab.CreateNetwork("xenbr0", "afxdp", pif: "eth0");
        lab.PlugAll("xenbr0", "afxdp");
        before = lab.Network("xenbr0");
        Guest a = lab.Guests[0];
        a.AddAddress();
        world.AddAddress();
        a.Netns.Run("ping", "-c", "2", "-i", "0.2", world.Ip);
        lab.Sync();
        string links = Links(lab);
        int forwarder = lab.Show().Forwarder.Pid!.Value;
        foreach (int signal in new[] { 15, SIGKILL, 15 })
        {
            using Prober prober = new(a, world, count: 4000);
            Tool.Eventually(() => prober.Sent > 500, "requests run");
            lab.EndDaemon(signal);
            lab.StartDaemon();
            prober.FinishWith(Lab.Lab.LossMax(4000));
            NetworkInfo after = lab.Network("xenbr0");
            Assert.Equal(before.Uuid, after.Uuid);
            Assert.Equal(before.BridgeIfindex, after.BridgeIfindex);
            Assert.Equal(before.Pif!.Uuid, after.Pif!.Uuid);
            Assert.Equal(before.Vifs.Select(v => (v.Uuid, v.Ifindex)), after.Vifs.Select(v => (v.Uuid, v.Ifindex)));
            Assert.Equal(links, Links(lab));
            Assert.Equal(forwarder, lab.Show().Forwarder.Pid);
            lab.WaitForPath("xenbr0", "afxdp");
        }
    }

    [Fact]
    public void A_forwarder_that_was_given_up_for_a_while_is_replaced_once_when_it_dies()
    {
        using Lab.Lab lab = new(guests: 3);
        lab.CreateNetwork("lan", "afxdp");
        lab.PlugAll("lan", "afxdp");
        foreach (Guest guest in lab.Guests)
            guest.Socket.Send(ComparisonTests.Frame("ff:ff:ff:ff:ff:ff", guest.Mac, 0));
        lab.Sync();
        int pid = lab.Show().Forwarder.Pid!.Value;
        Lab.Lab.Signal(pid, SIGSTOP);
        // A deleted entry makes control ask the forwarder for a barrier; it gives the connection up after 5 s.
        lab.Dom0.Run("bridge", "fdb", "del", lab.Guests[0].Mac, "dev", "vif1.0", "master");
        Tmds.Linux.LibC.usleep(7_000_000);
        Lab.Lab.Signal(pid, SIGCONT);
        Tool.Eventually(() => lab.Log().Contains("answers again", StringComparison.Ordinal), "control finds it again");
        lab.WaitForPath("lan", "afxdp");
        Lab.Lab.Signal(pid, SIGKILL);
        Tool.Eventually(() => lab.Show().Forwarder is { State: "running" } f && f.Pid != pid, "there is a new forwarder");
        lab.WaitForPath("lan", "afxdp");
        Assert.Equal(1, lab.Log().Split("has died").Length - 1);
        Assert.DoesNotContain("EEXIST", lab.Log());
    }

    /// <summary>In its session, where nice values count, and that session before others, where the kernel groups by session.</summary>
    [Fact]
    public void The_packet_threads_go_before_other_processes()
    {
        using Lab.Lab lab = new(guests: 0);
        int pid = lab.Show().Forwarder.Pid!.Value;
        const int niceField = 19 - 2;       // proc_pid_stat(5), counted behind the name, which may hold spaces
        string[] loops = [.. Directory.EnumerateDirectories($"/proc/{pid}/task").Select(t => File.ReadAllText(Path.Combine(t, "stat")))
            .Where(s => s.Contains("(packet-loop-", StringComparison.Ordinal))];
        Assert.Equal(lab.Show().Forwarder.Workers, loops.Length);
        Assert.All(loops, l => Assert.Equal("-20", l[(l.LastIndexOf(')') + 2)..].Split(' ')[niceField - 1]));
        string group = $"/proc/{pid}/autogroup";
        if (File.Exists(group))
            Assert.EndsWith("nice -20", File.ReadAllText(group).TrimEnd());
    }

    [Fact]
    public void A_daemon_that_finds_a_forwarder_standing_still_replaces_it()
    {
        using Lab.Lab lab = new(guests: 2);
        lab.CreateNetwork("lan", "afxdp");
        lab.PlugAll("lan", "afxdp");
        int pid = lab.Show().Forwarder.Pid!.Value;
        lab.EndDaemon(SIGKILL);
        Lab.Lab.Signal(pid, SIGSTOP);
        lab.StartDaemon();
        lab.WaitForPath("lan", "afxdp");
        Assert.NotEqual(pid, lab.Show().Forwarder.Pid);
        Assert.DoesNotContain(pid, lab.Forwarders());
    }

    [Fact]
    [Trait("rung", "minimum")]
    public void Pins_of_another_layout_are_replaced_without_detaching()
    {
        using Lab.Lab lab = new(guests: 2);
        lab.CreateNetwork("lan", "afxdp");
        lab.PlugAll("lan", "afxdp");
        Guest a = lab.Guests[0], b = lab.Guests[1];
        a.AddAddress();
        b.AddAddress();
        a.Netns.Run("ping", "-c", "2", "-i", "0.2", b.Ip);
        string instance = Directory.EnumerateDirectories(Path.Combine(lab.Bpffs, "xenfastpath")).Single();
        string current = $"v{Dataplane.Layout.Version}";
        string[] links = LinkIds(lab, Path.Combine(instance, current));
        // XDP and policy of two ports; without tcx (before kernel 6.6) the policy is a filter, which needs no pin.
        Assert.Equal(Environment.OSVersion.Version >= new Version(6, 6) ? 4 : 2, links.Length);
        using Prober prober = new(a, b, count: 4000);
        Tool.Eventually(() => prober.Sent > 500, "requests run");
        lab.EndDaemon(SIGKILL);
        Tool.Run("mv", Path.Combine(instance, current), Path.Combine(instance, "v0"));
        lab.StartDaemon();
        prober.FinishWith(20 + Lab.Lab.LossMax(4000));
        lab.WaitForPath("lan", "afxdp");
        Assert.Equal(links, LinkIds(lab, Path.Combine(instance, current)));
        Assert.False(Directory.Exists(Path.Combine(instance, "v0")));
        lab.Sync();
        (int sent, long fast) = lab.PingFast(a, b, 500, intervalMs: 2);
        Assert.True(fast > sent * 98 / 100 - Lab.Lab.LossMax(sent));
    }

    [Fact]
    public void Room_for_another_number_of_addresses_takes_other_tables_and_detaches_nothing()
    {
        using Lab.Lab lab = new(guests: 2);
        lab.CreateNetwork("lan", "redirect");
        lab.PlugAll("lan", "redirect");
        Guest a = lab.Guests[0], b = lab.Guests[1];
        a.AddAddress();
        b.AddAddress();
        string instance = Directory.EnumerateDirectories(Path.Combine(lab.Bpffs, "xenfastpath")).Single();
        string usual = Path.Combine(instance, $"v{Dataplane.Layout.Version}"), smaller = usual + "-macs2048";
        string[] links = LinkIds(lab, usual);
        foreach ((string folder, int macs, string[] arguments) in ((string, int, string[])[])[(smaller, 2048, ["--macs-max", "2048"]), (usual, 131_072, [])])
        {
            lab.EndDaemon();
            lab.StartDaemon(arguments);
            lab.WaitForPath("lan", "redirect");
            Assert.Equal([folder], Directory.EnumerateDirectories(instance));
            Assert.Equal(links, LinkIds(lab, folder));
            string map = Tool.Run("bpftool", "-j", "map", "show", "pinned", Path.Combine(folder, "xfp_fdb"));
            Assert.Equal(macs / 2 + 1, JsonDocument.Parse(map).RootElement.GetProperty("max_entries").GetInt32());
            a.Netns.Run("ping", "-c", "2", "-i", "0.2", b.Ip);
            lab.Sync();
            long before = lab.VifOf(a).Counters!.FastRxFrames;
            int sent = Lab.Lab.Ping(a, b, 200, intervalMs: 2);
            Assert.True(lab.VifOf(a).Counters!.FastRxFrames - before > sent * 98 / 100 - Lab.Lab.LossMax(sent));
        }
    }

    /// <summary>The kernel's numbers of the pinned links: the same number is the same attachment.</summary>
    private static string[] LinkIds(Lab.Lab lab, string folder) =>
        [.. Directory.EnumerateFiles(folder, "link-*").Order(StringComparer.Ordinal).Select(pin =>
            Path.GetFileName(pin) + " " + JsonDocument.Parse(Tool.Run("bpftool", "-j", "link", "show", "pinned", pin)).RootElement.GetProperty("id"))];

    /// <summary>What would differ if a bridge were rebuilt, a port moved or a program detached.</summary>
    private static string Links(Lab.Lab lab)
    {
        JsonElement links = JsonDocument.Parse(lab.Dom0.Run("ip", "-details", "-json", "link", "show")).RootElement;
        return string.Join('\n', links.EnumerateArray().Select(l => string.Join(' ',
            Word(l, "ifindex"), Word(l, "ifname"), Word(l, "master"), Word(l, "ifalias"), Word(l, "address"),
            l.TryGetProperty("xdp", out JsonElement xdp) ? "xdp mode " + Word(xdp, "mode") : "")));

        static string Word(JsonElement e, string name) => e.TryGetProperty(name, out JsonElement value) ? value.ToString() : "-";
    }
}
