// The whole desired state from a file: applied, planned, and undone when nobody confirms it, whoever is still alive then.
using System.Diagnostics;
using XenFastPath.Api;
using XenFastPath.KernelTests.Lab;

namespace XenFastPath.KernelTests;

public sealed class DeclareTests
{
    private const int LongSeconds = 3600;

    /// <summary>lan becomes larger and loses vif2.0 to a new Network.</summary>
    private const string Changed = """
        {
          "networks": [{"label": "lan", "mtu": 1400}, {"label": "prod", "bridge": "prodbr"}],
          "pifs": [{"device": "eth0", "network": "lan"}],
          "vifs": [{"device": "vif1.0", "network": "lan"}, {"device": "vif2.0", "network": "prod"}]
        }
        """;

    [Fact]
    public void What_is_exported_is_applied_without_a_change_and_elsewhere_makes_the_same()
    {
        using Lab.Lab lab = Start();
        string exported = lab.Xfp("export").Output;
        string file = Write(lab, exported);
        Assert.Equal((0, "nothing to do\n"), lab.Xfp("plan", file));
        Assert.Equal((0, "nothing to do\n"), lab.Xfp("apply", file));
        Guid uuid = lab.Network("lan").Uuid;
        // Another host: the same devices, nothing wanted.
        lab.Xfp("apply", Write(lab, "{\"vifs\": [], \"networks\": [{\"label\": \"lan\"}]}"));
        Assert.Equal(0, lab.Xfp("apply", Write(lab, "{}")).Status);
        Assert.Empty(lab.Call(ApiMethods.NetworkList, new()));
        Assert.DoesNotContain("master", lab.Dom0.Run("ip", "link", "show"));
        (int status, string output) = lab.Xfp("apply", Write(lab, exported));
        Assert.True(status == 0, output);
        Assert.Contains("create network lan: bridge lan, mtu 1500, datapath bridge", output);
        Assert.Equal(exported, lab.Xfp("export").Output);
        Assert.NotEqual(uuid, lab.Network("lan").Uuid);
        Forwards(lab, "lan");
    }

    [Fact]
    public void A_plan_changes_nothing_and_the_second_apply_neither()
    {
        using Lab.Lab lab = Start();
        string file = Write(lab, Changed), before = Machine(lab);
        (int status, string plan) = lab.Xfp("plan", file);
        Assert.Equal(0, status);
        Assert.Contains("create network prod: bridge prodbr, mtu 1500, datapath auto\n", plan);
        Assert.Contains("change vif vif2.0: network prod\n", plan);
        Assert.Contains("prodbr", plan.Split('\n').Last(l => l.Contains("create bridge", StringComparison.Ordinal)));
        Assert.Equal(before, Machine(lab));
        Guid uuid = lab.Network("lan").Uuid, vif = lab.VifOf(lab.Guests[1]).Uuid;
        Assert.Equal((0, plan), lab.Xfp("apply", file));
        Assert.Equal((uuid, 1400, vif), (lab.Network("lan").Uuid, lab.Network("lan").Mtu, lab.Network("prod").Vifs.Single().Uuid));
        Assert.Contains("master prodbr", lab.Dom0.Run("ip", "link", "show", "vif2.0"));
        string after = Machine(lab);
        Assert.Equal((0, "nothing to do\n"), lab.Xfp("apply", file));
        Assert.Equal((0, "nothing to do\n"), lab.Xfp("apply", file, "--confirm", "1"));
        Assert.Equal(after, Machine(lab));
        Assert.Empty(lab.Guards());
    }

    [Theory]
    [InlineData("{\"networks\": [{\"label\": \"lan\"},\n {\"label\": \"new\", \"mtu\": 5}]}", "new: networks[1] (line 2): MTU 5 is out of range")]
    [InlineData("{\"networks\": [{\"label\": \"new\"}]}", "lan: is not in the document, but vif1.0, vif2.0 are plugged into it")]
    [InlineData("{\"networks\": [{\"label\": \"lan\"}], \"vifs\": [{\"device\": \"nope\", \"network\": \"lan\"}]}", "nope: vifs[0] (line 1): no such device")]
    [InlineData("{\"networks\": [{\"label\": \"lan\"}], \"pifs\": [{\"device\": \"lan\"}]}", "lan: pifs[0] (line 1): is a bridge, not a network card")]
    [InlineData("{\"networks\": [{\"label\": \"lan\"}], \"pifs\": [{\"device\": \"x\", \"mac\": \"02:00:00:00:99:99\"}]}",
        "x: pifs[0] (line 1): no device has 02:00:00:00:99:99")]
    [InlineData("{\"networks\": [{\"label\": \"x\", \"bridge\": \"eth1\"}]}", "eth1: networks[0] (line 1): a bridge name must not")]
    [InlineData("networks:", "document: line 1: ")]
    public void What_is_wrong_is_refused_with_its_place_and_changes_nothing(string document, string reason)
    {
        using Lab.Lab lab = Start();
        string file = Write(lab, document), before = Machine(lab);
        foreach (string[] command in (string[][])[["plan", file], ["apply", file], ["apply", file, "--confirm", "60"]])
        {
            (int status, string output) = lab.Xfp(command);
            Assert.Equal(1, status);
            Assert.StartsWith("xfp: " + reason, output);
        }

        Assert.Equal(before, Machine(lab));
        Assert.Empty(lab.Guards());
    }

    [Fact]
    public void Not_confirmed_in_time_it_is_undone_and_adopted_ports_are_as_they_were()
    {
        using Lab.Lab lab = Start();
        lab.Dom0.Run("ip", "link", "add", "old0", "type", "bridge");
        lab.Dom0.Run("ip", "link", "set", "old0", "up");
        lab.Dom0.Run("ip", "link", "set", "vif3.0", "up", "master", "old0");
        Tool.Eventually(() => lab.Dom0.Run("ip", "-brief", "link", "show", "old0").Contains(" UP ", StringComparison.Ordinal), "old0 is up");
        string exported = lab.Xfp("export").Output, before = Machine(lab);
        string file = Write(lab, Changed
            .Replace("{\"label\": \"prod\"", "{\"label\": \"old\", \"bridge\": \"old0\", \"mtu\": 1300}, {\"label\": \"prod\"", StringComparison.Ordinal)
            .Replace("\"vifs\": [", "\"vifs\": [{\"device\": \"vif3.0\", \"network\": \"old\"}, ", StringComparison.Ordinal));
        (int status, string output) = lab.Xfp("apply", file, "--confirm", "2");
        Assert.Equal(0, status);
        Assert.Matches("\nconfirm within [12] s: xfp confirm\n$", output);
        Tool.Eventually(() => lab.Show().Pending is null, "it is rolled back");
        Assert.Equal(exported, lab.Xfp("export").Output);
        Tool.Eventually(() => Machine(lab) == before, $"the machine is as it was:\n{before}\nnot\n{Machine(lab)}");
        Tool.Eventually(() => !lab.Guards().Any(), "the guard ends");
        Assert.Contains("state: rolled back: not confirmed in time", lab.Log());
    }

    [Fact]
    public void When_the_daemon_is_killed_the_guard_undoes_it()
    {
        using Lab.Lab lab = Start();
        string exported = lab.Xfp("export").Output;
        Assert.Equal(0, lab.Xfp("apply", Write(lab, Changed), "--confirm", "3").Status);
        Assert.Single(lab.Guards());
        lab.EndDaemon(9);
        Assert.Contains("master prodbr", lab.Dom0.Run("ip", "link", "show", "vif2.0"));
        Tool.Eventually(() => !lab.Guards().Any(), "the guard has done its work", 20);
        Assert.Contains("master lan", lab.Dom0.Run("ip", "link", "show", "vif2.0"));
        Assert.DoesNotContain("prodbr", lab.Dom0.Run("ip", "link", "show", "type", "bridge"));
        Assert.False(File.Exists(Path.Combine(lab.StateDir, "rollback.json")));
        lab.StartDaemon();
        Assert.Equal(exported, lab.Xfp("export").Output);
        Forwards(lab, "lan");
    }

    [Fact]
    public void A_guard_that_cannot_write_tries_again_in_its_own_time()
    {
        using Lab.Lab lab = new(guests: 1, startDaemon: false);
        OnSmallDisk(lab, () =>
        {
            Assert.Equal(0, lab.Xfp("apply", Write(lab, "{\"networks\": [{\"label\": \"lan\"}]}"), "--confirm", "3").Status);
            lab.EndDaemon(9);
            string rest = Fill(lab, pagesLeft: 0);
            int Tries() => lab.Log().Split("rollback: in force, but not on the disk yet").Length - 1;
            Tool.Eventually(() => Tries() > 0, "the guard tries", 20);
            Assert.DoesNotContain("lan", lab.Dom0.Run("ip", "link", "show", "type", "bridge"));
            Stopwatch watch = Stopwatch.StartNew();
            Tool.Eventually(() => watch.Elapsed > TimeSpan.FromSeconds(3), "time passes");
            Assert.Equal(1, Tries());
            File.Delete(rest);
            Tool.Eventually(() => !lab.Guards().Any(), "the guard has done its work", 20);
            Assert.False(File.Exists(Path.Combine(lab.StateDir, "rollback.json")));
        });
    }

    [Theory]
    [InlineData(2)]
    [InlineData(3, "--confirm", "3600")]        // one page for what was before
    public void When_the_disk_is_full_at_the_second_step_the_first_is_undone_too(int pagesLeft, params string[] confirm)
    {
        using Lab.Lab lab = new(guests: 1, startDaemon: false);
        lab.AddWorld();
        OnSmallDisk(lab, () =>
        {
            lab.CreateNetwork("lan", "bridge", pif: "eth0");
            Forwards(lab, "lan");
            // The state before has one page; those after both steps, of which the second forgets eth0, have two.
            string document = "{\"networks\": [{\"label\": \"lan\"}"
                + string.Concat(Enumerable.Range(0, 20).Select(n => $", {{\"label\": \"{new string('x', 60)}{n}\", \"bridge\": \"br{n}\"}}")) + "]}";
            string file = Write(lab, document), before = Machine(lab);
            Fill(lab, pagesLeft);
            (int status, string output) = lab.Xfp(["apply", file, .. confirm]);
            Assert.Equal(1, status);
            Assert.Contains("No space left on device", output);
            Assert.Contains("create bridge br19", lab.Log());       // the first step was done
            Tool.Eventually(() => Machine(lab) == before, $"the machine is as it was:\n{before}\nnot\n{Machine(lab)}");
            Assert.Null(lab.Show().Pending);
            Tool.Eventually(() => !lab.Guards().Any(), "the guard ends");
            lab.EndDaemon();
            lab.StartDaemon();
            Tool.Eventually(() => Machine(lab) == before, "so it is on the disk");
        });
    }

    [Fact]
    public void Confirmed_it_stays_and_the_guard_ends()
    {
        using Lab.Lab lab = Start();
        Assert.Equal(1, lab.Xfp("confirm").Status);
        Assert.Equal(1, lab.Xfp("rollback").Status);
        Assert.Equal(0, lab.Xfp("apply", Write(lab, Changed), "--confirm", $"{LongSeconds}").Status);
        Assert.InRange(lab.Show().Pending!.SecondsLeft, LongSeconds - 60, LongSeconds);
        Assert.Contains("an apply is rolled back in", lab.Xfp("doctor").Output);
        Assert.Equal((0, ""), lab.Xfp("confirm"));
        Tool.Eventually(() => !lab.Guards().Any(), "the guard ends");
        Assert.False(File.Exists(Path.Combine(lab.StateDir, "rollback.json")));
        Assert.Null(lab.Show().Pending);
        lab.EndDaemon();
        lab.StartDaemon();
        Assert.Equal("vif2.0", lab.Network("prod").Vifs.Single().Device);
    }

    [Fact]
    public void While_it_waits_only_guests_come_and_go_and_they_survive_the_rollback()
    {
        using Lab.Lab lab = Start();
        string file = Write(lab, Changed);
        Assert.Equal(0, lab.Xfp("apply", file, "--confirm", $"{LongSeconds}").Status);
        foreach (string command in (string[])[$"apply {file} --confirm 5", "network create other", "network set lan --mtu 1300"])
        {
            (int status, string output) = lab.Xfp(command.Split(' '));
            Assert.Equal(1, status);
            Assert.Matches("^xfp: state: an apply waits for its confirmation, [0-9]+ s are left; xfp confirm or xfp rollback first", output);
        }

        lab.Plug(lab.Guests[2], "lan");
        Assert.Contains("destroy network prod", lab.Xfp("rollback").Output);
        Assert.Equal(["vif1.0", "vif2.0", "vif3.0"], lab.Network("lan").Vifs.Select(v => v.Device).Order());
        Tool.Eventually(() => !lab.Guards().Any(), "the guard ends");
    }

    [Fact]
    public void A_restarted_daemon_goes_on_waiting_and_a_rebooted_host_has_rolled_back()
    {
        using Lab.Lab lab = Start();
        string exported = lab.Xfp("export").Output, pending = Path.Combine(lab.StateDir, "rollback.json");
        Assert.Equal(0, lab.Xfp("apply", Write(lab, Changed), "--confirm", $"{LongSeconds}").Status);
        int guard = lab.Guards().Single();
        lab.EndDaemon(9);
        Lab.Lab.Signal(guard, 9);
        Tool.Eventually(() => !lab.Guards().Any(), "the guard is dead");
        lab.StartDaemon();
        Assert.NotNull(lab.Show().Pending);
        guard = Assert.Single(lab.Guards());
        lab.EndDaemon();
        lab.StartDaemon();
        Tool.Eventually(() => lab.Guards().Count() == 1, "the guard that lives is enough");
        Assert.Equal(guard, lab.Guards().Single());
        lab.EndDaemon();
        Lab.Lab.Signal(guard, 9);
        // Another boot.
        string boot = File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim();
        string text = File.ReadAllText(pending), key = $"\"bootId\": \"{boot}\",\n    \"deadlineNs\"";
        Assert.Contains(key, text);
        File.WriteAllText(pending, text.Replace(key, key.Replace(boot, $"{Guid.NewGuid()}", StringComparison.Ordinal), StringComparison.Ordinal));
        lab.StartDaemon();
        Assert.Equal(exported, lab.Xfp("export").Output);
        Assert.Null(lab.Show().Pending);
        Assert.False(File.Exists(pending));
        Assert.DoesNotContain("prodbr", lab.Dom0.Run("ip", "link", "show", "type", "bridge"));
        Assert.Contains("the machine was rebooted before it was confirmed", lab.Log());
    }

    [Fact]
    public void Without_a_daemon_it_can_be_undone_by_hand()
    {
        using Lab.Lab lab = Start();
        string exported = lab.Xfp("export").Output;
        Assert.Equal(0, lab.Xfp("apply", Write(lab, Changed), "--confirm", $"{LongSeconds}").Status);
        Assert.Equal(1, lab.TryDaemon("--rollback").Status);
        lab.EndDaemon();
        // Into the log: a forwarder that it starts keeps the descriptor.
        string arguments = $"--rollback --run-dir {lab.RunDir} --state-dir {lab.StateDir} --bpffs {lab.Bpffs}";
        Tool.Run("/bin/sh", "-c", $"exec nsenter --net={lab.Dom0.Path} {Lab.Lab.Bin}/xenfastpathd {arguments} >>{lab.LogFile} 2>&1");
        Assert.Contains("state: rolled back: asked for", lab.Log());
        Assert.Contains("master lan", lab.Dom0.Run("ip", "link", "show", "vif2.0"));
        lab.StartDaemon();
        Assert.Equal(exported, lab.Xfp("export").Output);
    }

    /// <summary>lan with eth0, vif1.0 and vif2.0; vif3.0 is free.</summary>
    private static Lab.Lab Start()
    {
        Lab.Lab lab = new(guests: 3);
        lab.AddWorld();
        lab.CreateNetwork("lan", "bridge", pif: "eth0");
        lab.Plug(lab.Guests[0], "lan");
        lab.Plug(lab.Guests[1], "lan");
        Forwards(lab, "lan");
        return lab;
    }

    /// <summary>Runs a test with the state on a file system of 16 pages.</summary>
    private static void OnSmallDisk(Lab.Lab lab, Action test)
    {
        Directory.CreateDirectory(lab.StateDir);
        Tool.Run("mount", "-t", "tmpfs", "-o", $"size={16 * Environment.SystemPageSize}", "state", lab.StateDir);
        try
        {
            lab.StartDaemon();
            test();
        }
        finally
        {
            if (lab.Daemon is { HasExited: false })
                lab.EndDaemon(9);
            File.Delete(Path.Combine(lab.StateDir, "rollback.json"));       // a guard ends without it
            Tool.Run("umount", "--lazy", lab.StateDir);     // a guard may not have ended yet; waiting for it could hide why the test failed
        }
    }

    /// <summary>Fills the small disk but for some pages; returns the file that does.</summary>
    private static string Fill(Lab.Lab lab, int pagesLeft)
    {
        string rest = Path.Combine(lab.StateDir, "rest");
        Assert.NotEqual(0, Tool.TryRun("dd", "if=/dev/zero", "of=" + rest, $"bs={Environment.SystemPageSize}").Status);
        using FileStream file = new(rest, FileMode.Open);
        file.SetLength(file.Length - (pagesLeft * Environment.SystemPageSize));
        return rest;
    }

    private static void Forwards(Lab.Lab lab, string network) => lab.WaitForPath(network, "bridge");

    private static string Write(Lab.Lab lab, string document)
    {
        string file = Path.Combine(lab.RunDir, "document.json");
        File.WriteAllText(file, document);
        return file;
    }

    /// <summary>Links, bridge ports and our state, when the kernel has looked at the carrier of the youngest device too.</summary>
    private static string Machine(Lab.Lab lab)
    {
        lab.WaitForOperstates();
        return string.Join('\n', lab.Dom0.Run("ip", "-brief", "link", "show"), lab.Dom0.Run("bridge", "link", "show"), lab.Xfp("export").Output);
    }
}
