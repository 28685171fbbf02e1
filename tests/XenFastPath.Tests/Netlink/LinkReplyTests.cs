// Link messages of a real kernel (6.18), and handmade ones of drivers that it lacks.
using System.Net;
using XenFastPath.Netlink;

namespace XenFastPath.Tests.Netlink;

public sealed class LinkReplyTests
{
    private static readonly Dictionary<string, LinkInfo> s_links =
        Golden.Load("dump-links").Decode<LinkInfo>(LinkInfo.TryDecode).ToDictionary(l => l.Name);

    private static LinkInfo Handmade(string name) =>
        Golden.Load("handmade").Decode<LinkInfo>(LinkInfo.TryDecode).Single(l => l.Name == name);

    [Fact]
    public void A_dump_has_every_link() =>
        Assert.Equal(["lo", "tap0", "va", "vb", "vc", "vx0", "vx6", "xbr0"], s_links.Keys.Order());

    [Fact]
    public void Loopback_has_only_the_basics()
    {
        var expected = new LinkInfo
        {
            Index = 1,
            Name = "lo",
            Flags = LinkFlags.Loopback,
            OperState = OperState.Down,
            Mtu = 65536,
            TxQueueLength = 1000,
            Address = default(MacAddress),
            RxQueues = 1,
            TxQueues = 1,
            Ipv6LinkLocal = true,
        };
        Assert.Equal(expected, s_links["lo"]);
    }

    [Fact]
    public void Bridge()
    {
        LinkInfo bridge = s_links["xbr0"];
        Assert.Equal(
            new BridgeData
            {
                Id = new BridgeId(0x1000, MacAddress.Parse("52:54:00:00:00:01")),
                AgeingTime = TimeSpan.FromSeconds(10),
                ForwardDelay = TimeSpan.FromSeconds(2),     // the kernel's least while it speaks STP
                Stp = true,
                GroupForwardMask = 0x4000,
                CallsIptables = true,
                FdbLearned = 0,
                FdbLearnedMax = 0,
            },
            bridge.Bridge);
        Assert.Equal("1000.525400000001", bridge.Bridge!.Id.ToString());
        Assert.Equal(("bridge", null, 68, 65535), (bridge.Kind, bridge.SlaveKind, bridge.MinMtu, bridge.MaxMtu));
        Assert.Equal(LinkFlags.Up | LinkFlags.Broadcast | LinkFlags.Multicast, bridge.Flags);
        Assert.Equal((true, false, false), (bridge.IsUp, bridge.IsRunning, bridge.IsLowerUp));
    }

    [Fact]
    public void Bridge_port()
    {
        LinkInfo port = s_links["va"];
        Assert.Equal(
            new BridgePortData
            {
                State = BridgePortState.Listening,
                PortNumber = 1,
                Hairpin = true,
                Learning = false,
                MulticastFlood = false,
                NeighbourSuppress = true,
                Isolated = true,
            },
            port.BridgePort);
        Assert.Equal(("veth", "bridge", 2, 4), (port.Kind, port.SlaveKind, port.MasterIndex, port.LinkIndex));
        Assert.Equal(("port of tenant 7", "a-long-alternative-name"), (port.Alias, Assert.Single(port.AltNames)));
        Assert.Equal((1450, 2, 2, 2), (port.Mtu, port.RxQueues, port.TxQueues, port.Promiscuity));
        Assert.Equal(
            (OperState.Up, true, true, false), (port.OperState, port.IsRunning, port.IsLowerUp, port.IsPortMessage));
    }

    [Fact]
    public void Xdp_stats_and_namespaces()
    {
        LinkInfo va = s_links["va"], vb = s_links["vb"];
        Assert.Equal(XdpMode.Generic, vb.Xdp.Mode);
        Assert.NotEqual(0u, vb.Xdp.ProgramId);
        Assert.Equal(
            (vb.Xdp.ProgramId, 0u, 0u), (vb.Xdp.GenericProgramId, vb.Xdp.DriverProgramId, vb.Xdp.HardwareProgramId));
        Assert.Equal(default, va.Xdp);
        Assert.NotEqual(0ul, va.Stats.RxFrames);
        Assert.NotEqual(0ul, va.Stats.RxBytes);
        // What one end of a veth sends the other receives.
        Assert.Equal(
            (va.Stats.RxFrames, va.Stats.RxBytes, va.Stats.TxFrames, va.Stats.TxBytes),
            (vb.Stats.TxFrames, vb.Stats.TxBytes, vb.Stats.RxFrames, vb.Stats.RxBytes));
        Assert.Equal((2, 0), (s_links["vc"].LinkIndex, s_links["vc"].LinkNetnsId));
        Assert.Null(va.LinkNetnsId);
    }

    [Fact]
    public void Stats_come_from_the_right_places()
    {
        // 0..8 in the order of rtnl_link_stats64: rx and tx packets, bytes, errors, dropped.
        ulong[] counters = [100, 101, 102, 103, 104, 105, 106, 107, 108];
        var writer = new NetlinkWriter(new byte[256]);
        writer.Begin(16, 0);
        writer.Header(default(XenFastPath.Interop.ifinfomsg));
        writer.Bytes(23, System.Runtime.InteropServices.MemoryMarshal.AsBytes<ulong>(counters));
        NetlinkMessage.TryRead(writer.Written, out NetlinkMessage message);
        Assert.True(LinkInfo.TryDecode(message, out LinkInfo? link));
        Assert.Equal(new LinkStats(100, 102, 104, 106, 101, 103, 105, 107), link.Stats);
    }

    [Fact]
    public void Vxlan_and_tap()
    {
        Assert.Equal(
            new VxlanData(42, IPAddress.Parse("192.0.2.1"), IPAddress.Parse("192.0.2.2"), 4789, 5, Learning: false),
            s_links["vx0"].Vxlan);
        Assert.Equal(
            new VxlanData(44, IPAddress.Parse("ff05::1"), IPAddress.Parse("2001:db8::2"), 8472, 5, Learning: true),
            s_links["vx6"].Vxlan);
        Assert.Equal(
            new TunData(TunType.Tap, VnetHeader: true, MultiQueue: true, Persistent: true, Queues: 0),
            s_links["tap0"].Tun);
        Assert.Equal((1400, 65521), (s_links["tap0"].Mtu, s_links["tap0"].MaxMtu));
    }

    [Fact]
    public void Bond_of_802_3ad()
    {
        LinkInfo bond = Handmade("bond0");
        Assert.Equal(
            new BondData
            {
                Mode = BondMode.Lacp,
                MiiMonitorMs = 100,
                UpDelayMs = 200,
                DownDelayMs = 300,
                HashPolicy = BondHashPolicy.Layer34,
                FailOverMac = 2,
                MinLinks = 1,
                LacpRateFast = true,
                Aggregator = new BondAggregator(3, 2, 15, 33, MacAddress.Parse("00:1b:21:00:00:01")),
            },
            bond.Bond);
        Assert.True(bond.Flags.HasFlag(LinkFlags.Master | LinkFlags.LowerUp | LinkFlags.Running | LinkFlags.Up));
    }

    [Fact]
    public void Bond_slave()
    {
        LinkInfo slave = Handmade("eth1");
        Assert.Equal(
            new BondSlaveData
            {
                State = BondSlaveState.Backup,
                MiiStatus = BondMiiStatus.Down,
                LinkFailures = 7,
                PermanentAddress = MacAddress.Parse("52:54:00:00:00:11"),
                QueueId = 0,
                AggregatorId = 3,
                ActorPortState = 0x3d,
                PartnerPortState = 0x3f,
            },
            slave.BondSlave);
        Assert.Equal((10, "bond"), (slave.MasterIndex, slave.SlaveKind));
        Assert.Equal(
            (MacAddress.Parse("52:54:00:00:00:10"), MacAddress.Parse("52:54:00:00:00:11")),
            (slave.Address, slave.PermanentAddress));
        Assert.Equal(("0000:03:00.0", "pci"), (slave.ParentDeviceName, slave.ParentBusName));
    }

    [Fact]
    public void Bond_that_fails_over()
    {
        LinkInfo link = Handmade("bond1");
        Assert.Equal(LinkEvent.BondingFailover, link.Event);
        Assert.Equal(
            (BondMode.ActiveBackup, 11, 12),
            (link.Bond!.Mode, link.Bond.ActiveSlaveIndex, link.Bond.PrimarySlaveIndex));
        Assert.Equal((500, false), (link.Bond.ArpIntervalMs, link.Bond.UseCarrier));
        Assert.Equal([IPAddress.Parse("192.0.2.1"), IPAddress.Parse("192.0.2.2")], link.Bond.ArpTargets);
    }

    [Fact]
    public void Vlan()
    {
        LinkInfo vlan = Handmade("eth1.7");
        Assert.Equal(new VlanData(7, 0x88a8), vlan.Vlan);
        Assert.Equal((11, "vlan"), (vlan.LinkIndex, vlan.Kind));
    }

    [Fact]
    public void Notifications_tell_a_port_from_a_link()
    {
        var seen = new List<(ushort Type, LinkInfo Link)>();
        foreach (byte[] datagram in Golden.Load("notify-link").Replies)
        {
            foreach (NetlinkMessage message in new NetlinkMessages(datagram))
            {
                Assert.True(LinkInfo.TryDecode(message, out LinkInfo? link));
                seen.Add((message.Type, link));
            }
        }
        List<LinkInfo> ports = [.. seen.Where(s => s.Link.IsPortMessage && s.Type == 16).Select(s => s.Link)];
        Assert.All(ports, p => Assert.Equal(("pa", 2), (p.Name, p.MasterIndex)));
        Assert.Contains(
            ports, p => p.BridgePort is { State: BridgePortState.Forwarding, Isolated: false, PortNumber: 2 });
        Assert.Contains(ports, p => p.BridgePort is { State: BridgePortState.Forwarding, Isolated: true });
        Assert.Contains(
            seen, s => s is { Type: 16, Link: { Name: "pa", Alias: "a b", MasterIndex: 2, IsPortMessage: false } });
        // It left the bridge, and only later went away.
        int left = seen.FindIndex(s => s is { Type: 17, Link: { Name: "pa", IsPortMessage: true, MasterIndex: 2 } });
        int gone = seen.FindIndex(s => s is { Type: 17, Link: { Name: "pa", IsPortMessage: false } });
        Assert.InRange(left, 0, gone - 1);
        Assert.Contains(seen[(left + 1)..gone], s => s is { Type: 16, Link: { Name: "pa", MasterIndex: 0 } });
    }

    [Fact]
    public void One_link_by_name()
    {
        byte[] reply = Golden.Load("get-link").Replies[0];
        var kernel = new FakeKernel(request => [FakeKernel.Replay(request, reply), FakeKernel.Ack(request)]);
        using var rtnl = new Rtnl(new NetlinkSocket(kernel));
        Assert.Equal((5, "veth"), (rtnl.GetLink("va")!.Index, rtnl.GetLink("va")!.Kind));
        Assert.Equal("va", rtnl.GetLink(5)!.Name);
    }

    [Fact]
    public void Missing_link_is_null()
    {
        byte[] reply = Golden.Load("err-get-link").Replies[0];
        using var rtnl = new Rtnl(new NetlinkSocket(new FakeKernel(request => [FakeKernel.Replay(request, reply)])));
        Assert.Null(rtnl.GetLink("nosuch0"));
    }

    [Fact]
    public void Port_settings_survive_encoding_decoding_and_encoding()
    {
        var settings = new BridgePortSettings
        {
            State = BridgePortState.Blocking,
            Hairpin = true,
            Guard = true,
            Protect = true,
            FastLeave = true,
            Learning = false,
            UnicastFlood = false,
            MulticastFlood = false,
            BroadcastFlood = false,
            GroupForwardMask = 0x4008,
            NeighbourSuppress = true,
            Isolated = true,
            Locked = true,
            MacAuthBypass = true,
            ProxyArp = true,
            ProxyArpWifi = true,
        };
        byte[] first = FakeKernel.CaptureRtnl(r => r.SetBridgePort(5, settings));
        first[4] = 16;      // as the kernel would notify it
        NetlinkMessage.TryRead(first, out NetlinkMessage message);
        Assert.True(LinkInfo.TryDecode(message, out LinkInfo? link));
        BridgePortData d = link.BridgePort!;
        byte[] second = FakeKernel.CaptureRtnl(r => r.SetBridgePort(link.Index, new BridgePortSettings
        {
            State = d.State,
            Hairpin = d.Hairpin,
            Guard = d.Guard,
            Protect = d.Protect,
            FastLeave = d.FastLeave,
            Learning = d.Learning,
            UnicastFlood = d.UnicastFlood,
            MulticastFlood = d.MulticastFlood,
            BroadcastFlood = d.BroadcastFlood,
            GroupForwardMask = d.GroupForwardMask,
            NeighbourSuppress = d.NeighbourSuppress,
            Isolated = d.Isolated,
            Locked = d.Locked,
            MacAuthBypass = d.MacAuthBypass,
            ProxyArp = d.ProxyArp,
            ProxyArpWifi = d.ProxyArpWifi,
        }));
        second[4] = 16;
        Assert.Equal(Golden.Hex(first), Golden.Hex(second));
    }
}
