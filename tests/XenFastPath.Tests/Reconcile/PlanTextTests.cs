// Plans as people read them: each scenario's steps with the rounds that they take, in golden/NAME.txt.
using System.Text;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Tests.Api;

namespace XenFastPath.Tests.Reconcile;

public sealed class PlanTextTests
{
    private readonly Host _host = new();
    private readonly StringBuilder _text = new();

    [Fact]
    public void Private_network()
    {
        Step("create lan", () => _host.Create("lan"));
        Step("nothing more", () => { });
        Step("destroy lan", () => _host.State = _host.State.Remove(Lan));
        Check("private-network");
    }

    [Fact]
    public void External_network()
    {
        _host.AddNic("eth0", 1);
        _host.AddVeth("vif1.0");
        Step("create lan with eth0", () => _host.Connect("eth0", _host.Create("lan")));
        Step("plug vif1.0", () => _host.Plug("vif1.0", Lan));
        Step("no pif", () => _host.State = _host.State.Disconnect(Lan));
        Step("eth0 again", () => _host.Connect("eth0", Lan));
        Step("pif unplug", () => _host.State = _host.State.Change(_host.State.PifOf("eth0") with { IsPlugged = false }));
        Step("unplug vif1.0", () => _host.State = _host.State.Remove(_host.State.VifOf("vif1.0")));
        Step("destroy lan", () => _host.State = _host.State.Remove(Lan));
        Assert.Equal(["eth0", "vif1.0"], _host.Kernel.Links.Select(l => l.Name));
        Check("external-network");
    }

    [Fact]
    public void Afxdp()
    {
        LinkInfo eth0 = _host.AddNic("eth0", 1), vif = _host.AddVeth("vif1.0");
        _host.AddVeth("vif2.0");
        _host.Kernel.StrippingTags.Add(eth0.Index);
        Step("create lan, afxdp, with eth0 and vif1.0", () =>
        {
            _host.Connect("eth0", _host.Create("lan", datapath: Datapath.Afxdp));
            _host.Plug("vif1.0", Lan);
        });
        Step("vif2.0 cannot bind", () =>
        {
            _host.FastPath.Unfit.Add(_host.Kernel.Find("vif2.0")!.Index);
            _host.Plug("vif2.0", Lan);
        });
        Step("vif1.0 loses its carrier", () => _host.Kernel.WithoutCarrier.Add(vif.Index));
        Step("and has it again", () => _host.Kernel.WithoutCarrier.Clear());
        Step("vif1.0 is isolated", () => _host.Kernel.Edit(vif.Index, l => l with { BridgePort = new BridgePortData { Isolated = true } }));
        Step("mtu over what a buffer holds", () => _host.State = _host.State.Change(Lan with { Mtu = 9000 }));
        Step("datapath bridge", () => _host.State = _host.State.Change(Lan with { Mtu = 1500, Datapath = Datapath.Bridge }));
        Step("datapath afxdp while eth0 strips tags", () =>
        {
            _host.Kernel.StrippingTags.Add(eth0.Index);
            _host.State = _host.State.Change(Lan with { Datapath = Datapath.Afxdp });
        });
        Check("afxdp");
    }

    [Fact]
    public void Vifs_move()
    {
        _host.AddVeth("vif1.0", mtu: 9000);
        Step("create lan and dmz, plug vif1.0 into lan", () =>
        {
            _host.Create("dmz", datapath: Datapath.Afxdp);
            _host.Plug("vif1.0", _host.Create("lan", mtu: 1400));
        });
        Step("move to dmz", () => _host.State = _host.State.Change(_host.State.VifOf("vif1.0") with { Network = _host.State.NetworkOf("dmz").Uuid }));
        Step("mtu of dmz", () => _host.State = _host.State.Change(_host.State.NetworkOf("dmz") with { Mtu = 1600 }));
        Check("vifs-move");
    }

    [Fact]
    public void Devices_change_without_us()
    {
        LinkInfo eth0 = _host.AddNic("eth0", 1), vif = _host.AddVeth("vif1.0");
        Step("create lan with eth0 and vif1.0", () =>
        {
            _host.Connect("eth0", _host.Create("lan"));
            _host.Plug("vif1.0", Lan);
        });
        Step("eth0 is called eth7, vif1.0 guest, lan lan7", () =>
        {
            _host.Kernel.Edit(eth0.Index, l => l with { Name = "eth7" });
            _host.Kernel.Edit(vif.Index, l => l with { Name = "guest" });
            _host.Kernel.Edit(_host.Kernel.Find("lan")!.Index, l => l with { Name = "lan7" });
        });
        Step("eth7 vanishes, guest goes and another guest comes", () =>
        {
            _host.Kernel.Vanish(eth0.Index);
            _host.Kernel.Vanish(vif.Index);
            _host.AddVeth("guest");
        });
        Step("the card is back, in another name", () => _host.AddNic("eth9", 1));
        Step("the bridge is down, with another mtu", () => _host.Kernel.Edit(_host.Kernel.Find("lan7")!.Index, l => l with { Flags = 0, Mtu = 1000 }));
        Step("the bridge is deleted", () => _host.Kernel.Vanish(_host.Kernel.Find("lan7")!.Index));
        Check("devices-change");
    }

    [Fact]
    public void What_is_there_already()
    {
        LinkInfo bridge = _host.AddBridge("xenbr0"), eth0 = _host.AddNic("eth0", 1), foreign = _host.AddVeth("foreign");
        _host.AddVeth("vif1.0");
        _host.Kernel.Edit(eth0.Index, l => l with { MasterIndex = bridge.Index });
        _host.Kernel.Edit(foreign.Index, l => l with { MasterIndex = bridge.Index });
        Step("adopt xenbr0 with eth0, plug vif1.0", () =>
        {
            _host.Connect("eth0", _host.Create("lan", "xenbr0"));
            _host.Plug("vif1.0", Lan);
        });
        Step("unplug and destroy: bridge, uplink and the foreign port stay", () =>
        {
            _host.State = _host.State.Remove(_host.State.VifOf("vif1.0"));
            _host.State = _host.State.Remove(Lan);
        });
        Assert.Equal([bridge.Index, bridge.Index, 0], new[] { "eth0", "foreign", "vif1.0" }.Select(n => _host.Kernel.Find(n)!.MasterIndex));
        Check("adopted-bridge");
    }

    [Fact]
    public void What_is_in_the_way()
    {
        LinkInfo foreign = _host.AddBridge("virbr0"), vif = _host.AddVeth("vif1.0");
        _host.AddVeth("vif2.0");
        Step("create lan with vif1.0 and vif2.0", () =>
        {
            _host.Plug("vif1.0", _host.Create("lan"));
            _host.Plug("vif2.0", Lan);
        });
        Step("somebody takes vif1.0 into virbr0", () => _host.Kernel.Edit(vif.Index, l => l with { MasterIndex = foreign.Index }));
        Step("unplug vif1.0: it stays there", () => _host.State = _host.State.Remove(_host.State.VifOf("vif1.0")));
        Assert.Equal(foreign.Index, _host.Kernel.Find(vif.Index)!.MasterIndex);
        Step("lan vanishes and a dummy has its name", () =>
        {
            _host.Kernel.Vanish(_host.Kernel.Find("lan")!.Index);
            _host.Kernel.Add(new LinkInfo { Name = "lan", Kind = "dummy", Mtu = 1500 });
        });
        Step("the dummy goes", () => _host.Kernel.Vanish(_host.Kernel.Find("lan")!.Index));
        Step("nobody can hook vif3.0: it stays out", () =>
        {
            _host.FastPath.WithoutHook.Add(_host.AddVeth("vif3.0").Index);
            _host.Plug("vif3.0", Lan);
        }, rounds: 1);
        Assert.Equal(0, _host.Kernel.Find("vif3.0")!.MasterIndex);
        Check("in-the-way");
    }

    private Network Lan => _host.State.NetworkOf("lan");

    /// <summary>Does something, and converges; or only so many rounds, where it cannot converge.</summary>
    private void Step(string what, Action change, int rounds = 0)
    {
        change();
        _text.Append($"{what}\n");
        if (rounds == 0)
            _text.Append(_host.Converge());
        for (int i = 0; i < rounds; i++)
        {
            var (plan, failures) = _host.Round();
            foreach (object line in plan.Actions.Cast<object>().Concat(failures.Select(f => $"failed: {f.Message}")))
                _text.Append($"    {line}\n");
        }
    }

    private void Check(string name) => Golden.Check(Golden.File($"{name}.txt"), _text.ToString());
}
