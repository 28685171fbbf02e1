using XenFastPath.Daemon.FastPath;
using XenFastPath.Daemon.FastPath.Slb;
using XenFastPath.Dataplane;
using XenFastPath.Interop;
using XenFastPath.KernelTests.Lab;

namespace XenFastPath.KernelTests;

/// <summary>
/// The balance-slb programs alone, run by the kernel on single frames (BPF_PROG_TEST_RUN): each verdict with the counter that names
/// it. The loopback device of a namespace of the test's own is the bond or a member, as the test needs it.
/// </summary>
[Trait("rung", "minimum")]
public sealed unsafe class SlbProgramTests : IDisposable
{
    private const int TC_ACT_UNSPEC = -1, TC_ACT_SHOT = 2, TC_ACT_REDIRECT = 7;
    private const int Device = 1, OtherMember = 77, Index = 3, Vif = 9;
    private const ulong SecondNs = 1_000_000_000;
    private const string Mac = "02:00:00:00:00:01", Broadcast = "ff:ff:ff:ff:ff:ff";

    private readonly ProgramRun _run = new("slb");
    private readonly SlbMaps _maps;

    public SlbProgramTests()
    {
        _maps = new SlbMaps(_run.Program);
        _run.Netns.Run("ip", "link", "add", "vif", "index", $"{Vif}", "type", "veth", "peer", "name", "guest");
        SlbBond* bond = _maps.Bonds + Index;
        bond->Ifindex = 100;
        bond->Active = Device;
        bond->AgeingNs = 300 * SecondNs;
        bond->ConfirmedNs = Clock.NowNs() + 3600 * SecondNs;
        for (int bucket = 0; bucket < SlbLayout.Buckets; bucket++)
            bond->Member[bucket] = OtherMember;
        _maps.SetDevice(Device, Index);
    }

    [Theory]
    [InlineData("unicast", "InOk", TC_ACT_UNSPEC)]
    [InlineData("broadcast on the active member", "InOk", TC_ACT_UNSPEC)]
    [InlineData("broadcast on another member", "InDropGroup", TC_ACT_SHOT)]
    [InlineData("multicast on another member", "InDropGroup", TC_ACT_SHOT)]
    [InlineData("broadcast while none is active", "InDropGroup", TC_ACT_SHOT)]
    [InlineData("unicast on another member", "InOk", TC_ACT_UNSPEC)]
    [InlineData("link-local on another member", "InReserved", TC_ACT_UNSPEC)]
    [InlineData("just above link-local on another member", "InDropGroup", TC_ACT_SHOT)]
    [InlineData("looped", "InDropLooped", TC_ACT_SHOT)]
    [InlineData("looped broadcast", "InDropLooped", TC_ACT_SHOT)]
    [InlineData("looped in its vlan", "InDropLooped", TC_ACT_SHOT)]
    [InlineData("ours in another vlan", "InOk", TC_ACT_UNSPEC)]
    [InlineData("ours on another bond", "InOk", TC_ACT_UNSPEC)]
    [InlineData("ours long ago", "InOk", TC_ACT_UNSPEC)]
    [InlineData("ours, of a device that is gone", "InOk", TC_ACT_UNSPEC)]
    [InlineData("gratuitous reply", "InMoved", TC_ACT_UNSPEC)]
    [InlineData("gratuitous request", "InMoved", TC_ACT_UNSPEC)]
    [InlineData("gratuitous reply in a vlan", "InMoved", TC_ACT_UNSPEC)]
    [InlineData("gratuitous reply, locked", "InDropLooped", TC_ACT_SHOT)]
    [InlineData("gratuitous reply, lock over", "InMoved", TC_ACT_UNSPEC)]
    [InlineData("gratuitous reply on another member", "InDropGroup", TC_ACT_SHOT)]
    [InlineData("request for another", "InDropLooped", TC_ACT_SHOT)]
    [InlineData("reply to one", "InDropLooped", TC_ACT_SHOT)]
    [InlineData("rarp", "InDropLooped", TC_ACT_SHOT)]
    [InlineData("short arp", "InDropLooped", TC_ACT_SHOT)]
    public void Each_frame_that_comes_in_gets_its_verdict(string name, string counter, int action)
    {
        byte[] frame = Incoming(name);
        Assert.Equal(action, Run("xfp_slb_in", frame));
        AssertOnly(counter);
        // An address that moved away is forgotten, one whose frames were thrown away is not.
        if (counter is "InMoved" or "InDropLooped")
            Assert.Equal(counter == "InMoved" ? 0 : 1, Noted().Count);
    }

    [Theory]
    [InlineData("unicast", "OutBucket", TC_ACT_REDIRECT)]
    [InlineData("broadcast", "OutBucket", TC_ACT_REDIRECT)]
    [InlineData("link-local", "OutReserved", TC_ACT_UNSPEC)]
    [InlineData("no member", "OutNoMember", TC_ACT_UNSPEC)]
    [InlineData("stale", "OutStale", TC_ACT_UNSPEC)]
    [InlineData("igmp v1 report", "OutReport", TC_ACT_REDIRECT)]
    [InlineData("igmp v2 report", "OutReport", TC_ACT_REDIRECT)]
    [InlineData("igmp v3 report with options", "OutReport", TC_ACT_REDIRECT)]
    [InlineData("igmp query", "OutBucket", TC_ACT_REDIRECT)]
    [InlineData("mld report", "OutReport", TC_ACT_REDIRECT)]
    [InlineData("mld v2 report in a vlan", "OutReport", TC_ACT_REDIRECT)]
    [InlineData("neighbour solicitation", "OutBucket", TC_ACT_REDIRECT)]
    [InlineData("igmp report while none is active", "OutBucket", TC_ACT_REDIRECT)]
    public void Each_frame_that_goes_out_gets_its_verdict(string name, string counter, int action)
    {
        byte[] frame = Outgoing(name);
        Assert.Equal(action, Run("xfp_slb_out", frame));
        AssertOnly(counter);
        bool isCounted = counter != "OutReserved";
        ulong address = Address(VlanOf(name));
        Assert.Equal(isCounted ? frame.Length : 0, _maps.Load(Index)[SlbAddress.Bucket(address)]);
        Assert.Equal(isCounted ? [SlbAddress.Key(Index, address)] : [], Noted().Select(n => n.Key));
        Assert.All(Noted(), n => Assert.True(Clock.NowNs() - n.Source.SeenNs < SecondNs && n.Source is { LockedNs: 0, Origin: Vif }));
    }

    [Fact]
    public void A_gratuitous_arp_that_goes_out_locks_its_address()
    {
        Run("xfp_slb_out", Arp(2));
        Assert.NotEqual(0ul, Assert.Single(Noted()).Source.LockedNs);
        Assert.Equal(TC_ACT_SHOT, Run("xfp_slb_in", Arp(2)));
        Note(Address(), origin: Vif);
        Run("xfp_slb_out", Arp(1));         // one that is known already
        Assert.NotEqual(0ul, Assert.Single(Noted()).Source.LockedNs);
    }

    /// <summary>A guest that shows a new address in each frame fills its own budget and not the table; nobody else is forgotten.</summary>
    [Fact]
    public void A_flood_of_sources_takes_no_place_from_others()
    {
        const int flood = 20_000;
        Note(Address(), origin: 0);
        byte[] frame = SlbLab.Frame(Broadcast, ComparisonTests.Mac(Mac));
        _run.Netns.Inside(() =>
        {
            for (int i = 0; i < flood; i++)
            {
                BitConverter.TryWriteBytes(frame.AsSpan(8), i);
                Assert.Equal(TC_ACT_REDIRECT, RunHere("xfp_slb_out", frame));
            }

            return 0;
        });
        long refused = _maps.Counters(Index)[(int)SlbCounter.OutOverBudget];
        int noted = Noted().Count - 1;
        Assert.Equal(flood, noted + refused);
        Assert.InRange(noted, SlbLayout.Burst, SlbLayout.Burst + 200);      // four a second come on top
        Assert.Contains(Noted(), n => n.Key == SlbAddress.Key(Index, Address()));
        // Known ones are refreshed whatever the budget says.
        Assert.Equal(TC_ACT_REDIRECT, Run("xfp_slb_out", SlbLab.Frame(Broadcast, ComparisonTests.Mac(Mac))));
        Assert.Equal(refused, _maps.Counters(Index)[(int)SlbCounter.OutOverBudget]);
    }

    [Fact]
    public void Random_frames_meet_no_verdict_that_is_not_theirs()
    {
        byte[][] heads = [[8, 0, 0x46], [0x86, 0xdd, 0x60], [0x81, 0, 0], [8, 6, 0]];
        Random random = new(5);
        _run.Netns.Inside(() =>
        {
            for (int i = 0; i < 5_000; i++)
            {
                byte[] frame = new byte[random.Next(54, 160)];       // the kernel wants whole IP headers
                random.NextBytes(frame);
                if (random.Next(2) == 0)
                    ComparisonTests.Mac("01:00:5e:00:00:01").CopyTo(frame, 0);
                if (random.Next(2) == 0)
                    heads[random.Next(heads.Length)].AsSpan(0, Math.Min(3, frame.Length - 12)).CopyTo(frame.AsSpan(12));
                Assert.Contains(RunHere("xfp_slb_out", frame), (int[])[TC_ACT_REDIRECT, TC_ACT_UNSPEC]);
                Assert.Contains(RunHere("xfp_slb_in", frame), (int[])[TC_ACT_SHOT, TC_ACT_UNSPEC]);
            }

            return 0;
        });
    }

    public void Dispose()
    {
        _maps.Dispose();
        _run.Dispose();
    }

    private byte[] Incoming(string name)
    {
        byte[] unicast = SlbLab.Frame("02:00:00:00:00:02", ComparisonTests.Mac(Mac)), broadcast = SlbLab.Frame(Broadcast, ComparisonTests.Mac(Mac));
        if (name.Contains("another member", StringComparison.Ordinal))
            _maps.Bonds[Index].Active = OtherMember;
        if (name.StartsWith("gratuitous", StringComparison.Ordinal))
            Note(Address(VlanOf(name)), 0, name.EndsWith("locked", StringComparison.Ordinal) ? 4 : 6);
        switch (name)
        {
            case "unicast" or "unicast on another member": return unicast;
            case "broadcast on the active member" or "broadcast on another member": return broadcast;
            case "broadcast while none is active": _maps.Bonds[Index].Active = 0; return broadcast;
            case "multicast on another member": return SlbLab.Frame("01:00:5e:00:00:01", ComparisonTests.Mac(Mac));
            case "link-local on another member": return SlbLab.Frame("01:80:c2:00:00:0e", ComparisonTests.Mac(Mac));
            case "just above link-local on another member": return SlbLab.Frame("01:80:c2:00:00:10", ComparisonTests.Mac(Mac));
            case "looped": Note(Address(), origin: Vif); return unicast;
            case "looped broadcast": Note(Address(), origin: 0); return broadcast;
            case "looped in its vlan": Note(Address(42), origin: 0); return Tag(unicast);
            case "ours in another vlan": Note(Address(41), origin: 0); return Tag(unicast);
            case "ours on another bond": Note(Address(), origin: 0, bond: Index + 1); return unicast;
            case "ours long ago": Note(Address(), origin: 0, secondsAgo: 301); return unicast;
            case "ours, of a device that is gone": Note(Address(), origin: 55); return unicast;
            case "gratuitous reply in a vlan": return Tag(Arp(2));
            case "gratuitous request": return Arp(1);
            case "request for another": Note(Address(), origin: 0); return Arp(1, target: 9);
            case "reply to one": Note(Address(), origin: 0); return [.. ComparisonTests.Mac("02:00:00:00:00:02"), .. Arp(2)[6..]];
            case "rarp": Note(Address(), origin: 0); return Rarp();
            case "short arp": Note(Address(), origin: 0); return Arp(2)[..41];
            default: return Arp(2);
        }
    }

    private byte[] Outgoing(string name)
    {
        SlbBond* bond = _maps.Bonds + Index;
        switch (name)
        {
            case "broadcast": return SlbLab.Frame(Broadcast, ComparisonTests.Mac(Mac));
            case "link-local": return SlbLab.Frame("01:80:c2:00:00:00", ComparisonTests.Mac(Mac));
            case "no member": new Span<uint>(bond->Member, SlbLayout.Buckets).Clear(); break;
            case "stale": bond->ConfirmedNs = Clock.NowNs() - SlbLayout.StaleNs - SecondNs / 10; break;
            case "igmp v1 report": return Igmp(0x12);
            case "igmp v2 report": return Igmp(0x16);
            case "igmp v3 report with options": return Igmp(0x22, options: true);
            case "igmp query": return Igmp(0x11);
            case "igmp report while none is active": bond->Active = 0; return Igmp(0x16);
            case "mld report": return Mld(131);
            case "mld v2 report in a vlan": return Tag(Mld(143));
            case "neighbour solicitation": return Mld(135, hopByHop: false);
        }

        return SlbLab.Frame("02:00:00:00:00:02", ComparisonTests.Mac(Mac));
    }

    private static ushort VlanOf(string name) => (ushort)(name.EndsWith("vlan", StringComparison.Ordinal) ? 42 : 0);

    private static byte[] Multicast(ushort etherType, byte[] payload) =>
        [.. ComparisonTests.Mac("01:00:5e:00:00:16"), .. ComparisonTests.Mac(Mac), (byte)(etherType >> 8), (byte)etherType, .. payload];

    private static byte[] Igmp(byte type, bool options = false) => Multicast(0x0800,
        [(byte)(options ? 0x46 : 0x45), 0, 0, 32, 0, 1, 0, 0, 1, 2, 0, 0, 10, 0, 0, 1, 224, 0, 0, 22, .. options ? (byte[])[0x94, 4, 0, 0] : [],
            type, .. new byte[7]]);

    private static byte[] Mld(byte type, bool hopByHop = true) => Multicast(0x86dd,
        [0x60, 0, 0, 0, 0, 32, (byte)(hopByHop ? 0 : 58), 1, .. new byte[32], .. hopByHop ? (byte[])[58, 0, 5, 2, 0, 0, 1, 0] : [],
            type, .. new byte[23]]);

    /// <summary>Broadcast ARP from 10.0.0.1; a request is for itself unless told otherwise.</summary>
    private static byte[] Arp(byte operation, byte target = 1) =>
        [.. ComparisonTests.Mac(Broadcast), .. ComparisonTests.Mac(Mac), 8, 6, 0, 1, 8, 0, 6, 4, 0, operation,
            .. ComparisonTests.Mac(Mac), 10, 0, 0, 1, .. new byte[6], 10, 0, 0, target];

    private static byte[] Rarp()
    {
        byte[] frame = new byte[Announcer.FrameBytesMax];
        return frame[..Announcer.Compose(frame, Address())];
    }

    private static byte[] Tag(byte[] frame) => [.. frame[..12], 0x81, 0, 0xe0, 42, .. frame[12..]];

    private static ulong Address(ushort vlan = 0) => SlbLab.Address(ComparisonTests.Mac(Mac), vlan);

    private void Note(ulong address, int origin, int lockedSecondsAgo = 0, int secondsAgo = 1, int bond = Index)
    {
        ulong key = SlbAddress.Key(bond, address), now = Clock.NowNs();
        SlbSource source = new()
        {
            SeenNs = now - (ulong)secondsAgo * SecondNs,
            LockedNs = lockedSecondsAgo == 0 ? 0 : now - (ulong)lockedSecondsAgo * SecondNs,
            Origin = (uint)origin,
        };
        Assert.Equal(0, LibBpf.bpf_map_update_elem(_run.Program.Map("xfp_slb_sources"), &key, &source, LibBpf.BPF_ANY));
    }

    private List<(ulong Key, SlbSource Source)> Noted()
    {
        List<(ulong, SlbSource)> noted = [];
        _maps.EachSource((key, source) => noted.Add((key, source)));
        return noted;
    }

    private void AssertOnly(string counter)
    {
        long[] counters = _maps.Counters(Index);
        for (int i = 0; i < (int)SlbCounter.Count; i++)
            Assert.Equal(((SlbCounter)i).ToString() == counter ? 1 : 0, counters[i]);
    }

    private int Run(string program, byte[] frame) => _run.Netns.Inside(() => RunHere(program, frame));

    private int RunHere(string program, byte[] frame) => ProgramRun.Tc(_run.Program.Program(program), frame, ingressIfindex: Vif, ifindex: Device);
}
