// Documents: what export writes is what apply makes, identities stay, and what is wrong is refused with its line.
using XenFastPath.Model;
using XenFastPath.Tests.Api;

namespace XenFastPath.Tests.Model;

public sealed class HostDocumentTests
{
    private static readonly Network s_lan = Make.Network(1, "lan", "xenbr0"), s_dmz = Make.Network(2, "dmz", "xapi0");

    /// <summary>lan with eth0 and vif1.0, dmz with VLAN 7 of eth0 and vif2.0; eth1 without a Network.</summary>
    private static readonly HostState s_state = HostState.Empty.Add(s_lan).Add(s_dmz)
        .Add(Make.Pif(10, "eth0")).Add(Make.Pif(11, "eth1", "52:54:00:00:00:02", "0000:04:00.0"))
        .Connect(Make.Pif(10, "eth0"), s_lan, wasInBridge: true, hadLinkLocal: true)
        .Add(new Vlan(Make.Uuid(30), Make.Uuid(10), 7, s_dmz.Uuid, "eth0.7"))
        .Add(Make.Vif(20, "vif1.0", s_lan)).Add(Make.Vif(21, "vif2.0", s_dmz, 8, "00:16:3e:00:00:01"));

    public static TheoryData<string, string, string> Refusals => new()
    {
        { "", "document", "line 1: " },
        { "null", "document", "holds null" },
        { "{\"version\": 2}", "document", "version 2; this program reads version 1" },
        { "{\n\"networks\": [\n{\"label\": \"x\", \"mtu\": \"big\"}]}", "document", "line 3, networks[0].mtu: " },
        { "{\"networks\": [{\"label\": \"x\", \"colour\": 1}]}", "document", "line 1, networks[0]" },
        { "{\"networks\": [{\"bridge\": \"x\"}]}", "document", "label" },
        { "{\"networks\": [{\"label\": \"x\"}], \"networks\": []}", "document", "networks" },
        { "{\"networks\": [{\"label\": \"x\"}, null]}", "document", "networks[1] (line 1): null is no element" },
        { "{\n\"networks\": [{\"label\": \"x\"},\n\n{\"label\": \"x\", \"bridge\": \"y\"}]}",
            "x", "networks[1] (line 4): there is a network with this label already" },
        { "{\"networks\": [{\"label\": \"x\", \"mtu\": 67}]}", "x", "networks[0] (line 1): MTU 67 is out of range" },
        { "{\"networks\": [{\"label\": \"x\", \"datapath\": \"fast\"}]}", "x", "datapath \"fast\" is none of" },
        { "{\"networks\": [{\"label\": \"x\", \"bridge\": \"vif9.0\"}]}", "vif9.0", "networks[0] (line 1): a bridge name must not" },
        { "{\"networks\": [{\"label\": \"lan\", \"bridge\": \"other\"}]}",
            "lan", "networks[0] (line 1): its bridge is xenbr0, and a network keeps its bridge" },
        { "{\"pifs\": [{\"device\": \"missing0\"}]}", "missing0", "pifs[0] (line 1): no such device" },
        { "{\"pifs\": [{\"device\": \"eth0\"}, {\"device\": \"eth0\"}]}", "eth0", "pifs[1] (line 1): there is a pif of this name" },
        { "{\"pifs\": [{\"device\": \"eth0\", \"mac\": \"zz\"}]}", "eth0", "\"zz\" is not a MAC address" },
        { "{\"pifs\": [{\"device\": \"eth0\", \"plugged\": false}]}", "eth0", "says nothing without \"network\"" },
        { "{\"pifs\": [{\"device\": \"eth0\", \"network\": \"x\"}]}", "eth0", "pifs[0] (line 1): network \"x\" is not in the document" },
        { "{\"networks\": [{\"label\": \"x\"}], \"pifs\": [{\"device\": \"a\", \"network\": \"x\"}, {\"device\": \"b\", \"network\": \"x\"}]}",
            "x", "the network has pif a already" },
        { "{\"networks\": [{\"label\": \"x\"}], \"vlans\": [{\"pif\": \"eth0\", \"tag\": 7, \"network\": \"x\"}]}",
            "eth0.7", "pif \"eth0\" is not in the document" },
        { "{\"networks\": [{\"label\": \"x\"}], \"pifs\": [{\"device\": \"a\"}], \"vlans\": [{\"pif\": \"a\", \"tag\": 4095, \"network\": \"x\"}]}",
            "a", "vlans[0] (line 1): tag 4095" },
        { "{\"bonds\": [{\"device\": \"b\", \"members\": [\"eth0\"], \"mode\": \"lacp\"}]}", "b", "bonds[0] (line 1): a bond has at least two members" },
        { "{\"bonds\": [{\"device\": \"b\", \"members\": [\"eth0\", \"eth1\"], \"mode\": \"lacp\"}]}", "b", "pif \"eth0\" is not in the document" },
        { "{\"pifs\": [{\"device\": \"a\"}, {\"device\": \"c\"}], \"bonds\": [{\"device\": \"b\", \"members\": [\"a\", \"c\"], \"mode\": \"rr\"}]}",
            "b", "mode \"rr\" is none of" },
        { "{\"bonds\": [{\"device\": \"b\", \"members\": [], \"mode\": \"lacp\", \"properties\": {\"miimon\": \"0\"}}]}", "b", "at least two" },
        { "{\"networks\": [{\"label\": \"lan\"}], \"vifs\": []}",
            "dmz", "is not in the document, but vif2.0 is plugged into it; name the network, or unplug first" },
        { "{\"networks\": [{\"label\": \"lan\"}]}", "dmz", "is not in the document, but vif2.0 is plugged into it" },
        { "{\"networks\": [{\"label\": \"lan\"}, {\"label\": \"dmz\"}], \"vifs\": [{\"device\": \"missing\", \"network\": \"lan\"}]}",
            "missing", "vifs[0] (line 1): no such device" },
        { "{\"networks\": [{\"label\": \"lan\"}], \"vifs\": [{\"device\": \"v\", \"network\": \"x\"}]}", "v", "network \"x\" is not in the document" },
    };

    [Fact]
    public void Addresses_of_this_host_are_in_it_and_stay_where_it_says_nothing()
    {
        IpConfiguration ip = IpConfiguration.None with
        {
            Ipv4 = new IpFamily(IpMode.Static, "192.0.2.10/24", "192.0.2.1"),
            Dns = ["192.0.2.53"],
            Routes = [new IpRoute("10.0.0.0/8", "192.0.2.8")],
        };
        HostState state = HostState.Empty.Add(Make.Pif(10, "eth0") with { Ip = ip });
        string text = HostDocument.Of(state).ToText();
        Assert.Contains("\"10.0.0.0/8=192.0.2.8\"", text);
        FakeDocumentHost host = new();
        IpConfiguration? Applied(HostState before, string document) =>
            new DocumentApply(HostDocument.Parse(document), before, host).Wanted().PifOf("eth0").Ip;
        Assert.Equal(ip, Applied(state, text));
        Assert.Empty(host.Checks);
        Assert.Equal(ip, Applied(HostState.Empty.Add(Make.Pif(10, "eth0")), text));
        Assert.Equal(["ip eth0"], host.Checks);
        host.Checks.Clear();
        const string Plugged = "{\"networks\": [{\"label\": \"x\"}], \"pifs\": [{\"device\": \"eth0\", \"network\": \"x\", \"ip\": {\"mode\": \"dhcp\"}}]}";
        Assert.Equal(IpMode.Dhcp, Applied(HostState.Empty, Plugged)!.Ipv4.Mode);
        Assert.Equal(["ip eth0 plugged", "uplink eth0 - x"], host.Checks);
        Assert.Equal(ip, Applied(state, "{\"pifs\": [{\"device\": \"eth0\"}]}"));
        Assert.Null(Applied(state, "{\"pifs\": [{\"device\": \"eth0\", \"ip\": {}}]}"));
        Refusal.Of(() => Applied(state, "{\"pifs\": [{\"device\": \"eth0\", \"ip\": {\"mode\": \"static\"}}]}"), "eth0", "pifs[0] (line 1): ");
    }

    [Theory]
    [MemberData(nameof(Refusals))]
    public void Refused_with_object_line_and_reason(string text, string subject, string reason) =>
        Refusal.Of(() => Apply(text, s_state), subject, reason);

    [Fact]
    public void An_export_applied_to_an_empty_host_exports_the_same()
    {
        for (int seed = 0; seed < 300; seed++)
        {
            HostState state = RandomState.Of(new Random(seed));
            string text = HostDocument.Of(state).ToText();
            HostState made = Apply(text, HostState.Empty);
            Assert.Equal(text, HostDocument.Of(made).ToText());
            Assert.Equal(state.Networks.Length, made.Networks.Select(n => n.Id).Distinct().Count());
        }
    }

    [Fact]
    public void An_export_applied_to_its_own_host_changes_nothing()
    {
        for (int seed = 0; seed < 300; seed++)
        {
            HostState state = RandomState.Of(new Random(seed));
            FakeDocumentHost host = new();
            HostState again = new DocumentApply(HostDocument.Parse(HostDocument.Of(state).ToText()), state, host).Wanted();
            Assert.Empty(StateChange.Between(state, again));
            Assert.Equal((IEnumerable<Network>)state.Networks, again.Networks);
            Assert.Equal((IEnumerable<Pif>)state.Pifs, again.Pifs);
            Assert.Equal((IEnumerable<Vlan>)state.Vlans, again.Vlans);
            Assert.Equal((IEnumerable<Bond>)state.Bonds, again.Bonds);
            Assert.Equal((IEnumerable<Vif>)state.Vifs, again.Vifs);
            Assert.Empty(again.Doomed);
            Assert.Empty(again.DoomedLinks);
            Assert.Empty(host.Checks);
        }
    }

    [Fact]
    public void From_any_state_to_any_other_and_back()
    {
        for (int seed = 0; seed < 300; seed++)
        {
            HostState old = RandomState.Of(new Random(seed)), to = RandomState.Of(new Random(seed + 1000));
            old = old with { Vifs = [] };     // a guest is not cut off with its Network: see the refusals
            string text = HostDocument.Of(to).ToText();
            // The same label may have another bridge there.
            if (to.Networks.Any(t => old.Networks.Any(f => f.Label == t.Label && f.Bridge != t.Bridge)))
                continue;
            HostState made = Apply(text, old);
            Assert.Equal(text, HostDocument.Of(made).ToText());
            Assert.Equal(old.Networks.Where(n => made.Networks.All(m => m.Uuid != n.Uuid)).Select(n => n.Uuid), made.Doomed.Select(d => d.Network));
            Assert.All(made.Networks.IntersectBy(old.Networks.Select(f => f.Label), n => n.Label),
                n => Assert.Equal(old.NetworkOf(n.Label).Uuid, n.Uuid));
        }
    }

    [Fact]
    public void A_person_can_read_it() => Golden.Check(Golden.File("document.json"), HostDocument.Of(s_state).ToText());

    [Fact]
    public void Comments_and_trailing_commas_are_allowed()
    {
        HostState made = Apply("{\n // the office\n \"networks\": [ {\"label\": \"x\"}, /* no more */ ],\n}", HostState.Empty);
        Assert.Equal(("x", 1500, Datapath.Auto), (made.NetworkOf("x").Bridge, made.NetworkOf("x").Mtu, made.NetworkOf("x").Datapath));
    }

    [Fact]
    public void Without_a_list_of_vifs_guests_stay_and_with_one_they_are_what_it_says()
    {
        const string rest = "\"networks\": [{\"label\": \"lan\"}, {\"label\": \"dmz\"}]";
        Assert.Equal(["vif1.0", "vif2.0"], Apply($"{{{rest}}}", s_state).Vifs.Select(v => v.Device));
        HostState made = Apply(
            $"{{{rest}, \"vifs\": [{{\"device\": \"vif2.0\", \"network\": \"lan\"}}, {{\"device\": \"vif3.0\", \"network\": \"dmz\"}}]}}", s_state);
        Assert.Equal(["vif2.0", "vif3.0"], made.Vifs.Select(v => v.Device));
        Assert.Equal((Make.Uuid(21), s_lan.Uuid, null), (made.VifOf("vif2.0").Uuid, made.VifOf("vif2.0").Network, made.VifOf("vif2.0").Mac));
    }

    [Fact]
    public void What_is_known_of_a_pif_survives_and_says_how_it_leaves()
    {
        const string both = "{\"networks\": [{\"label\": \"lan\"}, {\"label\": \"dmz\"}], \"pifs\": [";
        // Its Network stays: it leaves the bridge.
        Assert.Equal((null, false), Uplink(Apply(both + "{\"device\": \"eth0\"}]}", s_state)));
        // Its Network stays its own.
        Assert.Equal((s_lan.Uuid, true), Uplink(Apply(both + "{\"device\": \"any\", \"mac\": \"52:54:00:00:00:01\", \"network\": \"lan\"}]}", s_state)));
        // It moves: it was in that bridge because of us.
        Assert.Equal((s_dmz.Uuid, false), Uplink(Apply(both + "{\"device\": \"eth0\", \"network\": \"dmz\"}]}", s_state)));
        // Its Network goes, it is kept or not: it stays in the bridge.
        HostState without = s_state with { Vifs = [] };
        Assert.Equal((null, true), Uplink(Apply("{\"pifs\": [{\"device\": \"eth0\"}]}", without)));
        HostState wanted = Apply("{}", without);
        Assert.Empty(wanted.Pifs);
        Assert.Equal((null, true), Uplink(DocumentApply.Disconnected(without, wanted)));

        static (Guid? Network, bool WasInBridge) Uplink(HostState state) =>
            state.Pifs.Where(p => p.Uuid == Make.Uuid(10)).Select(p => (p.Network, p.WasInBridge)).Single();
    }

    [Fact]
    public void Requested_addresses_are_not_taken_away_by_leaving_something_out()
    {
        IpConfiguration ip = IpConfiguration.None with { Ipv4 = new IpFamily(IpMode.Static, "192.0.2.10/24", null) };
        HostState state = s_state with { Vifs = [] };
        state = state.Change(state.PifOf("eth0") with { Ip = ip });
        Refusal.Of(() => Apply("{}", state with { Networks = [], Vlans = [] }), "eth0", "is not in the document, but has addresses of this host");
        // Its Network goes, and it would stay in a bridge that it was in before us.
        Refusal.Of(() => Apply("{\"pifs\": [{\"device\": \"eth0\"}]}", state), "lan", "this host's addresses do not work on a port");
        Assert.Null(Apply("{\"pifs\": [{\"device\": \"eth0\", \"ip\": {}}]}", state).PifOf("eth0").Ip);
    }

    [Fact]
    public void The_machine_is_asked_about_what_changes_and_only_about_that()
    {
        FakeDocumentHost host = new();
        const string text = """
            {
              "networks": [{"label": "lan", "mtu": 9000}, {"label": "new"}],
              "pifs": [{"device": "eth0", "network": "new"}],
              "vifs": [{"device": "vif1.0", "network": "lan"}, {"device": "vif2.0", "network": "lan"}]
            }
            """;
        HostState wanted = new DocumentApply(HostDocument.Parse(text), s_state, host).Wanted();
        Assert.Equal(["change lan", "uplink eth0 lan new", "move vif2.0 dmz lan", "destroy dmz"], host.Checks);
        Assert.Equal(3, wanted.NetworkOf("new").Id);    // the number of dmz may still be in use
        Assert.Equal(
            [
                "change network lan: bridge xenbr0, mtu 9000, datapath auto",
                "create network new: bridge new, mtu 1500, datapath auto",
                "change pif eth0: network new",
                "change vif vif2.0: network lan",
                "destroy network dmz: bridge xapi0, mtu 1500, datapath auto",
                "forget pif eth1: no network",
                "destroy vlan eth0.7: tag 7 of eth0, network dmz",
            ], StateChange.Between(s_state, wanted).Select(c => c.Text));
    }

    [Fact]
    public void A_bond_that_is_left_out_is_asked_about()
    {
        HostState state = HostState.Empty.Add(s_lan).Add(Make.Pif(10, "eth0")).Add(Make.Pif(11, "eth1", "52:54:00:00:00:02", "0000:04:00.0"));
        Bond bond = new(Make.Uuid(40), "bond0", [Make.Uuid(10), Make.Uuid(11)], BondingMode.ActiveBackup, null, new BondProperties());
        state = state.Add(bond, Make.Uuid(41), s_lan);
        const string Cards = "\"pifs\": [{\"device\": \"eth0\"}, {\"device\": \"eth1\"}]", Lan = "{\"networks\": [{\"label\": \"lan\"}], ";
        Assert.Equal(["destroy lan", "left out bond0"], ChecksOf("{" + Cards + "}"));
        Assert.Equal(["left out bond0"], ChecksOf(Lan + Cards + "}"));
        Assert.Equal(["uplink eth0 - lan", "left out bond0, its network has another uplink"],
            ChecksOf(Lan + "\"pifs\": [{\"device\": \"eth0\", \"network\": \"lan\"}]}"));
        Assert.Equal(["uplink eth0 - lan", "left out bond0"],
            ChecksOf(Lan + "\"pifs\": [{\"device\": \"eth0\", \"network\": \"lan\", \"plugged\": false}]}"));

        IEnumerable<string> ChecksOf(string text)
        {
            FakeDocumentHost host = new();
            new DocumentApply(HostDocument.Parse(text), state, host).Wanted();
            return host.Checks;
        }
    }

    private static HostState Apply(string text, HostState before) => new DocumentApply(HostDocument.Parse(text), before, new FakeDocumentHost()).Wanted();
}
