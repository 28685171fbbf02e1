// What a request is refused for when it looks at the machine; each refusal names the device and the reason.
using System.Net;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;
using XenFastPath.Tests.Model;

namespace XenFastPath.Tests.Reconcile;

public sealed class AdmissionTests
{
    private readonly Host _host = new();
    private readonly LinkInfo _eth0, _vif;
    private readonly Network _lan = Make.Network(900, "lan", "xenbr0");

    public AdmissionTests()
    {
        _eth0 = _host.AddNic("eth0", 1);
        _vif = _host.AddVeth("vif1.0");
    }

    private Observed Now => _host.Look();

    [Fact]
    public void A_pif()
    {
        Assert.Equal("eth0", Admission.Pif("eth0", Now).Name);
        Refusal.Of(() => Admission.Pif("eth7", Now), "eth7", "no such device");
        _host.AddBridge("xenbr0");
        Refusal.Of(() => Admission.Pif("xenbr0", Now), "xenbr0", "is a bridge");
        Plain("lo", null, LinkFlags.Loopback);
        Refusal.Of(() => Admission.Pif("lo", Now), "lo", "loopback");
        int bond = Plain("bond0", "bond").Index;
        Assert.Equal("bond0", Admission.Pif("bond0", Now).Name);
        Enslave(_eth0, bond);
        Refusal.Of(() => Admission.Pif("eth0", Now), "eth0", "is a member of bond bond0; use the bond");
    }

    [Fact]
    public void An_uplink()
    {
        Uplink(1500);
        Uplink(9216);
        Refusal.Of(() => Uplink(9217), "eth0", "MTU 9217 is over the device's maximum of 9216");
        Refusal.Of(() => Uplink(67), "eth0", "MTU 67 is under the device's minimum of 68");
        Enslave(_eth0, _host.AddBridge("xenbr0").Index);
        Uplink(1500);
        Enslave(_eth0, _host.AddBridge("virbr0").Index);
        Refusal.Of(() => Uplink(1500), "eth0", "is in bridge virbr0 already");
        Enslave(_eth0, Plain("bond0", "bond").Index);
        Refusal.Of(() => Uplink(1500), "eth0", "is a member of bond bond0; use the bond");
    }

    [Fact]
    public void The_hosts_own_addresses()
    {
        RouteInfo route = RouteInfo.To(false, null, 0, IPAddress.Parse("10.0.0.1"), _eth0.Index, 4);
        _host.Kernel.Addresses.Add(new AddressInfo(_eth0.Index, IPAddress.Parse("10.0.0.2"), 24));
        Admission.Host(_eth0, "xenbr0", Now, [route]);
        Assert.True(HostAddresses.AreOn(_eth0, Now));
        Assert.False(HostAddresses.AreOn(_vif, Now));
        RouteInfo byObject = KernelModel.ByNexthop(route, 7);
        Refusal.Of(() => Admission.Host(_eth0, "xenbr0", Now, [byObject]), "eth0",
            "route default via 10.0.0.1 goes by next-hop object 7, which cannot change its device; give the route a gateway of its own (ip route replace)");
        LinkInfo bridge = _host.AddBridge("xenbr0");
        _host.Kernel.Addresses.Add(new AddressInfo(bridge.Index, IPAddress.Parse("fe80::1"), 64));
        Admission.Host(_eth0, "xenbr0", Now, []);
        _host.Kernel.Addresses.Add(new AddressInfo(bridge.Index, IPAddress.Parse("10.0.9.9"), 24));
        Refusal.Of(() => Admission.Host(_eth0, "xenbr0", Now, []), "eth0",
            "carries 10.0.0.2/24, and bridge xenbr0 has 10.0.9.9/24 already; take one of them away first (ip address del 10.0.0.2/24 dev eth0)");
    }

    [Fact]
    public void A_vif()
    {
        Assert.Equal(_vif.Index, Vif("vif1.0").Index);
        Refusal.Of(() => Vif("vif7.0"), "vif7.0", "no such device");
        Refusal.Of(() => Vif("eth0"), "eth0", "is a network card; make it the uplink: network set lan --pif eth0");
        foreach (string kind in (string[])["bridge", "bond", "vlan"])
        {
            Plain($"{kind}7", kind);
            Refusal.Of(() => Vif($"{kind}7"), $"{kind}7", $"is a {kind}, not a guest's interface");
        }

        Plain("lo", null, LinkFlags.Loopback);
        Refusal.Of(() => Vif("lo"), "lo", "loopback");
        Refusal.Of(() => Admission.Vif("vif1.0", _lan with { Mtu = 67 }, Now), "vif1.0", "minimum of 68");
        _host.Kernel.Edit(_vif.Index, l => l with { MaxMtu = 1400 });
        Refusal.Of(() => Vif("vif1.0"), "vif1.0", "MTU 1500 is over the device's maximum of 1400");
        _host.Kernel.Edit(_vif.Index, l => l with { MaxMtu = 0 });          // no limit
        Enslave(_vif, _host.AddBridge("xenbr0").Index);
        Vif("vif1.0");
        Enslave(_vif, _host.AddBridge("virbr0").Index);
        Refusal.Of(() => Vif("vif1.0"), "vif1.0", "is in bridge virbr0 already");
        _host.Kernel.Add(new LinkInfo { Name = "vif5.0", ParentBusName = "xen-backend", ParentDeviceName = "vif-5-0" });
        Assert.Equal("vif5.0", Vif("vif5.0").Name);     // netback sits on a bus and is a guest's all the same
    }

    [Fact]
    public void A_bridge()
    {
        Assert.Null(Admission.Bridge("xenbr0", Now));
        LinkInfo bridge = _host.AddBridge("xenbr0");
        Assert.Equal(bridge.Index, Admission.Bridge("xenbr0", Now)!.Index);
        Refusal.Of(() => Admission.Bridge("eth0", Now), "eth0", "exists and is no bridge but a network card");
        Refusal.Of(() => Admission.Bridge("vif1.0", Now), "vif1.0", "exists and is no bridge but a veth");
    }

    [Fact]
    public void A_bridge_goes_only_without_foreign_ports()
    {
        Network net = _host.Create("net");
        Admission.Destroy(net, _host.State, Now);       // there is no bridge yet
        _host.Connect("eth0", net);
        _host.Plug("vif1.0", net);
        _host.Converge();
        Admission.Destroy(net, _host.State, Now);
        Enslave(_host.AddVeth("one"), _host.Kernel.Find("net")!.Index);
        Enslave(_host.AddVeth("two"), _host.Kernel.Find("net")!.Index);
        Refusal.Of(() => Admission.Destroy(net, _host.State, Now), "net",
            "bridge net has ports that were not plugged here: one, two; take them out first (ip link set DEVICE nomaster)");
        // Without our mark it will not be deleted, so nobody is in the way.
        _host.Kernel.Edit(_host.Kernel.Find("net")!.Index, l => l with { Alias = null });
        Admission.Destroy(net, _host.State, Now);
    }

    [Fact]
    public void Addresses_on_a_pif()
    {
        Pif pif = Now.NewPif(Make.Uuid(901), _eth0);
        _host.State = _host.State.Add(pif);
        Admission.Addresses(pif, _host.State, Now);
        LinkInfo foreign = _host.AddBridge("virbr0");
        Enslave(_eth0, foreign.Index);
        const string Reason = "is in virbr0, which is no network's bridge: addresses on a port do not work";
        Refusal.Of(() => Admission.Addresses(pif, _host.State, Now), "eth0", Reason);
        Network lan = _host.Create("lan", "virbr0");
        // It stays there, as the port of a Network or of none.
        Pif uplink = pif with { Network = lan.Uuid, IsPlugged = true };
        Admission.Addresses(uplink, _host.State, Now);
        Refusal.Of(() => Admission.Addresses(uplink with { IsPlugged = false }, _host.State, Now), "eth0", Reason);
        _host.State = _host.State.Change(uplink with { WasInBridge = true });
        Refusal.Of(() => Admission.Addresses(pif with { WasInBridge = true }, _host.State, Now), "eth0", Reason);
        // It leaves.
        Admission.Addresses(pif, _host.State, Now);
        Enslave(_eth0, _host.AddBridge("other").Index);
        Refusal.Of(() => Admission.Addresses(pif, _host.State, Now), "eth0", "is in other, which is no network's bridge");
    }

    [Fact]
    public void A_software_pif_is_not_the_bridge_that_has_its_address()
    {
        // A bond has no place on a bus; its VLANs and the bridge above it show the same address.
        MacAddress mac = new(0x525400000007);
        LinkInfo bridge = _host.AddBridge("xenbr0");
        _host.Kernel.Edit(bridge.Index, l => l with { Address = mac });
        _host.Kernel.Add(new LinkInfo { Name = "bond0.5", Kind = "vlan", Address = mac });
        LinkInfo bond = _host.Kernel.Add(new LinkInfo { Name = "bond0", Kind = "bond", Mtu = 1500, MaxMtu = 65535, Address = mac });
        Pif pif = Now.NewPif(Guid.NewGuid(), bond);
        Assert.Equal(bond.Index, Now.DeviceOf(pif)?.Index);
        _host.Kernel.Edit(bond.Index, l => l with { Name = "bond9", Address = new MacAddress(0x525400000008) });
        Assert.Equal(bond.Index, Now.DeviceOf(pif)?.Index);
        _host.Kernel.Vanish(bond.Index);
        Assert.Null(Now.DeviceOf(pif));
    }

    [Fact]
    public void A_software_pif_comes_back_by_name_and_address_and_never_by_one_of_them()
    {
        MacAddress mac = new(0x525400000007);
        LinkInfo bond = _host.Kernel.Add(new LinkInfo { Name = "bond0", Kind = "bond", Mtu = 1500, MaxMtu = 65535, Address = mac });
        Pif pif = Now.NewPif(Guid.NewGuid(), bond);
        _host.Kernel.Vanish(bond.Index);
        LinkInfo other = _host.Kernel.Add(new LinkInfo { Name = "bond0", Kind = "bond", Address = new MacAddress(0x525400000009) });
        _host.Kernel.Add(new LinkInfo { Name = "bond1", Kind = "bond", Address = mac });
        Assert.Null(Now.DeviceOf(pif));
        _host.Kernel.Edit(other.Index, l => l with { Address = mac });
        Assert.Equal(other.Index, Now.DeviceOf(pif)?.Index);
    }

    private LinkInfo Plain(string name, string? kind, LinkFlags flags = 0) =>
        _host.Kernel.Add(new LinkInfo { Name = name, Kind = kind, Flags = flags, Mtu = 1500, MaxMtu = 65535 });

    private void Enslave(LinkInfo link, int master) => _host.Kernel.Edit(link.Index, l => l with { MasterIndex = master });

    private void Uplink(int mtu) => Admission.Uplink(Now.Link("eth0")!, "xenbr0", mtu, Now);

    private LinkInfo Vif(string name) => Admission.Vif(name, _lan, Now);
}
