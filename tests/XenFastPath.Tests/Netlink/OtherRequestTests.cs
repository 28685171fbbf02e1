// Requests about FDB, addresses, tc, nftables and generic netlink against those of bridge, ip, tc, nft and ethtool.
using System.Net;
using XenFastPath.Netlink;
using static XenFastPath.Interop.Netlink;

namespace XenFastPath.Tests.Netlink;

public sealed class OtherRequestTests
{
    private const int Ndmsg = 12, Ifaddrmsg = 8, Tcmsg = 20, Genlmsghdr = 4, Nfgenmsg = 4;
    private const int Va = 5, Bridge = 2;      // ifindexes at capture

    private static void Same(string golden, int headerBytes, Action<Rtnl> client) =>
        Golden.Load(golden).AssertSame(FakeKernel.CaptureRtnl(client), headerBytes);

    private static MacAddress Mac(int last) => new(0x020000000000 + (ulong)last);

    [Fact]
    public void Fdb_changes()
    {
        const FdbState Static = FdbState.NoArp | FdbState.Reachable, Local = FdbState.NoArp | FdbState.Permanent;
        Same("req-fdb-add", Ndmsg, r => r.ChangeFdb(new FdbChange(FdbOperation.Add, Va, Mac(1), State: Static)));
        Same("req-fdb-add-vlan", Ndmsg, r => r.ChangeFdb(new FdbChange(FdbOperation.Add, Va, Mac(2), 1, Static)));
        Same("req-fdb-replace-use", Ndmsg, r => r.ChangeFdb(FdbChange.Refresh(Va, Mac(3))));
        Same("req-fdb-extern", Ndmsg, r => r.ChangeFdb(new FdbChange(
            FdbOperation.Replace, Va, Mac(4), 0, FdbState.Reachable,
            FdbFlags.Master | FdbFlags.ExternLearned | FdbFlags.Sticky)));
        Same("req-fdb-local", Ndmsg, r =>
            r.ChangeFdb(new FdbChange(FdbOperation.Add, Va, Mac(5), 0, Local, FdbFlags.Self)));
        // bridge sends its default state with a deletion; the kernel does not read it.
        Same("req-fdb-del", Ndmsg, r => r.ChangeFdb(FdbChange.Delete(Va, Mac(4)) with { State = Local }));
    }

    [Fact]
    public void Fdb_dump_of_one_bridge()
    {
        byte[] request = CaptureDump(s => new Rtnl(s).GetFdb(Bridge));
        Golden.Load("dump-fdb-bridge").AssertSame(request, Ndmsg);
    }

    [Fact]
    public void Fdb_batches_hold_every_change_once_and_ask_for_one_ack()
    {
        const int Changes = 500;
        var kernel = new FakeKernel(AckLast);
        using var rtnl = new Rtnl(new NetlinkSocket(kernel));
        FdbChange[] changes =
            [.. Enumerable.Range(1, Changes).Select(i => FdbChange.Refresh(Va, Mac(i), (ushort)(i % 3)))];
        Assert.Equal(0, rtnl.ChangeFdb(changes, out NetlinkError failure));
        Assert.False(failure.IsFailure);
        var seen = new List<FdbEntry>();
        uint sequence = 0;
        foreach (byte[] datagram in kernel.Requests)
        {
            int acks = 0;
            foreach (NetlinkMessage message in new NetlinkMessages(datagram))
            {
                Assert.Equal(++sequence, message.Sequence);
                acks += (message.Flags & NLM_F_ACK) / NLM_F_ACK;
                Assert.True(FdbEntry.TryDecode(message.Raw, out FdbEntry entry));
                seen.Add(entry);
            }
            Assert.Equal(1, acks);
        }
        Assert.Equal(
            changes.Select(c => (c.Mac, c.Vlan, c.State, c.Flags)),
            seen.Select(e => (e.Mac, e.Vlan, e.State, e.Flags)));
        Assert.InRange(kernel.Requests.Count, 2, 5);
    }

    [Fact]
    public void Fdb_batches_count_refusals_and_go_on()
    {
        var kernel = new FakeKernel(RefuseOdd);
        using var rtnl = new Rtnl(new NetlinkSocket(kernel));
        FdbChange[] changes = [.. Enumerable.Range(1, 10).Select(i => FdbChange.Refresh(Va, Mac(i)))];
        Assert.Equal(5, rtnl.ChangeFdb(changes, out NetlinkError failure));
        Assert.Equal((22, "no 1"), (failure.Errno, failure.Text));
    }

    [Fact]
    public void Addresses()
    {
        var address = new AddressInfo(Bridge, IPAddress.Parse("192.0.2.10"), 24);
        Same("req-addr-add", Ifaddrmsg, r =>
            r.AddAddress(address with { Broadcast = IPAddress.Parse("192.0.2.255"), Label = "xbr0:xfp" }));
        Same("req-addr-del", Ifaddrmsg, r => r.DeleteAddress(address));
        Same("req-addr-add-peer", Ifaddrmsg, r => r.AddAddress(
            new AddressInfo(Bridge, IPAddress.Parse("192.0.2.20"), 32)
            {
                Peer = IPAddress.Parse("198.51.100.1"),
                Scope = AddressScope.Link,
                Flags = AddressFlags.NoPrefixRoute,
            }));
        var address6 = new AddressInfo(Bridge, IPAddress.Parse("2001:db8::10"), 64);
        Same("req-addr-add6", Ifaddrmsg, r =>
            r.AddAddress(address6 with { Flags = AddressFlags.NoDuplicateDetection }));
        Same("req-addr-del6", Ifaddrmsg, r => r.DeleteAddress(address6));
    }

    [Fact]
    public void Traffic_control()
    {
        Same("req-clsact-add", Tcmsg, r => r.CreateClsact(Va));
        Same("req-clsact-del", Tcmsg, r => r.DeleteClsact(Va));
        Same("req-filter-add", Tcmsg, r => r.AddBpfFilter(Va, TcHook.Ingress, 5, 4, "tc:[*fsobj]"));
        Same("req-filter-replace", Tcmsg, r => r.SetBpfFilter(Va, TcHook.Egress, 7, 4, "tc:[*fsobj]"));
        Same("req-filter-del", Tcmsg, r => r.DeleteBpfFilter(Va, TcHook.Ingress, 5));
        Golden.Load("dump-qdisc").AssertSame(CaptureDump(s => new Rtnl(s).GetQdiscs()), Tcmsg);
        Golden.Load("dump-filter").AssertSame(CaptureDump(s => new Rtnl(s).GetFilters(Va, TcHook.Ingress)), Tcmsg);
    }

    [Fact]
    public void Nftables_chains() =>
        Golden.Load("dump-nft-chains").AssertSame(CaptureDump(s => new NftablesClient(s).GetChains()), Nfgenmsg);

    [Fact]
    public void Generic_netlink()
    {
        const string Header = "/1";     // ethtool names the device, we give its index; it also asks for compact bitsets
        AssertGeneric("genl-ethtool", g => g.GetFamily("ethtool"), 0);
        AssertGeneric("netdev-get", g => g.GetNetdev(Va), 1);
        AssertGeneric("netdev-dump", g => g.GetNetdevs(), 1);
        AssertGeneric("ethtool-channels-get", g => g.GetChannels(Va), 1, Header);
        AssertGeneric("ethtool-channels-set", g => g.SetChannels(Va, rx: 1, tx: 2), 1, Header);
        AssertGeneric("ethtool-features-get", g => g.GetFeatures(Va), 1, Header);
        AssertGeneric("ethtool-linkmodes-get", g => g.GetLinkModes(Va), 1, Header);
        AssertGeneric("ethtool-features-set", SetFeatures, 1, Header);

        static void SetFeatures(GenericNetlink generic) => generic.SetFeatures(
            Va, (EthtoolFeature.RxVlan, false), (EthtoolFeature.TxVlan, false), (EthtoolFeature.Gro, true));
    }

    [Fact]
    public void Ethtool_header_is_the_index()
    {
        byte[] request = CaptureGeneric(g => g.GetChannels(Va))[1];
        Assert.Equal(Va, new NetlinkAttributes(request.AsSpan(20)).Find(1).Nested.Find(1).S32);
    }

    private static void AssertGeneric(
        string golden, Action<GenericNetlink> client, int which, params string[] ignored) =>
        Golden.Load(golden).AssertSame(CaptureGeneric(client)[which], Genlmsghdr, attributesIgnored: ignored);

    // A kernel with the two families of the goldens, which otherwise has nothing to say.
    private static List<byte[]> CaptureGeneric(Action<GenericNetlink> client)
    {
        var kernel = new FakeKernel(request =>
        {
            bool isDump = (FakeKernel.Header(request).nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
            byte[] end = isDump ? FakeKernel.Done(request) : FakeKernel.Ack(request);
            if (FakeKernel.Header(request).nlmsg_type != 16)
                return [end];
            string name = new NetlinkAttributes(request.AsSpan(20)).Find(2).Text;
            return [FakeKernel.Replay(request, Golden.Load($"genl-{name}").Replies[0]), end];
        });
        using var generic = new GenericNetlink(new NetlinkSocket(kernel));
        client(generic);
        return kernel.Requests;
    }

    private static byte[] CaptureDump(Action<NetlinkSocket> client)
    {
        var kernel = new FakeKernel(request => [FakeKernel.Done(request)]);
        using var socket = new NetlinkSocket(kernel);
        client(socket);
        return kernel.Requests[0];
    }

    private static List<byte[]> Split(byte[] datagram)
    {
        var requests = new List<byte[]>();
        foreach (NetlinkMessage message in new NetlinkMessages(datagram))
            requests.Add(message.Raw.ToArray());
        return requests;
    }

    private static IEnumerable<Datagram> AckLast(byte[] datagram) => [FakeKernel.Ack(Split(datagram)[^1])];

    private static IEnumerable<Datagram> RefuseOdd(byte[] datagram)
    {
        List<byte[]> requests = Split(datagram);
        return [
            .. requests.Where((_, i) => i % 2 == 0).Select((r, i) => (Datagram)FakeKernel.Ack(r, 22, $"no {i + 1}")),
            FakeKernel.Ack(requests[^1])];
    }
}
