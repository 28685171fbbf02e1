// Changes of the desired state: what is refused and why, and that a refused change leaves the state as it was.
using System.Collections.Immutable;
using XenFastPath.Model;

namespace XenFastPath.Tests.Model;

public sealed class HostStateTests
{
    private static readonly Network s_lan = Make.Network(1, "lan", "xenbr0"), s_dmz = Make.Network(2, "dmz", "xapi0");
    private static readonly Pif s_eth0 = Make.Pif(10, "eth0"), s_eth1 = Make.Pif(11, "eth1", "52:54:00:00:00:02", "0000:04:00.0");
    private static readonly Vif s_vif = Make.Vif(20, "vif1.0", s_lan);

    /// <summary>lan with eth0 and vif1.0; dmz with nothing; eth1 without a Network.</summary>
    private static readonly HostState s_state = HostState.Empty.Add(s_lan).Add(s_dmz).Add(s_eth0).Add(s_eth1)
        .Connect(s_eth0, s_lan, wasInBridge: false, hadLinkLocal: false).Add(s_vif);

    public static TheoryData<string, Func<HostState, HostState>, string, string> Refusals => new()
    {
        { "label twice", s => s.Add(Make.Network(3, "lan", "xapi9")), "lan", "a network with this label already" },
        { "bridge twice", s => s.Add(Make.Network(3, "new", "xenbr0")), "xenbr0", "the bridge of network lan already" },
        { "no label", s => s.Add(Make.Network(3, "", "xapi9")), "network", "empty" },
        { "bridge name", s => s.Add(Make.Network(3, "new", "vif3.0")), "vif3.0", "begin with vif" },
        { "mtu", s => s.Add(Make.Network(3, "new", "xapi9", mtu: 67)), "new", "MTU 67" },
        { "changed mtu", s => s.Change(s_lan with { Mtu = 65536 }), "lan", "MTU 65536" },
        { "network in use", s => s.Remove(s_lan), "lan", "1 vif is still plugged (vif1.0); unplug first" },
        { "pif of another network", s => s.Connect(s.PifOf("eth0"), s_dmz, false, false), "eth0", "the pif of network lan already" },
        { "network with another pif", s => s.Connect(s.PifOf("eth1"), s_lan, false, false), "lan", "has pif eth0 already" },
        { "pif twice", s => s.Add(Make.Pif(12, "eth1", "52:54:00:00:00:09")), "eth1", "a pif already" },
        { "pif key twice", s => s.Add(Make.Pif(12, "eth9")), "eth9", "pif eth0 has the same address 52:54:00:00:00:01" },
        { "pif that is a vif", s => s.Add(Make.Pif(12, "vif1.0", "52:54:00:00:00:09")), "vif1.0", "plugged already, into network lan" },
        { "pif in use", s => s.Remove(s.PifOf("eth0")), "eth0", "in use by network lan; network set lan --no-pif first" },
        { "vif twice", s => s.Add(Make.Vif(21, "vif1.0", s_dmz, ifindex: 8)), "vif1.0", "plugged already, into network lan" },
        { "vif twice by another name", s => s.Add(Make.Vif(21, "renamed", s_dmz)), "renamed", "plugged already as vif1.0, into network lan" },
        { "vif that is a pif", s => s.Add(Make.Vif(21, "eth1", s_dmz, ifindex: 8)), "eth1", "is a pif" },
        { "vif with bad mac", s => s.Add(Make.Vif(21, "vif2.0", s_dmz, ifindex: 8, mac: "01:00:5e:00:00:01")), "vif2.0", "group or zero" },
        { "no network", s => s with { Networks = [s.NetworkOf("wan")] }, "wan", "no such network" },
        { "no network of that uuid", s => s with { Networks = [s.NetworkOf(Make.Uuid(99).ToString())] }, Make.Uuid(99).ToString(), "no such network" },
        { "no pif", s => s with { Pifs = [s.PifOf("eth7")] }, "eth7", "no such pif" },
        { "no vif", s => s with { Vifs = [s.VifOf("vif7.0")] }, "vif7.0", "no such vif" },
    };

    [Theory]
    [MemberData(nameof(Refusals))]
    public void Refused_with_object_and_reason_and_nothing_changes(string what, Func<HostState, HostState> change, string subject, string reason)
    {
        string before = TextOf(s_state);
        Refusal.Of(() => change(s_state), subject, reason);
        Assert.True(before == TextOf(s_state), $"{what}: the state has changed");
    }

    [Fact]
    public void Many_vifs_in_the_way_are_counted_and_some_are_named()
    {
        HostState state = HostState.Empty.Add(s_lan);
        for (int i = 0; i < 10; i++)
            state = state.Add(Make.Vif(20 + i, $"vif{i}.0", s_lan, ifindex: 100 + i));
        Refusal.Of(() => state.Remove(s_lan), "lan", "10 vifs are still plugged (vif0.0, ");
        Assert.DoesNotContain("vif8.0", Assert.Throws<RefusalException>(() => state.Remove(s_lan)).Reason);
    }

    [Fact]
    public void A_network_is_found_by_uuid_label_and_bridge()
    {
        foreach (string name in (string[])[s_lan.Uuid.ToString(), s_lan.Uuid.ToString("N"), s_lan.Uuid.ToString().ToUpperInvariant(), "lan", "xenbr0"])
            Assert.Equal(s_lan, s_state.NetworkOf(name));
        Assert.Equal("eth0", s_state.PifOf(s_eth0.Uuid.ToString()).Device);
        Assert.Equal(s_vif, s_state.VifOf(s_vif.Uuid.ToString()));
        Assert.Equal(s_vif, s_state.VifOf("vif1.0"));
    }

    [Fact]
    public void A_label_goes_before_a_bridge_name()
    {
        Network confusing = Make.Network(3, "xapi0", "xapi1");
        HostState state = s_state.Add(confusing);
        Assert.Equal(confusing, state.NetworkOf("xapi0"));
        Assert.Equal("dmz", state.NetworkOf("dmz").Label);
    }

    [Fact]
    public void Connecting_and_disconnecting_a_pif()
    {
        Pif connected = s_state.PifOf("eth0");
        Assert.Equal((s_lan.Uuid, true, false), (connected.Network, connected.IsPlugged, connected.WasInBridge));
        Assert.Equal(connected, s_state.PifOf(s_lan));
        Assert.Null(s_state.PifOf(s_dmz));
        HostState state = s_state.Disconnect(s_lan).Disconnect(s_dmz);
        Assert.Null(state.PifOf(s_lan));
        Assert.Equal((null, false), (state.PifOf("eth0").Network, state.PifOf("eth0").IsPlugged));
        state = state.Connect(state.PifOf("eth0"), s_dmz, wasInBridge: true, hadLinkLocal: true);
        Assert.True(state.PifOf(s_dmz)!.WasInBridge);
        Assert.Equal(["eth0"], state.Remove(state.PifOf("eth1")).Pifs.Select(p => p.Device));
    }

    [Fact]
    public void A_removed_network_dooms_its_bridge_and_keeps_its_pif()
    {
        HostState state = s_state.Remove(s_vif).Remove(s_lan);
        Assert.Equal(["dmz"], state.Networks.Select(n => n.Label));
        Assert.Equal([new DoomedBridge(s_lan.Uuid, "xenbr0")], state.Doomed);
        Assert.Equal((null, false), (state.PifOf("eth0").Network, state.PifOf("eth0").IsPlugged));
        Assert.Empty(state.Vifs);
    }

    [Fact]
    public void Requested_addresses_are_neither_forgotten_nor_left_on_a_port()
    {
        IpConfiguration ip = IpConfiguration.None with { Ipv4 = new IpFamily(IpMode.Static, "192.0.2.10/24", null) };
        HostState state = s_state.Remove(s_vif).Change(s_state.PifOf("eth1") with { Ip = ip });
        Refusal.Of(() => state.Remove(state.PifOf("eth1")), "eth1",
            "has addresses of this host; take them away first (xfp pif reconfigure-ip eth1 --mode none)");
        state = state.Change(state.PifOf("eth0") with { Ip = ip });
        Assert.Equal(ip, state.Remove(s_lan).PifOf("eth0").Ip);     // it leaves the bridge
        state = state.Change(state.PifOf("eth0") with { WasInBridge = true });
        Refusal.Of(() => state.Remove(s_lan), "lan", "its pif eth0 was in bridge xenbr0 before and stays there");
        Assert.Equal(ip, state.Disconnect(s_lan).Remove(s_lan).PifOf("eth0").Ip);
    }

    [Fact]
    public void Changes_replace_by_uuid()
    {
        HostState state = s_state.Change(s_lan with { Mtu = 9000, Datapath = Datapath.Afxdp }).Change(s_vif with { Network = s_dmz.Uuid });
        Assert.Equal((9000, Datapath.Afxdp), (state.NetworkOf("lan").Mtu, state.NetworkOf("lan").Datapath));
        Assert.Equal([s_lan.Uuid, s_dmz.Uuid], state.Networks.Select(n => n.Uuid));
        Assert.Empty(state.VifsOf(s_lan));
        Assert.Equal("vif1.0", Assert.Single(state.VifsOf(s_dmz)).Device);
        Assert.Equal("eth5", state.Change(state.PifOf("eth0") with { Device = "eth5" }).PifOf(s_lan)!.Device);
    }

    [Theory]
    [InlineData(new int[] { }, 1)]
    [InlineData(new[] { 1 }, 2)]
    [InlineData(new[] { 7, 3 }, 8)]
    [InlineData(new[] { 65534 }, 65535)]
    [InlineData(new[] { 65535 }, 1)]
    [InlineData(new[] { 65535, 1, 2, 4 }, 3)]
    public void The_next_network_id_is_after_the_highest_and_then_the_first_free(int[] used, int expected)
    {
        HostState state = HostState.Empty with { Networks = [.. used.Select(id => Make.Network(id, $"n{id}"))] };
        Assert.Equal(expected, state.NextNetworkId());
    }

    [Fact]
    public void When_all_network_ids_are_used_there_is_no_more()
    {
        ImmutableArray<Network> all = [.. Enumerable.Range(1, ushort.MaxValue).Select(id => Make.Network(id, $"n{id}"))];
        Refusal.Of(() => (HostState.Empty with { Networks = all }).NextNetworkId(), "network", "65535");
    }

    private static string TextOf(HostState s) => string.Join('\n', s.Networks.Cast<object>().Concat(s.Pifs.Cast<object>()).Concat(s.Vifs).Concat(s.Doomed));
}
