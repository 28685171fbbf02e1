// Which filters are found for a bridge. The host of the test may have filters of its own, so only ours are looked at.
using XenFastPath.Interop;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;
using XenFastPath.Tests.Netlink;
using static XenFastPath.Interop.NfTables;
using static XenFastPath.Interop.PktSched;
using static XenFastPath.Interop.RtNetlink;

namespace XenFastPath.Tests.Reconcile;

public sealed class BypassTests
{
    private const ushort NewChain = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN;
    private const ushort DeviceName = 1;        // NFTA_DEVICE_NAME
    private const uint Prerouting = 0, Input = 1, Forward = 2;

    private static readonly LinkInfo s_bridge = new() { Index = 2, Name = "lan", Kind = "bridge", Bridge = new BridgeData() };
    private static readonly LinkInfo s_port = new() { Index = 3, Name = "vif1.0", Kind = "veth", MasterIndex = 2 };
    private static readonly LinkInfo s_other = new() { Index = 4, Name = "vif2.0", Kind = "veth" };

    private readonly List<(int Ifindex, string Kind)> _qdiscs = [];
    private readonly List<(int Ifindex, TcHook Hook, string Kind, string? Name)> _filters = [];
    private readonly List<byte[]> _chains = [];
    private readonly List<string> _programs = [];

    [Fact]
    public void Nothing_is_nothing() =>
        Assert.DoesNotContain(Find(s_bridge), f => f.Contains("nft", StringComparison.Ordinal) || f.Contains("vif", StringComparison.Ordinal));

    [Theory]
    [InlineData("noqueue", false)]
    [InlineData("fq_codel", false)]
    [InlineData("clsact", false)]
    [InlineData("tbf", true)]
    [InlineData("htb", true)]
    public void Qdiscs_that_somebody_chose(string kind, bool isFound)
    {
        _qdiscs.AddRange([(3, kind), (4, "netem")]);
        Assert.Equal(isFound, Find(s_bridge).Contains($"qdisc {kind} on vif1.0"));
        Assert.DoesNotContain("qdisc netem on vif2.0", Find(s_bridge));     // not a port of this bridge
    }

    [Fact]
    public void Filters_of_others_and_not_our_own()
    {
        _filters.AddRange([(3, TcHook.Ingress, "flower", null), (3, TcHook.Egress, "bpf", "theirs")]);
        _filters.AddRange([(3, TcHook.Egress, "bpf", Bypass.OwnFilterPrefix + "slb_out"), (3, TcHook.Ingress, "bpf", Bypass.OwnFilterPrefix + "policy")]);
        _programs.Add("XDP program 7");
        IReadOnlyList<string> found = Find(s_bridge);
        Assert.Contains("tc flower filter on vif1.0 ingress", found);
        Assert.Contains("tc bpf filter on vif1.0 egress", found);
        Assert.DoesNotContain("tc bpf filter on vif1.0 ingress", found);
        Assert.Contains("XDP program 7 on vif1.0", found);
    }

    [Fact]
    public void Under_a_vlan_are_its_trunk_and_the_members_of_that()
    {
        LinkInfo vlan = new() { Index = 5, Name = "bond0.7", Kind = "vlan", MasterIndex = 2, LinkIndex = 6, Vlan = new VlanData(7, 0x8100) };
        LinkInfo bond = new() { Index = 6, Name = "bond0", Kind = "bond", Bond = new BondData() };
        LinkInfo member = new() { Index = 7, Name = "eth0", MasterIndex = 6 }, other = new() { Index = 8, Name = "eth1" };
        _filters.AddRange([(6, TcHook.Egress, "flower", null), (7, TcHook.Ingress, "flower", null), (8, TcHook.Ingress, "flower", null)]);
        _qdiscs.AddRange([(6, "htb"), (8, "tbf")]);
        AddChain(NftFamily.Netdev, 0, 1, true, "eth0");
        IReadOnlyList<string> found = Find(s_bridge, 0, vlan, bond, member, other);
        foreach (string expected in (string[])["tc flower filter on bond0 egress", "tc flower filter on eth0 ingress", "qdisc htb on bond0",
            "nft chain netdev table-of-test chain"])
            Assert.Contains(expected, found);
        Assert.DoesNotContain(found, f => f.Contains("eth1", StringComparison.Ordinal) || f.Contains("tbf", StringComparison.Ordinal));
        Assert.Contains("qdisc htb on bond0", Find(s_bridge, 0, bond with { MasterIndex = 2 }, member));
    }

    [Fact]
    public void Vlan_filtering() => Assert.Contains("vlan_filtering", Find(s_bridge with { Bridge = new BridgeData { VlanFiltering = true } }));

    [Theory]
    [InlineData(NftFamily.Bridge, Forward, 1, true, true)]
    [InlineData(NftFamily.Bridge, Forward, 0, true, false)]         // an empty chain that accepts does nothing
    [InlineData(NftFamily.Bridge, Forward, 0, false, true)]
    [InlineData(NftFamily.Inet, Prerouting, 1, true, true)]         // by bridge-nf, which is on for this bridge
    [InlineData(NftFamily.IPv4, Forward, 1, true, true)]
    [InlineData(NftFamily.Inet, Input, 1, true, false)]             // what is bridged is not for this host
    public void Chains(NftFamily family, uint hook, uint rules, bool accepts, bool isFound)
    {
        AddChain(family, hook, rules, accepts);
        IReadOnlyList<string> found = Find(s_bridge with { Bridge = new BridgeData { CallsIptables = true } });
        Assert.Equal(isFound, found.Any(f => f.Contains("table-of-test", StringComparison.Ordinal)));
        Assert.Equal(isFound && !accepts, found.Any(f => f.EndsWith("(policy drop)", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData("vif1.0", true)]
    [InlineData("vif*", true)]
    [InlineData("lan", true)]
    [InlineData("vif2.0", false)]
    [InlineData("vif1", false)]
    public void Chains_on_devices(string device, bool isFound)
    {
        AddChain(NftFamily.Netdev, 0, 1, true, device);
        Assert.Equal(isFound, Find(s_bridge).Contains("nft chain netdev table-of-test chain"));
    }

    [Fact]
    public void A_kernel_without_nf_tables_has_no_chains() =>
        Assert.DoesNotContain(Find(s_bridge, nftErrno: Errno.EPROTONOSUPPORT), f => f.Contains("nft", StringComparison.Ordinal));

    private IReadOnlyList<string> Find(LinkInfo bridge, int nftErrno = 0, params LinkInfo[] more)
    {
        using Rtnl rtnl = new(new NetlinkSocket(new FakeKernel(AnswerTc)));
        using NftablesClient nftables = new(new NetlinkSocket(new FakeKernel(r =>
            nftErrno != 0 ? [FakeKernel.Ack(r, nftErrno)] : [.. _chains.Select(c => (Datagram)FakeKernel.Reply(r, NewChain, c)), FakeKernel.Done(r)])));
        Bypass bypass = new(rtnl, nftables, index => index == s_port.Index ? _programs : []);
        return bypass.Find([bridge], [bridge, s_port, s_other, .. more]).GetValueOrDefault(bridge.Name) ?? [];
    }

    private IEnumerable<Datagram> AnswerTc(byte[] request)
    {
        NetlinkMessage.TryRead(request, out NetlinkMessage message);
        if (message.Type == RTM_GETQDISC)
        {
            // Filters hang on a qdisc of their own.
            IEnumerable<(int Ifindex, string Kind)> all = _qdiscs.Concat(_filters.Select(f => (f.Ifindex, "clsact")).Distinct());
            return [.. all.Select(q => (Datagram)Tc(request, RTM_NEWQDISC, new tcmsg { tcm_ifindex = q.Ifindex }, q.Kind, null)), FakeKernel.Done(request)];
        }

        message.TryReadHeader(out tcmsg asked, out _);
        return
        [
            .. _filters.Where(f => f.Ifindex == asked.tcm_ifindex && (uint)f.Hook == asked.tcm_parent)
                .Select(f => (Datagram)Tc(request, RTM_NEWTFILTER, asked with { tcm_handle = 1 }, f.Kind, f.Name)),
            FakeKernel.Done(request),
        ];
    }

    private static byte[] Tc(byte[] request, ushort type, tcmsg header, string kind, string? name)
    {
        var writer = new NetlinkWriter(new byte[256]);
        writer.Begin(type, 0);
        writer.Header(in header);
        writer.String(TCA_KIND, kind);
        using (writer.Nest(TCA_OPTIONS))
            writer.String(TCA_BPF_NAME, name);
        return FakeKernel.Reply(request, type, writer.Written[16..]);
    }

    private void AddChain(NftFamily family, uint hook, uint rules, bool accepts, string? device = null)
    {
        var writer = new NetlinkWriter(new byte[256]);
        writer.Begin(NewChain, 0);
        writer.Header(new nfgenmsg { nfgen_family = (byte)family });
        writer.String(NFTA_CHAIN_TABLE, "table-of-test");
        writer.String(NFTA_CHAIN_NAME, "chain");
        BigEndian(writer, NFTA_CHAIN_USE, rules);
        BigEndian(writer, NFTA_CHAIN_POLICY, accepts ? 1u : 0);
        using (writer.Nest(NFTA_CHAIN_HOOK))
        {
            BigEndian(writer, NFTA_HOOK_HOOKNUM, hook);
            if (device is not null)
            {
                using (writer.Nest(NFTA_HOOK_DEVS))
                    writer.String(device.EndsWith('*') ? NFTA_DEVICE_PREFIX : DeviceName, device.TrimEnd('*'));
            }
        }

        _chains.Add(writer.Written[16..].ToArray());
    }

    private static void BigEndian(NetlinkWriter writer, ushort type, uint value) =>
        writer.U32(type, System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(value));
}
