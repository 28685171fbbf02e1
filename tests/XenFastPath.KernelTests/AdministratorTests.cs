// What an administrator does to a dom0 that is not as the text book has it: objects that cannot be applied, bridges and devices
// that were there before, odd MTUs. Nothing of theirs may get lost, and one fault stays one fault.
using System.Text.Json;
using XenFastPath.Api;
using XenFastPath.KernelTests.Lab;

namespace XenFastPath.KernelTests;

[Trait("rung", "minimum")]
public sealed class AdministratorTests
{
    private const int SIGSTOP = 19, SIGCONT = 18;

    [Fact]
    public void What_cannot_be_applied_hinders_nothing_else_and_heals()
    {
        using Lab.Lab lab = new(guests: 3);
        lab.CreateNetwork("lan", "bridge");
        lab.Plug(lab.Guests[0], "lan");
        lab.Plug(lab.Guests[1], "lan");
        // A macvlan takes the device's receive handler: from now on the bridge is refused it (EBUSY).
        Lab.Lab.Signal(lab.Daemon!.Id, SIGSTOP);
        lab.Dom0.Run("ip", "link", "set", "vif1.0", "nomaster");
        lab.Dom0.Run("ip", "link", "add", "link", "vif1.0", "name", "mv0", "type", "macvlan");
        Lab.Lab.Signal(lab.Daemon.Id, SIGCONT);
        Tool.Eventually(() => Faults(lab) > 0, "the fault is logged");
        lab.CreateNetwork("other", "bridge");
        lab.Plug(lab.Guests[2], "other");
        lab.Call(ApiMethods.VifUnplug, new("vif2.0"));
        for (int i = 0; i < 50; i++)
            lab.Dom0.Run("ip", "link", "set", "mv0", "mtu", $"{1400 + i}");
        lab.Sync();
        Assert.Equal(1, Faults(lab));
        Assert.Equal(["lan", "other"], lab.Call(ApiMethods.NetworkList, new()).Select(n => n.Label));
        Assert.Equal("other", lab.VifOf(lab.Guests[2]).Network);
        lab.Dom0.Run("ip", "link", "del", "mv0");
        Tool.Eventually(() => Master(lab, "vif1.0") == "lan", "the port comes back by itself", 70);
    }

    [Fact]
    public void A_device_that_was_refused_is_as_it_was()
    {
        using Lab.Lab lab = new(guests: 1);
        lab.CreateNetwork("lan", "bridge");
        // The bridge takes no device that carries a macvlan; that shows only when it is asked, after MTU and addresses.
        lab.Dom0.Run("ip", "link", "set", "vif1.0", "mtu", "1400");
        lab.Dom0.Run("ip", "link", "add", "link", "vif1.0", "name", "mv0", "type", "macvlan");
        string before = Facts(lab, "vif1.0");
        Assert.Contains("inet6_addr_gen_mode eui64", before);
        (int status, string output) = lab.Xfp("vif", "plug", "vif1.0", "--network", "lan");
        Assert.Equal(1, status);
        Assert.StartsWith("xfp: vif1.0: ", output);
        Assert.Contains("set mtu of vif1.0 to 1500", lab.Log());
        Assert.Equal(before, Facts(lab, "vif1.0"));
        Assert.Empty(lab.Network("lan").Vifs);
    }

    [Fact]
    public void A_refused_adoption_leaves_the_uplink_in_its_bridge()
    {
        Assert.SkipUnless(Environment.OSVersion.Version >= new Version(6, 6), "without tcx (kernel 6.6) there is no pin whose failure could refuse it");
        using Lab.Lab lab = new(guests: 0);
        using Guest world = lab.AddWorld();
        lab.Dom0.Run("ip", "link", "add", "br1", "type", "bridge");
        lab.Dom0.Run("ip", "link", "set", "eth0", "up", "master", "br1");
        string before = Facts(lab, "eth0");
        Tool.Run("umount", "--lazy", lab.Bpffs);    // the policy hook cannot be pinned any more
        (int status, _) = lab.Xfp("network", "create", "LAN", "--bridge", "br1", "--pif", "eth0");
        Assert.Equal(1, status);
        Assert.Equal("br1", Master(lab, "eth0"));
        Assert.Equal(before, Facts(lab, "eth0"));
        Assert.Empty(lab.Call(ApiMethods.NetworkList, new()));
        Assert.Empty(lab.Call(ApiMethods.PifList, new()));
    }

    [Fact]
    public void An_adopted_uplink_leaves_when_another_takes_its_place()
    {
        using Lab.Lab lab = new(guests: 0);
        using Guest world = lab.AddWorld(), other = lab.AddWorld("eth1", 201);
        lab.Dom0.Run("ip", "link", "add", "br0", "type", "bridge");
        lab.Dom0.Run("ip", "link", "set", "eth0", "up", "master", "br0");
        lab.CreateNetwork("LAN", "bridge", pif: "eth0", bridge: "br0");
        lab.Call(ApiMethods.NetworkSet, new("LAN", Pif: "eth1"));
        Assert.Equal("", Master(lab, "eth0"));
        Assert.Equal("br0", Master(lab, "eth1"));
        lab.Call(ApiMethods.NetworkSet, new("LAN", Pif: "eth1"));
        lab.Call(ApiMethods.NetworkSet, new("LAN", NoPif: true));
        Assert.Equal("", Master(lab, "eth1"));
        Assert.Contains("inet6_addr_gen_mode eui64", Facts(lab, "eth1"));
    }

    [Fact]
    public void A_label_that_cannot_be_a_bridge_name_adopts_nobodys_bridge()
    {
        using Lab.Lab lab = new(guests: 0);
        lab.Dom0.Run("ip", "link", "add", "xapi0", "type", "bridge");
        NetworkInfo network = lab.CreateNetwork("My LAN", "bridge");
        Assert.Equal("xapi1", network.Bridge);
        Assert.False(network.BridgeAdopted);
    }

    [Fact]
    public void An_adopted_bridge_keeps_its_address()
    {
        using Lab.Lab lab = new(guests: 1);
        lab.Dom0.Run("ip", "link", "add", "br0", "type", "bridge");
        lab.Dom0.Run("ip", "link", "add", "up0", "address", "52:54:00:00:00:01", "type", "veth", "peer", "name", "up1");
        lab.Dom0.Run("ip", "link", "set", "up0", "master", "br0");
        lab.Dom0.Run("ip", "link", "set", "vif1.0", "address", "02:00:00:00:00:01");
        Assert.Contains("address 52:54:00:00:00:01", Facts(lab, "br0"));
        lab.CreateNetwork("LAN", "bridge", bridge: "br0");
        lab.Plug(lab.Guests[0], "LAN");
        Assert.Contains("address 52:54:00:00:00:01", Facts(lab, "br0"));
    }

    [Fact]
    public void A_software_pif_stays_the_same_whatever_its_address_and_goes_with_its_device()
    {
        using Lab.Lab lab = new(guests: 1);
        using Guest world = lab.AddWorld();
        lab.CreateNetwork("LAN", "bridge", pif: "eth0");
        lab.Dom0.Run("ip", "link", "set", "eth0", "address", "02:00:00:00:77:01");
        Tool.Eventually(() => lab.Network("LAN").Pif is { Device: "eth0", Mac: "02:00:00:00:77:01" }, "the address is noticed");
        Assert.Equal("LAN", Master(lab, "eth0"));
        lab.Dom0.Run("ip", "link", "del", "eth0");
        Tool.Eventually(() => lab.Network("LAN").Pif is { State: "missing", Device: "eth0" }, "the pif is missed");
        Assert.Equal("", Master(lab, "LAN"));
    }

    [Fact]
    public void A_network_may_have_an_mtu_that_ipv6_does_not_bear()
    {
        using Lab.Lab lab = new(guests: 2);
        lab.CreateNetwork("small", "bridge", mtu: 1000);
        lab.PlugAll("small", "bridge");
        lab.Call(ApiMethods.NetworkSet, new("small", Mtu: 1500));
        Assert.Contains("mtu 1500", Facts(lab, "small"));
        lab.Call(ApiMethods.NetworkSet, new("small", Mtu: 1100));
        Assert.Contains("mtu 1100", Facts(lab, "vif2.0"));
    }

    private static int Faults(Lab.Lab lab) => lab.Log().Split('\n').Count(l => l.Contains("EBUSY", StringComparison.Ordinal));

    private static string Master(Lab.Lab lab, string device) => Word(Link(lab, device), "master");

    /// <summary>What joining a Network changes of a device.</summary>
    private static string Facts(Lab.Lab lab, string device)
    {
        JsonElement link = Link(lab, device);
        string[] words = ["mtu", "master", "address", "inet6_addr_gen_mode"];
        bool isUp = link.GetProperty("flags").ToString().Contains("\"UP\"", StringComparison.Ordinal);
        return string.Join(", ", words.Select(w => $"{w} {Word(link, w)}")) + (isUp ? ", up" : "");
    }

    private static JsonElement Link(Lab.Lab lab, string device) =>
        JsonDocument.Parse(lab.Dom0.Run("ip", "-details", "-json", "link", "show", device)).RootElement.EnumerateArray().First();

    private static string Word(JsonElement element, string name) => element.TryGetProperty(name, out JsonElement value) ? value.ToString() : "";
}
