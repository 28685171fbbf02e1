// Trunk VIFs on a host: the steps, and that whatever happens each tag is in its Network and nowhere else.
using System.Text;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;
using XenFastPath.Tests.Api;

namespace XenFastPath.Tests.Reconcile;

public sealed class TrunkPlanTests
{
    private readonly Host _host = new();
    private readonly StringBuilder _text = new();

    [Fact]
    public void A_trunk_vif_comes_changes_and_goes()
    {
        _host.AddNic("eth0", 1, mtu: 9000);
        LinkInfo vif = _host.AddVeth("vif1.0");
        Step("lan by eth0, whose tags 100 and 4000 are prod and test; vif1.0 in lan", () =>
        {
            _host.Connect("eth0", _host.Create("lan", datapath: Datapath.Afxdp));
            _host.Tag("eth0", 100, _host.Create("prod", mtu: 4000, datapath: Datapath.Afxdp));
            _host.Tag("eth0", 4000, _host.Create("test"));
            _host.Plug("vif1.0", _host.State.NetworkOf("lan"));
        });
        Step("trunks 100 and 4000", () => Set("vif1.0", 100, 4000));
        Assert.Equal(("prod", "test"), (BridgeOf("vif1.0.100"), BridgeOf("vif1.0.4000")));
        Step("somebody deletes vif1.0.100", () => _host.Kernel.Vanish(_host.Kernel.Find("vif1.0.100")!.Index));
        Step("vif1.0 is called guest-of-honour", () => _host.Kernel.Edit(vif.Index, l => l with { Name = "guest-of-honour" }));
        Step("trunks 4000", () => Set("guest-of-honour", 4000));
        Step("trunks 100", () => Set("guest-of-honour", 100));
        Assert.Equal(["guest-of-honour.100"], _host.Kernel.Find("vlan100.0")!.AltNames);
        Step("trunks none", () => Set("guest-of-honour"));
        Step("trunks 100, and unplug", () =>
        {
            Set("guest-of-honour", 100);
            _host.Converge();
            _host.State = _host.State.Remove(_host.State.VifOf("guest-of-honour"));
        });
        Assert.Equal(["eth0", "eth0.100", "eth0.4000", "guest-of-honour", "lan", "prod", "test"],
            _host.Kernel.Links.Select(l => l.Name).Order(StringComparer.Ordinal));
        Assert.Empty(_host.State.DoomedLinks);
        Golden.Check(Golden.File("trunks.txt"), _text.ToString());
    }

    [Fact]
    public void The_device_goes_with_its_tags_and_a_strangers_subinterface_is_no_tag()
    {
        _host.AddNic("eth0", 1);
        LinkInfo vif = _host.AddVeth("vif1.0");
        _host.Connect("eth0", _host.Create("lan"));
        _host.Tag("eth0", 100, _host.Create("prod"));
        _host.Plug("vif1.0", _host.State.NetworkOf("lan"));
        _host.Kernel.Add(new LinkInfo { Name = "mine", Kind = "vlan", Vlan = new VlanData(100, 0x8100), LinkIndex = vif.Index });
        RefusalException e = Assert.Throws<RefusalException>(() => Admission.Trunks(
            _host.State.VifOf("vif1.0") with { Trunks = new TagSet([100]) }, _host.State, _host.Look()));
        Assert.Equal("vif1.0: has mine with tag 100, which is not ours; delete it first (ip link del mine)", e.Message);
        _host.Kernel.Vanish(_host.Kernel.Find("mine")!.Index);
        Set("vif1.0", 100);
        Admission.Trunks(_host.State.VifOf("vif1.0"), _host.State, _host.Look());
        _host.Converge();
        Admission.Trunks(_host.State.VifOf("vif1.0"), _host.State, _host.Look());
        Admission.Destroy(_host.State.NetworkOf("prod"), _host.State, _host.Look());     // its port vif1.0.100 is ours
        _host.Kernel.Vanish(vif.Index);
        _host.Converge();
        Assert.Equal(["eth0", "eth0.100"], _host.FastPath.Ports.Keys.Select(i => _host.Kernel.Find(i)!.Name).Order(StringComparer.Ordinal));
        Assert.Empty(_host.State.DoomedLinks);
    }

    [Theory]
    [InlineData(1000, false)]
    [InlineData(2000, true)]
    public void Whatever_happens_each_tag_is_in_its_network_and_nowhere_else(int firstSeed, bool withFaults)
    {
        int tags = 0;
        for (int seed = firstSeed; seed < firstSeed + 40; seed++)
        {
            World world = new(seed);
            for (int step = 0; step < 40; step++)
                tags += world.Step(withFaults);
        }

        Assert.True(tags > 1000, $"{tags} tags: the test tests nothing");
    }

    /// <summary>lan and san with a card each, tags 1 and 2 of each with Networks of their own; guests come, change, and go.</summary>
    private sealed class World
    {
        private readonly Host _host = new();
        private readonly Random _random;
        private readonly List<string> _log = [];

        public World(int seed)
        {
            _random = new Random(seed);
            foreach ((string label, int number) in (ReadOnlySpan<(string, int)>)[("lan", 1), ("san", 2)])
            {
                _host.AddNic($"eth{number}", number, mtu: 9000);
                _host.Connect($"eth{number}", _host.Create(label, datapath: Datapath.Afxdp));
                for (int tag = 1; tag <= 2; tag++)
                    _host.Tag($"eth{number}", tag, _host.Create($"{label}{tag}", datapath: Datapath.Afxdp));
            }

            _host.Kernel.Changed = OnChange;
        }

        public int Step(bool withFaults)
        {
            try
            {
                for (int i = 0; i < 3; i++)
                    Do(_random.Next(8));
                _host.Kernel.Fault = _ => withFaults && _random.Next(6) == 0 ? 16 : 0;      // EBUSY
                for (int i = 0; i < 3 && withFaults; i++)
                    _host.Round();
                _host.Kernel.Fault = _ => 0;
                _log.Add(_host.Converge());
                return Check();
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"{e.Message}\n{string.Join('\n', _log)}", e);
            }
        }

        private void Do(int what)
        {
            _log.Add($"do {what}");
            Vif? vif = _host.State.Vifs.Length == 0 ? null : _host.State.Vifs[_random.Next(_host.State.Vifs.Length)];
            string label = _random.Next(2) == 0 ? "lan" : "san";
            LinkInfo? made = _host.Kernel.Links.FirstOrDefault(l => l.Name.StartsWith("vif", StringComparison.Ordinal) && l.Vlan is not null);
            switch (what)
            {
                case 0 or 1: _host.Plug(_host.AddVeth($"vif{_random.Next(1_000_000_000)}").Name, _host.State.NetworkOf(label)); break;
                case 2 or 3 when vif is not null:
                    TagSet trunks = new(Enumerable.Range(1, 2).Where(_ => _random.Next(2) == 0).Select(t => (ushort)t));
                    _host.State = _host.State.Change(vif with { Trunks = trunks.Tags.Length == 0 ? null : trunks });
                    break;
                case 4 when vif is not null: _host.State = _host.State.Change(vif with { Network = _host.State.NetworkOf(label).Uuid }); break;
                case 5 when vif is not null: _host.State = _host.State.Remove(vif); break;
                case 6:
                    Network network = _host.State.NetworkOf(label + _random.Next(1, 3));
                    _host.State = _host.State.Change(network with { Mtu = _random.Next(68, 3000) });
                    break;
                case 7 when made is not null: _host.Kernel.Vanish(_random.Next(2) == 0 ? made.Index : made.LinkIndex); break;
            }
        }

        private int Check()
        {
            int tags = 0;
            HashSet<int> wanted = [];
            foreach (Vif vif in _host.State.Vifs)
            {
                LinkInfo device = _host.Kernel.Find(vif.Binding.Ifindex)!;
                Assert.Equal((true, vif.Trunks is not null), (_host.FastPath.Ports[device.Index].DropsTags, _host.FastPath.Ports[device.Index].IsTrunk));
                Assert.False(vif.Trunks is not null && _host.FastPath.Ports[device.Index].Path == PortPath.Afxdp, $"{device.Name} is a trunk on the fast path");
                foreach (Vlan vlan in _host.State.VlansOf(vif))
                {
                    LinkInfo tag = _host.Kernel.Links.Single(l => l.Vlan?.Id == vlan.Tag && l.LinkIndex == device.Index);
                    Network network = _host.State.NetworkOf(vlan.Network);
                    Assert.Equal((_host.Kernel.Find(network.Bridge)!.Index, network.Mtu, true), (tag.MasterIndex, tag.Mtu, tag.IsUp));
                    PortSettings port = _host.FastPath.Ports[tag.Index];
                    Assert.Equal((network.Id, device.Index, vlan.Tag, true, false, true, PortPath.Bridge),
                        (port.NetworkId, port.TrunkIfindex, port.Tag, port.DropsTags, port.IsTrunk, port.IsForwarding, port.Path));
                    wanted.Add(tag.Index);
                    tags++;
                }
            }

            // One whose maker was cut off before it had its mark is nobody's.
            Assert.DoesNotContain(_host.Kernel.Links, l => l.Vlan is not null && !l.Name.StartsWith("eth", StringComparison.Ordinal)
                && !wanted.Contains(l.Index) && (l.Alias is not null || l.MasterIndex != 0));
            Assert.DoesNotContain(_host.FastPath.Ports.Keys, i => _host.Kernel.Find(i) is null);
            Assert.Empty(_host.State.DoomedLinks);
            return tags;
        }

        /// <summary>A tag is never up outside a bridge, where dom0 would answer the guest; and its policy is there first.</summary>
        private void OnChange(LinkInfo? before, LinkInfo? after)
        {
            if (after?.Vlan is null || after.Name.StartsWith("eth", StringComparison.Ordinal))
                return;
            Assert.False(after.IsUp && after.MasterIndex == 0, $"{after.Name} is up without a bridge (it was in {before?.MasterIndex})");
            Assert.True(after.MasterIndex == 0 || _host.FastPath.Ports.ContainsKey(after.Index), $"{after.Name} is attached before its policy");
        }
    }

    private string BridgeOf(string device) => _host.Kernel.Find(_host.Kernel.Find(device)!.MasterIndex)!.Name;

    private void Set(string vif, params int[] tags) =>
        _host.State = _host.State.Change(_host.State.VifOf(vif) with { Trunks = Rules.Trunks(vif, tags) });

    private void Step(string what, Action change)
    {
        change();
        _text.Append($"{what}\n").Append(_host.Converge());
    }
}
