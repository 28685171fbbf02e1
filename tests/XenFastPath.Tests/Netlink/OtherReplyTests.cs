// Messages of a real kernel (6.18) about FDB, addresses, tc, nftables and generic netlink.
using System.Net;
using XenFastPath.Netlink;
using static XenFastPath.Interop.Netlink;

namespace XenFastPath.Tests.Netlink;

public sealed class OtherReplyTests
{
    private static readonly EthtoolChannels s_channels = new() { Ifindex = 5, Rx = 2, RxMax = 2, Tx = 2, TxMax = 2 };

    private static MacAddress Mac(string text) => MacAddress.Parse(text);

    [Fact]
    public void Fdb_of_one_bridge()
    {
        List<FdbEntry> entries = Golden.Load("dump-fdb-bridge").Decode<FdbEntry>(FdbEntry.TryDecode);
        FdbEntry port = entries.Single(e => e.Mac == Mac("02:00:00:00:00:01"));
        Assert.Equal((5, 2, FdbState.NoArp, FdbFlags.None), (port.Ifindex, port.MasterIndex, port.State, port.Flags));
        Assert.Equal((0, false, false, false), (port.Vlan, port.IsDeleted, port.IsLocked, port.IsPermanent));
        Assert.Equal(port.UpdatedTicks / 100.0, port.UpdatedSeconds);
        Assert.InRange(port.UpdatedSeconds, 0.01, 5);
        Assert.InRange(port.UsedSeconds, 0.01, 5);
        FdbEntry own = entries.Single(e => e.Mac == Mac("52:54:00:00:00:0a") && !e.IsSelf);
        Assert.Equal((5, 2, true), (own.Ifindex, own.MasterIndex, own.IsPermanent));
        FdbEntry self = entries.Single(e => e.Mac == Mac("02:00:00:00:00:05"));
        Assert.Equal((5, 0, FdbFlags.Self, true), (self.Ifindex, self.MasterIndex, self.Flags, self.IsSelf));
        Assert.All(entries, e => Assert.Contains(e.Ifindex, new[] { 2, 5 }));
    }

    [Fact]
    public void Fdb_of_everything() => Assert.Contains(
        Golden.Load("dump-fdb").Decode<FdbEntry>(FdbEntry.TryDecode),
        e => e.Ifindex == 6 && e.IsSelf && e.Mac.IsMulticast);

    [Fact]
    public void Fdb_notifications_learn_move_set_delete()
    {
        List<FdbEntry> events = Golden.Load("notify-fdb").Decode<FdbEntry>(FdbEntry.TryDecode);
        MacAddress learned = Mac("02:00:00:00:00:aa");
        Assert.Equal(
            [
                (8, 2, learned, FdbState.Reachable, FdbFlags.None, false),
                (6, 2, learned, FdbState.Reachable, FdbFlags.None, false),
                (8, 2, Mac("02:00:00:00:00:bb"), FdbState.NoArp, FdbFlags.Sticky, false),
                (6, 2, learned, FdbState.Reachable, FdbFlags.None, true),
            ],
            events.Select(e => (e.Ifindex, e.MasterIndex, e.Mac, e.State, e.Flags, e.IsDeleted)));
    }

    [Fact]
    public void Fdb_decoding_takes_extended_flags_and_vlan()
    {
        var writer = new NetlinkWriter(new byte[128]);
        writer.Begin(28, 0);
        writer.Header(new XenFastPath.Interop.ndmsg { ndm_family = 7, ndm_ifindex = 9, ndm_state = 2 });
        writer.Mac(2, Mac("02:00:00:00:00:aa"));
        writer.U16(5, 4094);
        writer.U32(15, 2);
        Assert.True(FdbEntry.TryDecode(writer.Written, out FdbEntry entry));
        Assert.Equal((4094, true), (entry.Vlan, entry.IsLocked));
    }

    [Fact]
    public void Fdb_decoding_leaves_other_messages()
    {
        Assert.False(FdbEntry.TryDecode(Golden.Load("get-link").Replies[0], out _));
        byte[] arp = [.. Golden.Load("notify-fdb").Replies[0]];
        arp[16] = 2;
        Assert.False(FdbEntry.TryDecode(arp, out _));
        Assert.False(FdbEntry.TryDecode([], out _));
    }

    [Fact]
    public void Fdb_decoding_does_not_allocate()
    {
        byte[] message = Golden.Load("notify-fdb").Replies[1];
        int decoded = 0;
        for (int i = 0; i < 100; i++)
            decoded += FdbEntry.TryDecode(message, out _) ? 1 : 0;
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 10_000; i++)
            decoded += FdbEntry.TryDecode(message, out _) ? 1 : 0;
        Assert.Equal((10_100, 0), (decoded, GC.GetAllocatedBytesForCurrentThread() - before));
    }

    [Fact]
    public void Fdb_changes_survive_encoding_decoding_and_encoding()
    {
        var change = new FdbChange(
            FdbOperation.Add, 7, Mac("02:00:00:00:00:aa"), 5, FdbState.Reachable, FdbFlags.Master | FdbFlags.Use);
        byte[] first = FakeKernel.CaptureRtnl(r => r.ChangeFdb(change));
        Assert.True(FdbEntry.TryDecode(first, out FdbEntry e));
        byte[] second = FakeKernel.CaptureRtnl(r =>
            r.ChangeFdb(new FdbChange(FdbOperation.Add, e.Ifindex, e.Mac, e.Vlan, e.State, e.Flags)));
        Assert.Equal(Golden.Hex(first), Golden.Hex(second));
    }

    [Fact]
    public void Addresses()
    {
        List<AddressInfo> all = Golden.Load("dump-addr").Decode<AddressInfo>(AddressInfo.TryDecode);
        Assert.Contains(
            new AddressInfo(2, IPAddress.Parse("192.0.2.10"), 24)
            {
                Broadcast = IPAddress.Parse("192.0.2.255"),
                Label = "xbr0:xfp",
                Flags = AddressFlags.Permanent,
            },
            all);
        Assert.Contains(
            new AddressInfo(2, IPAddress.Parse("192.0.2.20"), 32)
            {
                Peer = IPAddress.Parse("198.51.100.1"),
                Scope = AddressScope.Link,
                Label = "xbr0",
                Flags = AddressFlags.Permanent | AddressFlags.NoPrefixRoute,
            },
            all);
        AddressInfo six = all.Single(a => a.Local.Equals(IPAddress.Parse("2001:db8::10")));
        Assert.Equal((2, 64, true, null), (six.Ifindex, six.PrefixLength, six.IsIpv6, six.Peer));
        Assert.True(six.Flags.HasFlag(AddressFlags.Permanent | AddressFlags.NoDuplicateDetection));
        Assert.Contains(all, a => a is { IsIpv6: true, Scope: AddressScope.Link, PrefixLength: 64 });
    }

    [Fact]
    public void Address_notifications()
    {
        List<AddressInfo> events = Golden.Load("notify-addr").Decode<AddressInfo>(AddressInfo.TryDecode);
        Assert.Equal(2, events.Count);
        Assert.All(
            events, a => Assert.Equal((IPAddress.Parse("192.0.2.1"), 24, "xbr0"), (a.Local, a.PrefixLength, a.Label)));
    }

    [Fact]
    public void Addresses_survive_encoding_decoding_and_encoding()
    {
        var address = new AddressInfo(2, IPAddress.Parse("192.0.2.20"), 32)
        {
            Peer = IPAddress.Parse("198.51.100.1"),
            Broadcast = IPAddress.Parse("192.0.2.255"),
            Label = "x",
            Scope = AddressScope.Host,
            Flags = AddressFlags.NoPrefixRoute | AddressFlags.Permanent,
        };
        byte[] first = FakeKernel.CaptureRtnl(r => r.AddAddress(address));
        NetlinkMessage.TryRead(first, out NetlinkMessage message);
        Assert.True(AddressInfo.TryDecode(message, out AddressInfo? decoded));
        Assert.Equal(address, decoded);
        Assert.Equal(Golden.Hex(first), Golden.Hex(FakeKernel.CaptureRtnl(r => r.AddAddress(decoded))));
    }

    [Fact]
    public void Qdiscs()
    {
        List<QdiscInfo> qdiscs = Golden.Load("dump-qdisc").Decode<QdiscInfo>(QdiscInfo.TryDecode);
        Assert.Contains(new QdiscInfo(5, "clsact", 0xffff0000, 0xfffffff1), qdiscs);
        Assert.Contains(new QdiscInfo(2, "noqueue", 0, 0xffffffff), qdiscs);
        Assert.Equal(
            [new QdiscInfo(8, "clsact", 0xffff0000, 0xfffffff1), new QdiscInfo(8, "clsact", 0xffff0000, 0xfffffff1)],
            Golden.Load("notify-tc").Decode<QdiscInfo>(QdiscInfo.TryDecode));
    }

    [Fact]
    public void Filters()
    {
        List<FilterInfo> filters = Golden.Load("dump-filter").Decode<FilterInfo>(FilterInfo.TryDecode);
        FilterInfo bpf = filters.Single(f => f.Kind == "bpf");
        Assert.Equal(
            (5, (uint)TcHook.Ingress, (ushort)5, (ushort)3, 1u, 0u),
            (bpf.Ifindex, bpf.Parent, bpf.Priority, bpf.Protocol, bpf.Handle, bpf.Chain));
        Assert.Equal(("tc:[*fsobj]", true), (bpf.BpfName, bpf.BpfDirectAction));
        Assert.NotEqual(0u, bpf.BpfProgramId);
        Assert.All(filters.Where(f => f != bpf), f => Assert.Equal(
            ("u32", (ushort)9, (ushort)0x0800, null, 0u, false),
            (f.Kind, f.Priority, f.Protocol, f.BpfName, f.BpfProgramId, f.BpfDirectAction)));
        Assert.Equal(3, filters.Count);
        FilterInfo added = Assert.Single(Golden.Load("notify-tc").Decode<FilterInfo>(FilterInfo.TryDecode));
        Assert.Equal(((uint)TcHook.Egress, (ushort)3, "bpf"), (added.Parent, added.Priority, added.Kind));
    }

    [Fact]
    public void Nftables_chains()
    {
        List<NftChain> chains = Golden.Load("dump-nft-chains").Decode<NftChain>(NftChain.TryDecode);
        Assert.Equal(["helper", "input", "one", "pre", "two"], chains.Select(c => c.Name).Order());
        NftChain pre = chains.Single(c => c.Name == "pre");
        Assert.Equal(
            (NftFamily.Bridge, "xfp", 1u, "filter", true),
            (pre.Family, pre.Table, pre.UseCount, pre.Type, pre.Accepts));
        Assert.Equal((0u, -300), (pre.Hook!.Hook, pre.Hook.Priority));
        Assert.Empty(pre.Hook.Devices);
        NftChain helper = chains.Single(c => c.Name == "helper");
        Assert.Equal((null, null, null), (helper.Hook, helper.Type, helper.Accepts));
        NftChain two = chains.Single(c => c.Name == "two");
        Assert.Equal((NftFamily.Netdev, "nd", 0u, false), (two.Family, two.Table, two.UseCount, two.Accepts));
        Assert.Equal((0u, 5), (two.Hook!.Hook, two.Hook.Priority));
        Assert.Equal(["va", "vb"], two.Hook.Devices.Order());
        Assert.Equal(["vb"], chains.Single(c => c.Name == "one").Hook!.Devices);
        NftChain input = chains.Single(c => c.Name == "input");
        Assert.Equal((NftFamily.Inet, 1u), (input.Family, input.Hook!.Hook));
        Assert.Equal(["c", "c"], Golden.Load("notify-nft").Decode<NftChain>(NftChain.TryDecode).Select(c => c.Name));
    }

    [Fact]
    public void Nftables_device_prefixes_end_in_a_star()
    {
        var writer = new NetlinkWriter(new byte[256]);
        writer.Begin(10 << 8 | 3, 0);
        writer.Header(new XenFastPath.Interop.nfgenmsg { nfgen_family = 5 });
        using (writer.Nest(4))
        using (writer.Nest(4))
        {
            writer.String(1, "eth0");
            writer.String(2, "vif");
        }
        NetlinkMessage.TryRead(writer.Written, out NetlinkMessage message);
        Assert.True(NftChain.TryDecode(message, out NftChain? chain));
        Assert.Equal(["eth0", "vif*"], chain.Hook!.Devices);
    }

    [Fact]
    public void No_nftables_means_no_chains()
    {
        var kernel = new FakeKernel(request => [FakeKernel.Ack(request, 22)]);
        using var client = new NftablesClient(new NetlinkSocket(kernel));
        Assert.Empty(client.GetChains());
    }

    [Fact]
    public void Generic_families()
    {
        GenericFamily netdev = Replaying("genl-netdev").GetFamily("netdev")!;
        Assert.Equal(("netdev", (ushort)20, 1u), (netdev.Name, netdev.Id, netdev.Version));
        Assert.Equal(["mgmt", "page-pool"], netdev.Groups.Keys.Order());
        Assert.DoesNotContain(0u, netdev.Groups.Values);
        using var none = new GenericNetlink(new NetlinkSocket(new FakeKernel(request => [FakeKernel.Ack(request, 2)])));
        Assert.Null(none.GetFamily("netdev"));
        Assert.Null(none.GetNetdev(5));
        Assert.Null(none.GetNetdevs());
    }

    [Fact]
    public void Xdp_features()
    {
        using GenericNetlink one = Replaying("genl-netdev", "netdev-get");
        var veth = new NetdevInfo(
            5, XdpFeatures.Basic | XdpFeatures.Redirect | XdpFeatures.ReceiveMultiBuffer, 0,
            XdpReceiveMetadata.Timestamp | XdpReceiveMetadata.Hash | XdpReceiveMetadata.VlanTag, XskFeatures.None);
        Assert.Equal(veth, one.GetNetdev(5));
        using GenericNetlink all = Replaying("genl-netdev", "netdev-dump");
        List<NetdevInfo> devices = all.GetNetdevs()!;
        Assert.Contains(veth, devices);
        Assert.Contains(new NetdevInfo(1, XdpFeatures.None, 0, XdpReceiveMetadata.None, XskFeatures.None), devices);
    }

    [Fact]
    public void Ethtool_channels_and_link_modes()
    {
        using GenericNetlink channels = Replaying("genl-ethtool", "ethtool-channels-get");
        Assert.Equal(s_channels, channels.GetChannels(5));
        using GenericNetlink modes = Replaying("genl-ethtool", "ethtool-linkmodes-get");
        Assert.Equal(new EthtoolLinkModes(10_000, FullDuplex: true), modes.GetLinkModes(5));
    }

    [Fact]
    public void Channels_of_all_devices()
    {
        using var generic = new GenericNetlink(new NetlinkSocket(new FakeKernel(request =>
        {
            if (FakeKernel.Header(request).nlmsg_type == 16)
                return [FakeKernel.Replay(request, Golden.Load("genl-ethtool").Replies[0]), FakeKernel.Ack(request)];
            Assert.Equal(NLM_F_DUMP, FakeKernel.Header(request).nlmsg_flags & NLM_F_DUMP);
            return [FakeKernel.Replay(request, Golden.Load("ethtool-channels-get").Replies[0]), FakeKernel.Done(request)];
        })));
        Assert.Equal([s_channels], generic.GetAllChannels());
    }

    [Fact]
    public void Ethtool_features()
    {
        using GenericNetlink generic = Replaying("genl-ethtool", "ethtool-features-verbose");
        EthtoolFeatures features = generic.GetFeatures(5)!;
        Assert.True(features.IsActive(EthtoolFeature.TxVlan));
        Assert.True(features.IsChangeable(EthtoolFeature.RxVlan));
        Assert.True(features.IsActive(EthtoolFeature.Gso));
        Assert.False(features.IsActive("rx-udp_tunnel-port-offload"));
        Assert.False(features.IsChangeable("rx-udp_tunnel-port-offload"));
        Assert.Contains("rx-gro", features.Hardware);
        Assert.DoesNotContain("rx-gro", features.Active);
        Assert.Equal(["vlan-challenged"], features.NoChange);
        // The compact form that ethtool asked for has as many bits.
        var compact = new NetlinkAttributes(Golden.Load("ethtool-features-get").Replies[0].AsSpan(20));
        Assert.Equal(
            [Bits(compact.Find(2)), Bits(compact.Find(3)), Bits(compact.Find(4)), Bits(compact.Find(5))],
            new[] { features.Hardware.Count, features.Wanted.Count, features.Active.Count, features.NoChange.Count });

        static int Bits(NetlinkAttribute bitset) => System.Numerics.BitOperations.PopCount(bitset.Nested.Find(4).U64);
    }

    [Fact]
    public void A_device_without_channels_has_null()
    {
        var kernel = new FakeKernel(request => FakeKernel.Header(request).nlmsg_type == 16
            ? [FakeKernel.Replay(request, Golden.Load("genl-ethtool").Replies[0]), FakeKernel.Ack(request)]
            : [FakeKernel.Ack(request, 95)]);
        using var generic = new GenericNetlink(new NetlinkSocket(kernel));
        Assert.Null(generic.GetChannels(1));
    }

    // A kernel that plays back one golden after the other, whatever is asked.
    private static GenericNetlink Replaying(params string[] goldens)
    {
        int next = 0;
        return new GenericNetlink(new NetlinkSocket(new FakeKernel(request =>
            [.. Golden.Load(goldens[next++]).Replies.Select(r => FakeKernel.Replay(request, r))])));
    }
}
