// Guests' ports come up when everything else is done, and devices get no IPv6 address of the kernel's making before they come up.
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Tests.Reconcile;

public sealed class SetUpOrderTests
{
    private readonly Host _host = new();

    [Fact]
    public void Guests_come_up_when_all_networks_are_made()
    {
        _host.AddNic("eth0", 1);
        foreach (string label in (string[])["lan", "dmz"])
        {
            Network network = _host.Create(label);
            _host.AddVeth($"vif-{label}");
            _host.Plug($"vif-{label}", network);
        }

        _host.Connect("eth0", _host.State.NetworkOf("lan"));
        IReadOnlyList<PlanAction> actions = _host.Round().Plan.Actions;
        Assert.Equal(["vif-dmz", "vif-lan"], actions.TakeLast(2).OfType<SetUp>().Select(a => a.Device).Order());
        // What is moved to the bridge of an uplink, such as addresses, needs it up.
        Assert.Contains(actions.SkipLast(2), a => a is SetUp { Device: "eth0" });
        Assert.All(_host.Kernel.Links.Where(l => l.Name != "lo"), l => Assert.True(l.IsUp, l.Name));
    }

    [Fact]
    public void A_bridge_makes_no_address_by_itself()
    {
        _host.Create("lan");
        _host.Converge();
        Assert.Equal(["set", "up"], _host.Kernel.AddressModes);
    }

    [Fact]
    public void Without_ipv6_a_bridge_is_made_all_the_same()
    {
        _host.Kernel.HasIpv6 = false;
        _host.Create("lan");
        _host.Converge();
        LinkInfo bridge = Assert.Single(_host.Kernel.Links, l => l.Kind == "bridge");
        Assert.True(bridge.IsUp);
        Assert.Equal(Plan.MarkOf(_host.State.NetworkOf("lan").Uuid), bridge.Alias);
    }
}
