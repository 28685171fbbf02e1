// Trunk VIFs in the desired state: what is refused and why, what goes with them, and how documents say it.
using System.Collections.Immutable;
using XenFastPath.Model;

namespace XenFastPath.Tests.Model;

public sealed class TrunkTests
{
    private static readonly Network s_lan = Make.Network(1, "lan", "xenbr0"), s_prod = Make.Network(2, "prod"), s_test = Make.Network(3, "test");
    private static readonly Pif s_eth0 = Make.Pif(10, "eth0"), s_eth1 = Make.Pif(11, "eth1", "52:54:00:00:00:02", "0000:04:00.0");
    private static readonly Vlan s_vlan100 = new(Make.Uuid(30), s_eth0.Uuid, 100, s_prod.Uuid, "eth0.100");
    private static readonly Vlan s_vlan200 = new(Make.Uuid(31), s_eth0.Uuid, 200, s_test.Uuid, "eth0.200");

    /// <summary>lan with eth0, whose tag 100 is prod and whose tag 200 is test; vif1.0 in lan has both as trunks; vif2.0 is in prod.</summary>
    private static readonly HostState s_state = HostState.Empty.Add(s_lan).Add(s_prod).Add(s_test).Add(s_eth0).Add(s_eth1)
        .Connect(s_eth0, s_lan, false, false).Add(s_vlan100).Add(s_vlan200)
        .Add(Make.Vif(20, "vif1.0", s_lan) with { Trunks = new TagSet([200, 100]) }).Add(Make.Vif(21, "vif2.0", s_prod, 8));

    public static TheoryData<string, Func<HostState, HostState>, string> Refusals => new()
    {
        { "no vlan", s => With(s, "vif1.0", 100, 101), "vif1.0: no vlan 101 on eth0; vlan create --pif eth0 --tag 101 --network LABEL first" },
        { "of a vlan", s => With(s, "vif2.0", 200),
            "vif2.0: tag 200 has no vlan: its network prod is tag 100 of eth0 itself; trunks need a network with a pif that carries vlans" },
        { "no uplink", s => With(s.Add(Make.Network(4, "dmz")).Add(Make.Vif(22, "vif3.0", Make.Network(4, "dmz"), 9)), "vif3.0", 7),
            "vif3.0: tag 7 has no vlan: its network dmz has no pif; trunks need a network with a pif that carries vlans" },
        { "vlan destroy", s => s.Remove(s.VlanOf("eth0.100")), "vif1.0: has tag 100 of eth0 in its trunks; vif set vif1.0 --trunks 200 first" },
        { "vlan destroy, the only one", s => With(s, "vif1.0", 100).Remove(s.VlanOf("eth0.100")),
            "vif1.0: has tag 100 of eth0 in its trunks; vif set vif1.0 --trunks none first" },
        { "network destroy", s => s.Remove(s.NetworkOf("test")), "vif1.0: has tag 200 of eth0 in its trunks; vif set vif1.0 --trunks 100 first" },
        { "no pif", s => s.Disconnect(s.NetworkOf("lan")), "vif1.0: has tag 100 of eth0 in its trunks; vif set vif1.0 --trunks 200 first" },
        { "another pif", s => s.Disconnect(s.NetworkOf("lan")).Connect(s_eth1, s_lan, false, false),
            "vif1.0: has tag 100 of eth0 in its trunks; vif set vif1.0 --trunks 200 first" },
        { "move", s => s.Change(s.VifOf("vif1.0") with { Network = s_test.Uuid }),
            "vif1.0: tag 100 has no vlan: its network test is tag 200 of eth0 itself; trunks need a network with a pif that carries vlans" },
    };

    [Theory]
    [MemberData(nameof(Refusals))]
    public void Refused_with_vif_and_reason(string what, Func<HostState, HostState> change, string message)
    {
        HostState before = what == "vlan destroy, the only one" ? With(s_state, "vif1.0", 100) : s_state;
        Assert.Equal(message, Assert.Throws<RefusalException>(() => change(s_state).CheckTrunks(before)).Message);
    }

    [Fact]
    public void What_rests_already_is_no_reason_to_refuse_something_else()
    {
        HostState resting = s_state.Remove(s_vlan100);
        resting.Add(Make.Network(4, "dmz")).CheckTrunks(resting);
        Assert.Equal([200], resting.VlansOf(resting.VifOf("vif1.0")).Select(v => v.Tag));
        // Once its VLAN is back, it is kept from going.
        HostState back = resting.Add(s_vlan100);
        back.CheckTrunks(resting);
        Assert.Throws<RefusalException>(() => resting.CheckTrunks(back));
    }

    [Fact]
    public void A_bond_takes_the_vlans_and_the_network_and_gives_them_back()
    {
        Bond bond = new(Make.Uuid(40), "bond0", [s_eth0.Uuid, s_eth1.Uuid], BondingMode.ActiveBackup, null, new BondProperties());
        HostState bonded = s_state.Add(bond, Make.Uuid(41), s_lan);
        bonded.CheckTrunks(s_state);
        Assert.Equal(Make.Uuid(41), bonded.VlanOf(bonded.VifOf("vif1.0"), 100)!.Pif);
        HostState apart = bonded.Remove(bond);
        apart.CheckTrunks(bonded);
        Assert.Equal(["vif1.0"], apart.TrunksInto(s_prod).Select(v => v.Device));
    }

    [Fact]
    public void What_was_made_for_a_tag_goes_with_it()
    {
        DoomedLink tags = new(Make.Uuid(20), "vif1.0");
        Assert.Equal([tags], s_state.Remove(s_state.VifOf("vif1.0")).DoomedLinks);
        Assert.Equal([tags], With(With(s_state, "vif1.0", 100), "vif1.0").DoomedLinks);
        Assert.Empty(With(s_state, "vif1.0", 100, 200).DoomedLinks);
        Assert.Empty(s_state.Remove(s_state.VifOf("vif2.0")).DoomedLinks);
        Assert.Equal([tags], With(s_state, "vif1.0").After(s_state).DoomedLinks);      // undone
        Assert.Empty(s_state.After(s_state).DoomedLinks);
    }

    [Theory]
    [InlineData("vif1.0: tag 0 is out of range 1..4094", 0)]
    [InlineData("vif1.0: tag 4095 is out of range 1..4094", 7, 4095)]
    [InlineData("vif1.0: tag 65636 is out of range 1..4094", 65636)]
    [InlineData("vif1.0: tag 7 is named twice", 7, 8, 7)]
    public void A_list_of_tags_is_checked(string message, params int[] tags) =>
        Assert.Equal(message, Assert.Throws<RefusalException>(() => Rules.Trunks("vif1.0", tags)).Message);

    [Fact]
    public void Sets_of_tags_are_values()
    {
        Assert.Null(Rules.Trunks("vif1.0", []));
        Assert.Equal(new TagSet([4094, 1]), Rules.Trunks("vif1.0", [1, 4094]));
        Assert.Equal(s_state.VifOf("vif1.0"), With(s_state, "vif1.0", 100, 200).VifOf("vif1.0"));
        Assert.Equal("change vif vif1.0: network lan, trunks 100", Assert.Single(StateChange.Between(s_state, With(s_state, "vif1.0", 100))).Text);
    }

    [Fact]
    public void The_state_file_keeps_them()
    {
        string folder = Directory.CreateTempSubdirectory("xfp").FullName;
        try
        {
            StateFile file = new(folder, _ => { });
            file.Save(s_state);
            Assert.Equal((IEnumerable<Vif>)s_state.Vifs, file.Load().Vifs);
            string text = File.ReadAllText(file.Path);
            Assert.Equal(1, text.Split("\"trunks\"").Length - 1);
            foreach (string bad in (string[])["4095", "0", "\"7\"", "70000", "[]"])
            {
                File.WriteAllText(file.Path, text.Replace("100,", bad + ","));
                Assert.Throws<StateFileException>(file.Load);
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void Documents_have_them()
    {
        string text = HostDocument.Of(s_state).ToText();
        Assert.Equal(["trunks vif1.0 100,200"], ChecksOf(text, With(s_state, "vif1.0", 200), out HostState made));
        Assert.Equal(new TagSet([100, 200]), made.VifOf("vif1.0").Trunks);
        Assert.Empty(ChecksOf(text, s_state, out made));
        Assert.Equal((IEnumerable<Vif>)s_state.Vifs, made.Vifs);
        // Not given: none. Without the list they stay.
        HostDocument document = HostDocument.Parse(text);
        DocumentVif[] vifs = [.. document.Vifs!.Value.Select(v => v with { Trunks = null })];
        Assert.Empty(ChecksOf((document with { Vifs = [.. vifs] }).ToText(), s_state, out made));
        Assert.Null(made.VifOf("vif1.0").Trunks);
        Assert.Equal([new DoomedLink(Make.Uuid(20), "vif1.0")], made.DoomedLinks);
        ChecksOf((document with { Vifs = null }).ToText(), s_state, out made);
        Assert.Equal((IEnumerable<Vif>)s_state.Vifs, made.Vifs);
    }

    [Fact]
    public void Documents_that_orphan_a_tag_are_refused()
    {
        HostDocument document = HostDocument.Parse(HostDocument.Of(s_state).ToText());
        ImmutableArray<DocumentVlan> fewer = [.. document.Vlans.Where(v => v.Tag != 100)];
        Refusal.Of(() => ChecksOf((document with { Vlans = fewer }).ToText(), s_state, out _), "vif1.0", "): has tag 100 of eth0 in its trunks");
        Refusal.Of(() => ChecksOf((document with { Vlans = fewer, Vifs = null }).ToText(), s_state, out _), "vif1.0", "has tag 100 of eth0 in its trunks");
        DocumentVif twice = new("vif3.0", "lan", Trunks: [7, 7]), unknown = new("vif3.0", "lan", Trunks: [7]);
        Refusal.Of(() => ChecksOf((document with { Vifs = [twice] }).ToText(), s_state, out _), "vif3.0", "): tag 7 is named twice");
        Refusal.Of(() => ChecksOf((document with { Vifs = [unknown] }).ToText(), s_state, out _), "vif3.0", "): no vlan 7 on eth0");
    }

    private static List<string> ChecksOf(string text, HostState before, out HostState wanted)
    {
        FakeDocumentHost host = new();
        wanted = new DocumentApply(HostDocument.Parse(text), before, host).Wanted();
        return host.Checks;
    }

    private static HostState With(HostState state, string vif, params int[] tags) =>
        state.Change(state.VifOf(vif) with { Trunks = Rules.Trunks(vif, tags) });
}
