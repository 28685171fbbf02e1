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
        Uplink(1500, new AddressInfo(_eth0.Index, IPAddress.Parse("fe80::1"), 64), new AddressInfo(_vif.Index, IPAddress.Parse("10.0.0.1"), 24));
        Refusal.Of(() => Uplink(1500, new AddressInfo(_eth0.Index, IPAddress.Parse("10.0.0.2"), 24)), "eth0",
            "carries 10.0.0.2/24, which would stop working in a bridge; move the address to xenbr0 first "
            + "(ip address del 10.0.0.2/24 dev eth0; ip address add 10.0.0.2/24 dev xenbr0)");
        Enslave(_eth0, _host.AddBridge("xenbr0").Index);
        Uplink(1500);
        Enslave(_eth0, _host.AddBridge("virbr0").Index);
        Refusal.Of(() => Uplink(1500), "eth0", "is in bridge virbr0 already");
        Enslave(_eth0, Plain("bond0", "bond").Index);
        Refusal.Of(() => Uplink(1500), "eth0", "is in device bond0 already");
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

    private void Uplink(int mtu, params AddressInfo[] addresses) => Admission.Uplink(Now.Link("eth0")!, "xenbr0", mtu, Now, addresses);

    private LinkInfo Vif(string name) => Admission.Vif(name, _lan, Now);
}
