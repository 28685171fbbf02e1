// Guests' ports come up when everything else is done.
using XenFastPath.Model;
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
}
