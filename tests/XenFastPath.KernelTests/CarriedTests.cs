// VLAN and bond ports of the fast path where the kernel has no 8021q and no bonding: another device stands in for the VLAN
// subinterface or the bond, as a port of the bridge. What takes the fast path never meets it; so program, forwarder and control are
// tested on any kernel.
using XenFastPath.Daemon.FastPath;
using XenFastPath.Dataplane;
using XenFastPath.KernelTests.Lab;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.KernelTests;

/// <summary>eth0 is the trunk, with "wire" as its other end; eth0.100 and vif1.0 are the ports of br0, the guest lives behind the latter.</summary>
public sealed class CarriedTests : IDisposable
{
    private const int Trunk = 10, Vlan = 11, Vif = 12, Bridge = 13;
    private const string GuestMac = "02:00:00:00:00:0a", PeerMac = "02:00:00:00:00:0b";

    private readonly string _folder = Directory.CreateTempSubdirectory("xfp-carried-").FullName;
    private readonly Netns _netns = new($"xfp{Environment.ProcessId}-carried");
    private readonly Rtnl _rtnl;
    private readonly PacketSocket _wire, _guest;
    private FastPathManager _manager;
    private int _sent;

    public CarriedTests()
    {
        Directory.CreateDirectory(Path.Combine(_folder, "bpf"));
        Tool.Run("mount", "-t", "bpf", "bpf", Path.Combine(_folder, "bpf"));
        _netns.Run("ip", "link", "add", "br0", "index", $"{Bridge}", "type", "bridge");
        _netns.Run("ip", "link", "add", "eth0", "index", $"{Trunk}", "type", "veth", "peer", "name", "wire");
        _netns.Run("ip", "link", "add", "eth0.100", "index", $"{Vlan}", "type", "veth", "peer", "name", "nothing");
        _netns.Run("ip", "link", "add", "vif1.0", "index", $"{Vif}", "type", "veth", "peer", "name", "guest");
        foreach (string port in (string[])["eth0.100", "vif1.0"])
            _netns.Run("ip", "link", "set", port, "master", "br0");
        foreach (string device in (string[])["br0", "eth0", "wire", "eth0.100", "nothing", "vif1.0", "guest"])
            _netns.Run("ip", "link", "set", device, "up");
        _netns.Run("bridge", "fdb", "add", PeerMac, "dev", "eth0.100", "master", "static");
        _netns.Run("bridge", "fdb", "add", GuestMac, "dev", "vif1.0", "master", "static");
        (_wire, _guest) = _netns.Inside(() => (new PacketSocket("wire"), new PacketSocket("guest")));
        _rtnl = _netns.Inside(() => new Rtnl());
        _manager = Load();
        Configure();
        _netns.Inside(() => { _manager.GoUp(); return 0; });
    }

    private static PortSettings VifSettings { get; } = new()
    {
        NetworkId = 7,
        BridgeIfindex = Bridge,
        Path = PortPath.Afxdp,
        DropsTags = true,
        IsPhysical = false,
        MayBeUnfinished = false,
        IsForwarding = true,
        IsIsolated = false,
        IsWatched = false,
        FrameBytesMax = 1514,
        RefreshInterval = TimeSpan.FromSeconds(75),
        Queues = 1,
        HasNativeXdp = true,
        MayZeroCopy = false,
        HasZeroCopyChecksum = false,
    };

    private static PortSettings VlanSettings { get; } = VifSettings with { DropsTags = false, IsPhysical = true, TrunkIfindex = Trunk, Tag = 100 };

    private static PortSettings TrunkSettings { get; } = VifSettings with
    {
        NetworkId = 0, BridgeIfindex = 0, DropsTags = false, IsPhysical = true, IsForwarding = false, IsTrunk = true, ForeignTags = new TagSet([200]),
    };

    [Fact]
    public void Frames_go_both_ways_with_their_tag_and_other_tags_are_dropped()
    {
        Assert.Equal(3, _manager.ServedCount);
        AssertFast();
        Assert.NotEqual(0, Counter(Vlan, ProgramCounter.ToForwarder));
        _wire.Send(VlanFrame(101));
        Tool.Eventually(() => Counter(Trunk, ProgramCounter.DropNoVlan) == 1, "the tag without a VLAN is dropped");
        long passed = Counter(Trunk, ProgramCounter.PolicyOk);
        _wire.Send(VlanFrame(200));
        Tool.Eventually(() => Counter(Trunk, ProgramCounter.PolicyOk) == passed + 1, "somebody else's tag goes the kernel's way");
        Assert.Equal(1, Counter(Trunk, ProgramCounter.DropNoVlan));
    }

    [Fact]
    public void Without_xdp_the_policy_hook_drops_the_same_tags()
    {
        Do(m => m.Configure(Trunk, "eth0", TrunkSettings with { Path = PortPath.Bridge }));
        Assert.Equal(1, _manager.ServedCount);
        _wire.Send(VlanFrame(101));
        Tool.Eventually(() => Counter(Trunk, ProgramCounter.DropNoVlan) == 1, "the tag without a VLAN is dropped");
        _wire.Send(VlanFrame(200));
        _wire.Send(VlanFrame(100));
        Tool.Eventually(() => Counter(Trunk, ProgramCounter.PolicyOk) == 2, "what has a VLAN device goes there");
        Assert.Equal(1, Counter(Trunk, ProgramCounter.DropNoVlan));
    }

    [Fact]
    public void Vlans_follow_their_trunk()
    {
        Do(m => m.Configure(Trunk, "eth0", TrunkSettings with { Path = PortPath.Bridge }));
        Assert.Equal(1, _manager.ServedCount);
        Do(m => m.Configure(Trunk, "eth0", TrunkSettings));
        Assert.Equal(3, _manager.ServedCount);
        AssertFast();
    }

    [Fact]
    public void A_vlan_that_comes_before_its_trunk_waits_for_it()
    {
        Do(m => m.Remove(Trunk, "eth0"));
        Do(m => m.Configure(Vlan, "eth0.100", VlanSettings));
        Assert.Contains("carries it", _manager.Failures[Vlan]);
        Do(m => m.Configure(Trunk, "eth0", TrunkSettings));
        Assert.Empty(_manager.Failures);
        AssertFast();
    }

    [Fact]
    public void A_vlan_that_leaves_has_no_tag_any_more()
    {
        Do(m => m.Remove(Vlan, "eth0.100"));
        Assert.Equal(2, _manager.ServedCount);
        _wire.Send(VlanFrame(100));
        Tool.Eventually(() => Counter(Trunk, ProgramCounter.DropNoVlan) == 1, "its tag is nobody's");
        Do(m => m.Configure(Vlan, "eth0.100", VlanSettings));
        AssertFast();
    }

    [Fact]
    public void Another_forwarder_gets_the_vlans_too()
    {
        int pid = _manager.Forwarder.Client!.Pid;
        Tmds.Linux.LibC.kill(pid, 9);
        Tool.Eventually(() => _manager.Forwarder.Client is null, "the death is noticed");
        Do(m => m.Restart());
        Assert.NotEqual(pid, _manager.Forwarder.Client!.Pid);
        Assert.Equal(3, _manager.ServedCount);
        AssertFast();
    }

    [Fact]
    public void Another_daemon_finds_the_vlans_as_they_are()
    {
        int pid = _manager.Forwarder.Client!.Pid;
        _manager.Dispose();
        _manager = Load();
        Assert.Equal(pid, _manager.Forwarder.Client!.Pid);
        Assert.Equal(3, _manager.ServedCount);
        PortSettings trunk = _manager.Ports[Trunk], vlan = _manager.Ports[Vlan];
        Assert.True(trunk.IsTrunk);
        Assert.Equal(TrunkSettings.ForeignTags, trunk.ForeignTags);
        Assert.Equal((Trunk, 100), (vlan.TrunkIfindex, vlan.Tag));
        Configure();
        Do(m => m.GoUp());
        AssertFast();
    }

    [Fact]
    public void A_bond_uses_its_active_member_and_follows_a_failover()
    {
        const int second = 14;
        _netns.Run("ip", "link", "add", "eth1", "index", $"{second}", "type", "veth", "peer", "name", "wire1");
        _netns.Run("ip", "link", "set", "eth1", "up");
        _netns.Run("ip", "link", "set", "wire1", "up");
        using PacketSocket wire1 = _netns.Inside(() => new PacketSocket("wire1"));
        PortSettings member = TrunkSettings with { IsTrunk = false, ForeignTags = TagSet.Empty, BondIfindex = Vlan };
        PortSettings bond = VifSettings with { DropsTags = false, IsPhysical = true, Bond = BondOf(Trunk) };
        Do(m =>
        {
            m.Remove(Vlan, "eth0.100");
            m.Remove(Trunk, "eth0");
            m.Configure(Trunk, "eth0", member);
            m.Configure(second, "eth1", member);
            m.Configure(Vlan, "bond0", bond);
        });
        Assert.Empty(_manager.Failures);
        Assert.Equal(4, _manager.ServedCount);
        byte[] inward = ComparisonTests.Frame(GuestMac, PeerMac, ++_sent), outward = ComparisonTests.Frame(PeerMac, GuestMac, ++_sent);
        Tool.Eventually(() => Arrives(_wire, inward, _guest, inward), "in by the active member");
        Tool.Eventually(() => Arrives(_guest, outward, _wire, outward), "out by the active member");
        wire1.Send(inward);
        Tool.Eventually(() => Counter(second, ProgramCounter.PassPathOff) == 1, "what the other one receives is the kernel's");
        Do(m => m.Configure(Vlan, "bond0", bond with { Bond = BondOf(second) }));
        Tool.Eventually(() => Arrives(wire1, inward, _guest, inward), "in by the other member");
        Tool.Eventually(() => Arrives(_guest, outward, wire1, outward), "out by the other member");
        // The last member goes: the kernel has it all. It comes back, and so does the bond.
        Do(m => m.Remove(second, "eth1"));
        Assert.False(_manager.PortOf(Vlan)!.IsServed);
        Do(m => m.Configure(second, "eth1", member));
        Tool.Eventually(() => Arrives(wire1, inward, _guest, inward), "in again");
    }

    [Fact]
    public void A_member_that_cannot_join_is_not_tried_again_before_its_bond_is_forgiven()
    {
        PortSettings member = TrunkSettings with { IsTrunk = false, ForeignTags = TagSet.Empty, BondIfindex = Vlan };
        Do(m =>
        {
            m.Remove(Vlan, "eth0.100");
            m.Remove(Trunk, "eth0");
        });
        XdpProgram.AttachPass(_netns, "eth0");
        Do(m => m.Configure(Trunk, "eth0", member));
        Assert.Contains("somebody else's XDP program", _manager.Failures[Trunk]);
        // The plan takes all members out; what failed is known still, or the next plan would bring them back.
        Do(m => m.Remove(Trunk, "eth0"));
        Assert.Contains(Trunk, _manager.Failures);
        _netns.Run("ip", "link", "set", "eth0", "xdp", "off");
        Do(m => m.Forgive(Vlan));
        Assert.Empty(_manager.Failures);
        Do(m => m.Configure(Trunk, "eth0", member));
        Assert.Empty(_manager.Failures);
        Assert.True(_manager.PortOf(Trunk)!.IsServed);
    }

    /// <summary>Path redirect in XDP, from driver to driver: both far ends run XDP, so that the near ones take XDP frames.</summary>
    [Fact]
    public void On_redirect_the_program_itself_takes_tags_off_and_puts_them_on()
    {
        foreach (string far in (string[])["wire", "guest"])
            XdpProgram.AttachPass(_netns, far);
        Do(m =>
        {
            PortSettings redirect = VifSettings with { Path = PortPath.Redirect, Redirects = true, TakesXdpFrames = true };
            m.Configure(Trunk, "eth0", TrunkSettings with { Path = PortPath.Bridge, HasXdpHook = true, TakesXdpFrames = true });
            m.Configure(Vlan, "eth0.100", redirect with { DropsTags = false, IsPhysical = true, TrunkIfindex = Trunk, Tag = 100 });
            m.Configure(Vif, "vif1.0", redirect with { HasXdpHook = true });
        });
        Assert.Empty(_manager.Failures);
        Assert.Equal(0, _manager.ServedCount);
        AssertFast();
        Assert.NotEqual(0, Counter(Vlan, ProgramCounter.RedirectXdp));
        Assert.NotEqual(0, Counter(Vif, ProgramCounter.RedirectXdp));
        Assert.Equal(Counter(Vif, ProgramCounter.RedirectXdp), Counter(Vlan, ProgramCounter.RedirectOut));
        Assert.Equal(0, Counter(Vif, ProgramCounter.RedirectSkb));
        _wire.Send(VlanFrame(101));
        Tool.Eventually(() => Counter(Trunk, ProgramCounter.DropNoVlan) == 1, "the tag without a VLAN is dropped");
        // The far end takes none any more: what is given to its driver is lost, and counted, until somebody takes the slot away.
        _netns.Run("ip", "link", "set", "guest", "xdp", "off");
        _wire.Send(VlanFrame(100));
        Tool.Eventually(() => Counter(Trunk, ProgramCounter.RedirectLost) + Counter(Vif, ProgramCounter.RedirectLost) == 1, "the loss is counted");
    }

    private static BondPortSettings BondOf(int active) => new(Model.BondingMode.ActiveBackup, BondHashPolicy.Layer2, new MemberList([active]));

    public void Dispose()
    {
        try
        {
            Do(m => m.Withdraw());
        }
        catch (InvalidOperationException)
        {
            // The test has failed before, and says why.
        }

        _manager.Dispose();
        _wire.Dispose();
        _guest.Dispose();
        _rtnl.Dispose();
        _netns.Dispose();
        Tool.TryRun("umount", Path.Combine(_folder, "bpf"));
        Directory.Delete(_folder, recursive: true);
    }

    private FastPathManager Load() => _netns.Inside(() =>
    {
        string forwarder = Path.Combine(Lab.Lab.Bin, "xenfastpath-forwarder");
        FastPathManager manager = new(Path.Combine(_folder, "bpf"), _folder, new ForwarderStart(forwarder, []), _rtnl);
        manager.Start();
        return manager;
    });

    private void Configure() => Do(m =>
    {
        m.Configure(Trunk, "eth0", TrunkSettings);
        m.Configure(Vlan, "eth0.100", VlanSettings);
        m.Configure(Vif, "vif1.0", VifSettings);
    });

    private void Do(Action<FastPathManager> action) => _netns.Inside(() =>
    {
        action(_manager);
        return 0;
    });

    private long Counter(int ifindex, ProgramCounter counter) => _manager.ProgramCounters(_manager.PortOf(ifindex)!)[(int)counter];

    private static byte[] Tag(byte[] frame, int tag) => [.. frame[..12], 0x81, 0, (byte)(tag >> 8), (byte)tag, .. frame[12..]];

    private byte[] VlanFrame(int tag) => Tag(ComparisonTests.Frame(GuestMac, PeerMac, ++_sent), tag);

    /// <summary>A frame each way, which only the fast path can carry. Sent again: what comes while a heartbeat is old the kernel gets.</summary>
    private void AssertFast()
    {
        byte[] inward = ComparisonTests.Frame(GuestMac, PeerMac, ++_sent), outward = ComparisonTests.Frame(PeerMac, GuestMac, ++_sent);
        Tool.Eventually(() => Arrives(_wire, Tag(inward, 100), _guest, inward), "the guest gets its frame, without the tag");
        Tool.Eventually(() => Arrives(_guest, outward, _wire, Tag(outward, 100)), "the wire gets the answer, tagged");
    }

    private static bool Arrives(PacketSocket from, byte[] sent, PacketSocket to, byte[] expected)
    {
        from.Send(sent);
        return to.Receive(100) is { } frame && frame.AsSpan().SequenceEqual(expected);
    }
}
