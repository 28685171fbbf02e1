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
    public void Vlans()
    {
        _host.AddNic("eth0", 1, mtu: 9000);
        _host.AddNic("enp193s0f0np0", 2);
        _host.AddVeth("vif1.0");
        Step("create lan and prod, tag 100 of eth0 for prod", () =>
        {
            _host.Create("lan");
            _host.Create("prod");
            _host.Tag("eth0", 100, _host.State.NetworkOf("prod"));
        });
        Step("eth0 serves lan too; a guest of prod", () =>
        {
            _host.Connect("eth0", Lan);
            _host.Plug("vif1.0", _host.State.NetworkOf("prod"));
        });
        Step("somebody has tag 7 of eth0", () => _host.Kernel.Add(new LinkInfo
        {
            Name = "storage", Kind = "vlan", Vlan = new VlanData(7, 0x8100), LinkIndex = _host.Kernel.Find("eth0")!.Index,
        }));
        Step("a name that is too long", () => _host.Tag("enp193s0f0np0", 4000, _host.Create("long")));
        Step("somebody deletes eth0.100", () => _host.Kernel.Vanish(_host.Kernel.Find("eth0.100")!.Index));
        Step("vlan destroy", () => _host.State = _host.State.Remove(_host.State.VlanOf("eth0.100")));
        Step("destroy long with its vlan", () => _host.State = _host.State.Remove(_host.State.NetworkOf("long")));
        Check("vlans");
    }

    [Fact]
    public void A_trunks_mtu_is_raised_before_those_of_its_vlans()
    {
        _host.AddNic("eth1", 1);
        Network prod = _host.Create("prod");
        _host.Connect("eth1", _host.Create("lan"));
        _host.Tag("eth1", 100, prod);
        _host.Converge();
        Step("mtu of prod", () => _host.State = _host.State.Change(prod with { Mtu = 9000 }));
        Step("mtu of prod, smaller", () => _host.State = _host.State.Change(_host.State.NetworkOf("prod") with { Mtu = 1400 }));
        Check("vlan-mtu");
    }

    [Fact]
    public void Bonds()
    {
        _host.AddNic("eth0", 1);
        _host.AddNic("eth1", 2);
        Step("lan by eth0, prod by tag 100 of eth0", () =>
        {
            _host.Connect("eth0", _host.Create("lan"));
            _host.Tag("eth0", 100, _host.Create("prod"));
        });
        Step("bond of eth0 and eth1", () => _host.Bond("bond0", BondingMode.ActiveBackup, Lan, "eth0", "eth1"));
        Step("somebody takes eth1 out", () => _host.Kernel.Edit(_host.Kernel.Find("eth1")!.Index, l => l with { MasterIndex = 0, BondSlave = null }));
        LinkInfo eth0 = _host.Kernel.Find("eth0")!, foreign = _host.AddBridge("virbr0");
        Step("somebody has eth0 in virbr0", () => _host.Kernel.Edit(eth0.Index, l => l with { MasterIndex = foreign.Index, BondSlave = null }));
        Step("and takes it out", () => _host.Kernel.Edit(eth0.Index, l => l with { MasterIndex = 0 }));
        _host.Kernel.Vanish(foreign.Index);
        Bond Bond() => _host.State.BondOf("bond0");
        Step("balance-slb", () => _host.State = _host.State.Change(Bond() with { Mode = BondingMode.BalanceSlb }));
        Step("lacp, updelay 0", () => _host.State = _host.State.Change(Bond() with { Mode = BondingMode.Lacp, Properties = new() { UpDelayMs = 0 } }));
        Step("lacp-time fast", () => _host.State = _host.State.Change(Bond() with { Properties = new() { UpDelayMs = 0, LacpFast = true } }));
        BondProperties fast = Bond().Properties;
        Step("use-carrier false, lacp-aggregation-key 7",
            () => _host.State = _host.State.Change(Bond() with { Properties = fast with { UseCarrier = false, LacpAggregationKey = 7 } }));
        Step("and neither", () => _host.State = _host.State.Change(Bond() with { Properties = fast }));
        Step("bond destroy", () => _host.State = _host.State.Remove(Bond()));
        Assert.Equal(["eth0", "eth0.100", "eth1", "lan", "prod"], _host.Kernel.Links.Select(l => l.Name).Order(StringComparer.Ordinal));
        Check("bonds");
    }

    [Fact]
    public void Bonds_on_the_fast_path()
    {
        LinkInfo eth0 = _host.AddNic("eth0", 1), eth1 = _host.AddNic("eth1", 2);
        void Active(LinkInfo member) => _host.Kernel.Edit(_host.Kernel.Find("bond0")!.Index,
            l => l with { Bond = l.Bond! with { ActiveSlaveIndex = member.Index } });
        void Slave(LinkInfo member, BondSlaveState state, BondMiiStatus mii) => _host.Kernel.Edit(member.Index,
            l => l with { BondSlave = l.BondSlave! with { State = state, MiiStatus = mii } });
        Bond Bond() => _host.State.BondOf("bond0");
        Step("a bond of eth0 and eth1 in lan, afxdp", () =>
        {
            _host.Create("lan", datapath: Datapath.Afxdp);
            _host.Bond("bond0", BondingMode.ActiveBackup, Lan, "eth0", "eth1");
        });
        Step("tag 100 of it in prod, afxdp", () => _host.Tag("bond0", 100, _host.Create("prod", datapath: Datapath.Afxdp)));
        Step("the kernel uses eth0", () => Active(eth0));
        Step("and eth1", () => Active(eth1));
        void Paths(Datapath datapath) => _host.State = _host.State.Change(Lan with { Datapath = datapath })
            .Change(_host.State.NetworkOf("prod") with { Datapath = datapath });
        Step("datapath bridge", () => Paths(Datapath.Bridge));
        Step("datapath afxdp, but eth0 cannot bind", () =>
        {
            _host.FastPath.Unfit.Add(eth0.Index);
            Paths(Datapath.Afxdp);
        });
        Step("it can, and is forgiven", () =>
        {
            _host.FastPath.Unfit.Clear();
            _host.FastPath.Forgive(eth0.Index);
        });
        Step("lacp", () => _host.State = _host.State.Change(Bond() with { Mode = BondingMode.Lacp, Properties = new() }));
        Step("both distribute", () => new[] { eth0, eth1 }.ToList().ForEach(m => Slave(m, BondSlaveState.Active, BondMiiStatus.Up)));
        Step("eth1 does not", () => Slave(eth1, BondSlaveState.Backup, BondMiiStatus.Up));
        Step("balance-slb", () => _host.State = _host.State.Change(Bond() with { Mode = BondingMode.BalanceSlb, Properties = new() }));
        Step("lan on the bridge: prod alone is fast", () => _host.State = _host.State.Change(Lan with { Datapath = Datapath.Bridge }));
        Step("bond destroy", () => _host.State = _host.State.Remove(Bond()));
        Check("bonds-afxdp");
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
    public void Tags_in_frames()
    {
        int[] cards = [.. Enumerable.Range(0, 3).Select(n => _host.AddNic($"eth{n}", n + 1).Index)];
        _host.Kernel.StrippingTags.UnionWith([cards[0], cards[2]]);
        Step("lan by eth0, which takes tags out", () => _host.Connect("eth0", _host.Create("lan", datapath: Datapath.Afxdp)));
        Assert.Equal([cards[0]], _host.State.TagsKept.Select(c => c.Ifindex));
        Step("mtu over what a buffer holds", () => _host.State = _host.State.Change(Lan with { Mtu = 9000 }));
        Assert.Empty(_host.State.TagsKept);
        Step("and what it holds", () => _host.State = _host.State.Change(Lan with { Mtu = 1500 }));
        Step("pif unplug", () => _host.State = _host.State.Change(_host.State.PifOf("eth0") with { IsPlugged = false }));
        Step("pif plug", () => _host.Connect("eth0", Lan));
        Step("somebody deletes lan: eth0 is on its way", () => _host.Kernel.Vanish(_host.Kernel.Find("lan")!.Index));
        Step("a bond of eth0 and eth1, which left tags in the frames before", () => _host.Bond("bond0", BondingMode.ActiveBackup, Lan, "eth0", "eth1"));
        Step("bond destroy", () => _host.State = _host.State.Remove(_host.State.BondOf("bond0")));
        Step("the bond once more", () => _host.Bond("bond0", BondingMode.ActiveBackup, Lan, "eth0", "eth1"));
        Step("destroy lan", () => _host.State = _host.State.Remove(Lan));
        Assert.DoesNotContain(cards[1], _host.Kernel.StrippingTags);
        Step("bond destroy", () => _host.State = _host.State.Remove(_host.State.BondOf("bond0")));
        Step("lan by eth0 again", () => _host.Connect("eth0", _host.Create("lan", datapath: Datapath.Afxdp)));
        Step("no pif, and forget it", () =>
        {
            _host.State = _host.State.Disconnect(Lan);
            _host.State = _host.State.Remove(_host.State.PifOf("eth0"));
        });
        _host.Kernel.HidingTags.Add(cards[2]);
        Step("eth2 takes tags out whatever it is told", () => _host.Connect("eth2", Lan));
        Step("datapath bridge", () => _host.State = _host.State.Change(Lan with { Datapath = Datapath.Bridge }));
        Assert.Equal([cards[0], cards[2]], _host.Kernel.StrippingTags.Order());
        Assert.Empty(_host.State.TagsKept);
        Check("tags");
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
