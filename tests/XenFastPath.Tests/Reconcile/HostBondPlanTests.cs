// This host's own addresses where bonds and VLANs are: they stay on the bridge whose uplink becomes a bond, or they are in the way.
using System.Net;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;
using XenFastPath.Tests.Model;

namespace XenFastPath.Tests.Reconcile;

public sealed class HostBondPlanTests
{
    private static readonly IpConfiguration s_static = IpConfiguration.None with { Ipv4 = new IpFamily(IpMode.Static, "192.0.2.11/24") };

    private readonly Host _host = new();

    private Network Lan => _host.State.NetworkOf("lan");

    private int Eth0 => _host.Kernel.Find("eth0")!.Index;

    public HostBondPlanTests()
    {
        _host.AddNic("eth0", 1);
        _host.AddNic("eth1", 2);
        _host.Kernel.Addresses.Add(new AddressInfo(Eth0, IPAddress.Parse("192.0.2.10"), 24));
        _host.State = _host.State.Add(_host.Look().NewPif(_host.NextUuid(), _host.Kernel.Find("eth1")!));
        _host.Connect("eth0", _host.Create("lan", "xenbr0"));
        _host.State = _host.State.Change(_host.State.PifOf("eth0") with { Ip = s_static });
        _host.Converge();
        Assert.Equal(["192.0.2.10/24 xenbr0", "192.0.2.11/24 xenbr0"],
            _host.Kernel.Addresses.Select(a => $"{a} {_host.Kernel.Find(a.Ifindex)!.Name}"));
    }

    [Fact]
    public void Addresses_stay_on_the_bridge_whose_uplink_becomes_a_bond()
    {
        Bond();
        Plan plan = Plan.Diff(_host.State, _host.Look());
        Assert.Contains(plan.Actions, a => a is CreateBond);
        Assert.Contains(plan.Actions, a => a is DetachPort { Device: "eth0" });
        Assert.DoesNotContain(plan.Actions, a => a is MoveHostAddresses or RemoveHostAddress or AddHostAddress);
    }

    [Fact]
    public void They_stay_when_the_bond_goes_too()
    {
        Bond bond = Bond();
        int xenbr0 = _host.Kernel.Find("xenbr0")!.Index;
        LinkInfo link = _host.Kernel.Add(new LinkInfo
        {
            Name = "bond0",
            Kind = "bond",
            Mtu = 1500,
            MaxMtu = 65535,
            Alias = Plan.MarkOf(bond.Uuid),
            Address = new MacAddress(0x525400000001),
            MasterIndex = xenbr0,
        });
        ((IFastPath)_host.FastPath).Configure(link.Index, "bond0", _host.FastPath.Ports[Eth0] with { IsForwarding = false });
        _host.State = _host.State.Remove(bond);
        Plan plan = Plan.Diff(_host.State, _host.Look());
        Assert.Contains(plan.Actions, a => a is DeleteDevice { Device: "bond0" });
        Assert.DoesNotContain(plan.Actions, a => a is MoveHostAddresses or RemoveHostAddress or AddHostAddress);
    }

    [Fact]
    public void A_bond_that_is_renamed_takes_its_members_back_under_its_new_name()
    {
        Bond();
        _host.Converge();
        _host.Kernel.Edit(_host.Kernel.Find("bond0")!.Index, l => l with { Name = "uplink" });
        _host.Kernel.Edit(_host.Kernel.Find("eth1")!.Index, l => l with { MasterIndex = 0 });
        _host.Converge();
        Assert.Equal("uplink", Assert.Single(_host.State.Bonds).Device);
        Assert.Equal(_host.Kernel.Find("uplink")!.Index, _host.Kernel.Find("eth1")!.MasterIndex);
    }

    [Fact]
    public void What_was_requested_goes_to_the_bond_and_back()
    {
        Bond bond = Bond();
        Assert.Equal((s_static, true), (_host.State.MasterOf(bond).Ip, _host.State.MasterOf(bond).HadAddresses));
        Assert.All(bond.Members, m => Assert.Null(_host.State.PifOf(m).Ip));
        _host.State = _host.State.Remove(bond);
        Assert.Equal((s_static, true), (_host.State.PifOf("eth0").Ip, _host.State.PifOf("eth0").HadAddresses));
        Assert.Null(_host.State.PifOf("eth1").Ip);
        _host.State = _host.State.Change(_host.State.PifOf("eth1") with { Ip = s_static });
        Refusal.Of(() => Bond(), "bond0", "addresses were requested for eth0, eth1, and a bond has those of one; "
            + "pif reconfigure-ip eth1 --mode none --ipv6-mode none first");
    }

    /// <summary>A subinterface that was there before us stays where it is, and the kernel would give it what belongs to the bond's.</summary>
    [Fact]
    public void A_member_with_a_subinterface_of_others_is_refused_also_if_it_was_adopted()
    {
        _host.Kernel.Add(new LinkInfo { Name = "eth1.5", Kind = "vlan", Vlan = new VlanData(5, 0x8100), LinkIndex = _host.Kernel.Find("eth1")!.Index });
        _host.Tag("eth1", 5, _host.Create("five"));
        Refusal.Of(() => Admission.Member(_host.State.PifOf("eth1"), Lan, _host.State, _host.Look()), "eth1",
            "carries eth1.5, which was not made by us; delete it first (ip link del eth1.5)");
    }

    [Fact]
    public void A_member_with_addresses_elsewhere_is_refused_with_the_way_out()
    {
        Observed now = _host.Look();
        Admission.Member(_host.State.PifOf("eth0"), Lan, _host.State, now);
        Network other = new(_host.NextUuid(), 9, "other", "other", 1500, Datapath.Bridge);
        Refusal.Of(() => Admission.Member(_host.State.PifOf("eth0"), other, _host.State, now), "eth0",
            "this host has 192.0.2.10/24 on xenbr0, the bridge of its network lan; take the network's pif away first (xfp network set lan --no-pif)");
        _host.Kernel.Addresses.Add(new AddressInfo(_host.Kernel.Find("eth1")!.Index, IPAddress.Parse("10.5.5.5"), 8));
        Refusal.Of(() => Admission.Member(_host.State.PifOf("eth1"), other, _host.State, _host.Look()), "eth1",
            "carries 10.5.5.5/8, which would stop working in a bond; move it to the bridge of the bond's network first "
            + "(xfp network set other --pif eth1), where it stays");
    }

    [Fact]
    public void A_bond_does_not_go_with_the_only_place_of_this_hosts_addresses()
    {
        Bond bond = Bond();
        _host.Converge();
        Assert.All(_host.Kernel.Addresses, a => Assert.Equal("xenbr0", _host.Kernel.Find(a.Ifindex)!.Name));
        Refusal.Of(() => Admission.LeftOut(bond, hasOtherUplink: false, _host.State, _host.Look()), "bond0",
            "is not in the document, but this host has 192.0.2.10/24 on xenbr0, the bridge of its network lan; "
            + "xfp bond destroy bond0 first, and its network and the addresses go to eth0");
        Admission.LeftOut(bond, hasOtherUplink: true, _host.State, _host.Look());
        Admission.Destroy(bond, _host.State, _host.Look());
        // On the bond itself, there is nothing that could take its place.
        _host.State = _host.State.Remove(Lan);
        _host.Converge();
        Assert.All(_host.Kernel.Addresses, a => Assert.Equal("bond0", _host.Kernel.Find(a.Ifindex)!.Name));
        Refusal.Of(() => Admission.LeftOut(bond, hasOtherUplink: true, _host.State, _host.Look()), "bond0", "this host has 192.0.2.10/24 on it; xfp bond");
        Refusal.Of(() => Admission.Destroy(bond, _host.State, _host.Look()), "bond0", "carries 192.0.2.10/24, which would go with it; take it away first "
            + "(ip address del 192.0.2.10/24 dev bond0), or move it to the bridge of a network, where it stays (xfp network set LABEL --pif bond0)");
        // What was requested goes to the primary.
        _host.Kernel.Addresses.RemoveAll(a => a.Local.ToString() == "192.0.2.10");
        Admission.Destroy(bond, _host.State, _host.Look());
        _host.State = _host.State.Remove(bond);
        _host.Converge();
        Assert.Equal(["192.0.2.11/24 eth0"], _host.Kernel.Addresses.Select(a => $"{a} {_host.Kernel.Find(a.Ifindex)!.Name}"));
    }

    [Fact]
    public void A_pif_that_still_carries_vlans_leaves_its_bridge_with_its_addresses()
    {
        Network guests = _host.Create("guests");
        _host.State = _host.State.Add(new Vlan(_host.NextUuid(), _host.State.PifOf("eth0").Uuid, 5, guests.Uuid, "eth0.5")).Disconnect(Lan);
        Plan plan = Plan.Diff(_host.State, _host.Look());
        Assert.StartsWith("move 192.0.2.10/24, 192.0.2.11/24 from xenbr0 to eth0", plan.Actions[0].Text);
        Assert.Equal("detach eth0 from xenbr0", plan.Actions[1].Text);
        Assert.DoesNotContain(plan.Actions, a => a is RemovePort);
    }

    private Bond Bond()
    {
        Bond bond = new(_host.NextUuid(), "bond0", [_host.State.PifOf("eth0").Uuid, _host.State.PifOf("eth1").Uuid],
            BondingMode.ActiveBackup, null, new BondProperties());
        _host.State = _host.State.Add(bond, _host.NextUuid(), Lan);
        return bond;
    }
}
