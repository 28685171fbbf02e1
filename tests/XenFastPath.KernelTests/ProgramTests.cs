using XenFastPath.Daemon.FastPath;
using XenFastPath.Dataplane;
using XenFastPath.Interop;
using XenFastPath.KernelTests.Lab;
using static Tmds.Linux.LibC;

namespace XenFastPath.KernelTests;

/// <summary>
/// The BPF program alone, run by the kernel on single frames (BPF_PROG_TEST_RUN): each verdict with the counter that names it.
/// Port 1 is the loopback device of a namespace of the test's own; port 2 is another port of the same Network.
/// </summary>
public sealed unsafe partial class ProgramTests : IDisposable
{
    private const int XDP_DROP = 1, XDP_PASS = 2, XDP_REDIRECT = 4;
    private const int TC_ACT_UNSPEC = -1, TC_ACT_SHOT = 2;
    private const ushort Network = 7, Input = 1, Output = 2;
    private const uint Generation = 5;
    private const string Source = "02:00:00:00:00:01", Destination = "02:00:00:00:00:02";

    private const int TC_ACT_REDIRECT = 7;

    private readonly ProgramRun _run = new("xenfastpath");
    private readonly BpfMaps _maps;
    private readonly int _socket;

    public ProgramTests()
    {
        _maps = new BpfMaps(_run.Program);
        _socket = socket(IfXdp.AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
        int fd = _socket;
        // Kernel 7.3 takes only a socket with an RX ring into the map.
        uint slot = 0, entries = 2;
        Assert.Equal(0, setsockopt(fd, IfXdp.SOL_XDP, IfXdp.XDP_RX_RING, &entries, sizeof(uint)));
        Assert.Equal(0, LibBpf.bpf_map_update_elem(_maps.Xsks, &slot, &fd, 0));
        _maps.Ports[Input] = new PortEntry { Ifindex = 1, RefreshNs = 1_000_000_000_000, XskBase = 0, Queues = 1 };
        _maps.Ports[Output] = new PortEntry { Ifindex = 2, FrameBytesMax = 1514 };
        SetInput(PortFlags.Ingress | PortFlags.Egress | PortFlags.Unfinished | PortFlags.NoTags);
        SetOutput(PortFlags.Ingress | PortFlags.Egress);
        _maps.SetPortId(1, Input);
        Learn(Source, Input);
        Learn(Destination, Output);
        Beat();
    }

    public static TheoryData<string, string, int> Verdicts => new()
    {
        { "known unicast", "ToForwarder", XDP_REDIRECT },
        { "unknown source", "PassSourceUnknown", XDP_PASS },
        { "source on another port", "PassSourceMoved", XDP_PASS },
        { "unknown destination", "PassUnknown", XDP_PASS },
        { "destination on the same port", "PassSamePort", XDP_PASS },
        { "broadcast", "PassGroup", XDP_PASS },
        { "reserved address", "PassGroup", XDP_PASS },
        { "output not forwarding", "PassOutputOff", XDP_PASS },
        { "output of an earlier owner", "PassOutputOff", XDP_PASS },
        { "both isolated", "PassIsolated", XDP_PASS },
        { "one isolated", "ToForwarder", XDP_REDIRECT },
        { "as long as the MTU allows", "ToForwarder", XDP_REDIRECT },
        { "a byte longer", "PassOversize", XDP_PASS },
        { "input off the path", "PassPathOff", XDP_PASS },
        { "no socket in the slot", "PassNoSocket", XDP_PASS },
        { "queue without a socket", "PassNoSocket", XDP_PASS },
        { "control stale", "PassControlStale", XDP_PASS },
        { "forwarder stale", "PassForwarderStale", XDP_PASS },
        { "another worker stale", "PassForwarderStale", XDP_PASS },
        { "worker that is not there stale", "ToForwarder", XDP_REDIRECT },
        { "forwarder down", "PassForwarderStale", XDP_PASS },
        { "destination suspect", "PassSuspect", XDP_PASS },
        { "suspicion expired", "ToForwarder", XDP_REDIRECT },
        { "refresh due after a pause", "PassRefresh", XDP_PASS },
        { "refresh overdue without a pause", "PassRefresh", XDP_PASS },
        { "refresh due without a pause", "ToForwarder", XDP_REDIRECT },
        { "tagged from a vif", "DropTagged", XDP_DROP },
        { "802.1ad from a vif", "DropTagged", XDP_DROP },
        { "tagged from a pif", "PassTagged", XDP_PASS },
        { "arp", "ToForwarder", XDP_REDIRECT },
        { "udp unfinished", "ToForwarder", XDP_REDIRECT },
        { "udp whole", "PassProtocol", XDP_PASS },
        { "udp whole from a pif", "ToForwarder", XDP_REDIRECT },
        { "udp without checksum", "PassProtocol", XDP_PASS },
        { "udp shorter than its packet", "PassProtocol", XDP_PASS },
        { "udp longer than its packet", "PassProtocol", XDP_PASS },
        { "udp packet longer than the frame", "PassProtocol", XDP_PASS },
        { "udp unfinished and padded", "ToForwarder", XDP_REDIRECT },
        { "udp fragment", "ToForwarder", XDP_REDIRECT },
        { "tcp", "ToForwarder", XDP_REDIRECT },
        { "tcp cut off", "PassProtocol", XDP_PASS },
        { "tcp packet longer than the frame", "PassProtocol", XDP_PASS },
        { "tcp packet shorter than its header", "PassProtocol", XDP_PASS },
        { "tcp padded", "ToForwarder", XDP_REDIRECT },
        { "tcp with options", "ToForwarder", XDP_REDIRECT },
        { "sctp", "PassProtocol", XDP_PASS },
        { "gre", "PassProtocol", XDP_PASS },
        { "ipv6 tcp", "ToForwarder", XDP_REDIRECT },
        { "ipv6 udp unfinished", "ToForwarder", XDP_REDIRECT },
        { "ipv6 udp shorter than its packet", "PassProtocol", XDP_PASS },
        { "ipv6 udp packet longer than the frame", "PassProtocol", XDP_PASS },
        { "ipv6 icmp", "ToForwarder", XDP_REDIRECT },
        { "ipv6 fragment", "ToForwarder", XDP_REDIRECT },
        { "ipv6 hop-by-hop", "PassProtocol", XDP_PASS },
        { "unknown ethertype", "PassProtocol", XDP_PASS },
        { "unknown ethertype from a pif", "ToForwarder", XDP_REDIRECT },
        { "14 bytes", "PassProtocol", XDP_PASS },
    };

    [Theory]
    [MemberData(nameof(Verdicts))]
    public void Each_frame_gets_its_verdict(string frame, string counter, int action)
    {
        byte[] data = Frame(frame, out int queue);
        Assert.Equal(action, RunXdp(data, queue));
        long[] counters = _maps.Counters(Input);
        for (int i = 0; i < counters.Length; i++)
            Assert.Equal(((ProgramCounter)i).ToString() == counter ? 1 : 0, counters[i]);
    }

    [Fact]
    public void A_device_that_is_no_port_is_left_alone()
    {
        _maps.DeletePortId(1);
        Assert.Equal(XDP_PASS, RunXdp(Ip(6, new byte[20])));
        Assert.Equal(0, _maps.Counters(Input).Sum());
    }

    [Fact]
    public void A_moved_source_is_marked_at_its_old_place_until_control_rewrites_it()
    {
        Learn(Source, Output);
        RunXdp(Ip(6, new byte[20]));
        Assert.True(_maps.Fdb.TryGet(Key(Source), out FdbValue value));
        Assert.NotEqual(0ul, value.SuspectNs);
        Learn(Source, Input);
        Assert.True(_maps.Fdb.TryGet(Key(Source), out value));
        Assert.Equal(0ul, value.SuspectNs);
        Assert.Equal(XDP_REDIRECT, RunXdp(Ip(6, new byte[20])));
    }

    /// <summary>The switch of a balance-slb bond sends our own frames back: they go the kernel's way, where they are dropped.</summary>
    [Fact]
    public void What_a_balance_slb_bond_hears_of_our_own_is_no_move()
    {
        SetInput(PortFlags.Ingress | PortFlags.Loops);
        Learn(Source, Output);
        Assert.Equal(XDP_PASS, RunXdp(Ip(6, new byte[20])));
        Assert.Equal(1, _maps.Counters(Input)[(int)ProgramCounter.PassSourceMoved]);
        Assert.True(_maps.Fdb.TryGet(Key(Source), out FdbValue value));
        Assert.Equal(0ul, value.SuspectNs);
    }

    [Fact]
    public void Every_passed_frame_of_a_known_source_counts_as_seen_by_the_kernel()
    {
        Set(Source, Input, passedNsAgo: 400_000_000_000);
        _maps.Fdb.Remove(Key(Destination));
        RunXdp(Ip(6, new byte[20]));
        Assert.True(_maps.Fdb.TryGet(Key(Source), out FdbValue value));
        Assert.True(Clock.NowNs() - value.PassedNs < 1_000_000_000);
    }

    [Theory]
    [InlineData("plain", true, TC_ACT_UNSPEC, ProgramCounter.PolicyOk)]
    [InlineData("tagged", true, TC_ACT_SHOT, ProgramCounter.DropTagged)]
    [InlineData("tagged", false, TC_ACT_UNSPEC, ProgramCounter.PolicyOk)]
    [InlineData("old qinq", true, TC_ACT_SHOT, ProgramCounter.DropTagged)]
    [Trait("rung", "minimum")]
    public void The_policy_hook_drops_tags_where_it_must(string frame, bool dropsTags, int action, ProgramCounter counter)
    {
        SetInput(dropsTags ? PortFlags.NoTags : PortFlags.None);
        byte[] data = frame switch
        {
            "tagged" => ComparisonTests.Tagged(Destination, Source, 1),
            "old qinq" => ComparisonTests.Tagged(Destination, Source, 1, tpid: 0x9100),
            _ => Ip(6, new byte[20]),
        };
        Assert.Equal(action, RunPolicy(data));
        Assert.Equal(1, _maps.Counters(Input)[(int)counter]);
    }

    [Fact]
    [Trait("rung", "minimum")]
    public void The_policy_hook_marks_moved_sources_on_a_port_without_xdp()
    {
        SetInput(PortFlags.Watch);
        Learn(Source, Output);
        RunPolicy(Ip(6, new byte[20]));
        Assert.True(_maps.Fdb.TryGet(Key(Source), out FdbValue value));
        Assert.NotEqual(0ul, value.SuspectNs);
    }

    [Fact]
    [Trait("rung", "minimum")]
    public void Random_frames_never_go_astray()
    {
        // Whatever a guest sends: only what is addressed from its own known MAC to a known one is redirected.
        Random random = new(17);
        for (int i = 0; i < 20_000 / Lab.Lab.Scale; i++)
        {
            byte[] frame = new byte[random.Next(14, 200)];
            random.NextBytes(frame);
            if (random.Next(2) == 0)
                ComparisonTests.Mac(Destination).CopyTo(frame, 0);
            if (random.Next(2) == 0)
                ComparisonTests.Mac(Source).CopyTo(frame, 6);
            int action = RunXdp(frame);
            bool isKnown = frame.AsSpan(0, 6).SequenceEqual(ComparisonTests.Mac(Destination)) && frame.AsSpan(6, 6).SequenceEqual(ComparisonTests.Mac(Source));
            bool isAllowed = action == XDP_PASS || (action == XDP_REDIRECT && isKnown)
                || (action == XDP_DROP && frame[12] is 0x81 or 0x88 or 0x91);
            Assert.True(isAllowed, $"frame {Convert.ToHexString(frame)}");
        }
    }

    [Fact]
    [Trait("rung", "minimum")]
    public void It_finds_each_address_of_a_full_table_in_either_bucket()
    {
        Random random = new(23);
        List<ulong> keys = [];
        for (int i = 0; i < Limits.MacsDefault - 2; i++)
        {
            ulong key = FdbKey.Make(Network, (ulong)random.NextInt64() & ~1ul);
            Set(key, Output);
            keys.Add(key);
        }

        const int frames = 300;
        byte[] frame = Ip(6, new byte[20]);
        for (int i = 0; i < frames; i++)
        {
            ulong key = keys[random.Next(keys.Count)];
            BitConverter.GetBytes(FdbKey.MacOf(key)).AsSpan(0, 6).CopyTo(frame);
            Assert.True(RunXdp(frame) == XDP_REDIRECT, $"{key:x}");
            _maps.Fdb.Remove(key);
            keys.Remove(key);
            Assert.True(RunXdp(frame) == XDP_PASS, $"{key:x}");
        }

        long[] counters = _maps.Counters(Input);
        Assert.Equal(frames, counters[(int)ProgramCounter.ToForwarder]);
        Assert.Equal(frames, counters[(int)ProgramCounter.PassUnknown]);
    }

    public void Dispose()
    {
        close(_socket);
        _maps.Dispose();
        _run.Dispose();
    }

    private byte[] Frame(string name, out int queue)
    {
        queue = 0;
        byte[] tcp = [0, 1, 0, 2, .. new byte[8], 0x50, .. new byte[7]];
        ulong staleNs = Clock.NowNs() - (ulong)Layout.ForwarderStaleNs - 20_000_000;
        switch (name)
        {
            case "known unicast": return Ip(6, tcp);
            case "unknown source": _maps.Fdb.Remove(Key(Source)); return Ip(6, tcp);
            case "source on another port": Learn(Source, Output); return Ip(6, tcp);
            case "unknown destination": _maps.Fdb.Remove(Key(Destination)); return Ip(6, tcp);
            case "destination on the same port": Learn(Destination, Input); return Ip(6, tcp);
            case "broadcast": return To("ff:ff:ff:ff:ff:ff", Ip(6, tcp));
            case "reserved address": return To("01:80:c2:00:00:00", Ip(6, tcp));
            case "output not forwarding": SetOutput(PortFlags.None); return Ip(6, tcp);
            case "output of an earlier owner": _maps.SetWord(Output, PortEntry.Pack(Generation + 1, Network, PortFlags.Egress)); return Ip(6, tcp);
            case "both isolated": SetInput(PortFlags.Ingress | PortFlags.Isolated); SetOutput(PortFlags.Egress | PortFlags.Isolated); return Ip(6, tcp);
            case "one isolated": SetOutput(PortFlags.Egress | PortFlags.Isolated); return Ip(6, tcp);
            case "as long as the MTU allows": return Ip(1, new byte[1480]);
            case "a byte longer": return Ip(1, new byte[1481]);
            case "input off the path": SetInput(PortFlags.Unfinished); return Ip(6, tcp);
            case "no socket in the slot": _maps.Ports[Input].XskBase = 9; return Ip(6, tcp);
            case "queue without a socket": _maps.Ports[Input].Queues = 0; return Ip(6, tcp);
            case "control stale": _maps.Heartbeats->ControlNs = Clock.NowNs() - (ulong)Layout.ControlStaleNs - 20_000_000; return Ip(6, tcp);
            case "forwarder stale": *Heartbeats.WorkerNs(_maps.Heartbeats, 0) = staleNs; return Ip(6, tcp);
            case "another worker stale": *Heartbeats.WorkerNs(_maps.Heartbeats, 1) = staleNs; return Ip(6, tcp);
            case "worker that is not there stale": *Heartbeats.WorkerNs(_maps.Heartbeats, 2) = staleNs; return Ip(6, tcp);
            case "forwarder down": _maps.Heartbeats->ForwarderUp = 0; return Ip(6, tcp);
            case "destination suspect": Set(Destination, Output, suspectNsAgo: 100_000_000); return Ip(6, tcp);
            case "suspicion expired": Set(Destination, Output, suspectNsAgo: Layout.SuspectNs + 100_000_000); return Ip(6, tcp);
            case "refresh due after a pause": Set(Source, Input, passedNsAgo: 1_200_000_000_000, seenNsAgo: 50_000_000); return Ip(6, tcp);
            case "refresh overdue without a pause": Set(Source, Input, passedNsAgo: 2_200_000_000_000, seenNsAgo: 0); return Ip(6, tcp);
            case "refresh due without a pause": Set(Source, Input, passedNsAgo: 1_200_000_000_000, seenNsAgo: 0); return Ip(6, tcp);
            case "tagged from a vif": return ComparisonTests.Tagged(Destination, Source, 1);
            case "802.1ad from a vif": return ComparisonTests.Tagged(Destination, Source, 1, tpid: 0x88a8);
            case "tagged from a pif": SetInput(PortFlags.Ingress); return ComparisonTests.Tagged(Destination, Source, 1);
            case "arp": return Raw(0x0806, new byte[28]);
            case "udp unfinished": return Ip(17, Udp(Pseudo4(17, 12)));
            case "udp whole": return Ip(17, Udp(0x4321));
            case "udp whole from a pif": SetInput(PortFlags.Ingress); return Ip(17, Udp(0x4321));
            case "udp without checksum": return Ip(17, Udp(0));
            case "udp shorter than its packet": return Ip(17, [.. Udp(Pseudo4(17, 12)), 5, 6, 7, 8]);
            case "udp longer than its packet": return [.. Ip(17, Udp(Pseudo4(17, 12))[..8]), 1, 2, 3, 4];
            case "udp packet longer than the frame": return Ip(17, Udp(Pseudo4(17, 12)))[..^1];
            case "udp unfinished and padded": return [.. Ip(17, Udp(Pseudo4(17, 12))), .. new byte[14]];
            case "udp fragment": return Fragment(Ip(17, new byte[32]));
            case "tcp": return Ip(6, tcp);
            case "tcp cut off": return Ip(6, tcp[..19]);
            case "tcp packet longer than the frame": return Ip(6, [.. tcp, 1])[..^1];
            case "tcp packet shorter than its header": return [.. Ip(6, tcp[..19]), 0];
            case "tcp padded": return [.. Ip(6, tcp), .. new byte[6]];
            case "tcp with options": return WithOptions(tcp);
            case "sctp": return Ip(132, new byte[32]);
            case "gre": return Ip(47, new byte[32]);
            case "ipv6 tcp": return Ip6(6, tcp);
            case "ipv6 udp unfinished": return Ip6(17, Udp(Pseudo6(17, 12)));
            case "ipv6 udp shorter than its packet": return Ip6(17, [.. Udp(Pseudo6(17, 12)), 5, 6, 7, 8]);
            case "ipv6 udp packet longer than the frame": return Ip6(17, Udp(Pseudo6(17, 12)))[..^1];
            case "ipv6 icmp": return Ip6(58, new byte[16]);
            case "ipv6 fragment": return Ip6(44, [17, .. new byte[31]]);
            case "ipv6 hop-by-hop": return Ip6(0, new byte[32]);
            case "unknown ethertype": return Raw(0x88b5, new byte[46]);
            case "unknown ethertype from a pif": SetInput(PortFlags.Ingress); return Raw(0x88b5, new byte[46]);
            case "14 bytes": return Raw(0x0800, []);
            default: throw new ArgumentException(name);
        }
    }

    private static byte[] Raw(ushort etherType, byte[] payload) =>
        [.. ComparisonTests.Mac(Destination), .. ComparisonTests.Mac(Source), (byte)(etherType >> 8), (byte)etherType, .. payload];

    private static byte[] Ip(byte protocol, byte[] payload)
    {
        int length = 20 + payload.Length;
        return Raw(0x0800, [0x45, 0, (byte)(length >> 8), (byte)length, 0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, .. payload]);
    }

    private static byte[] Ip6(byte next, byte[] payload) =>
        Raw(0x86dd, [0x60, 0, 0, 0, 0, (byte)payload.Length, next, 64, 0xfd, .. new byte[14], 1, 0xfd, .. new byte[14], 2, .. payload]);

    private static byte[] WithOptions(byte[] tcp) =>
        Raw(0x0800, [0x46, 0, 0, (byte)(24 + tcp.Length), 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 1, 1, 0, .. tcp]);

    private static byte[] Fragment(byte[] ip)
    {
        (ip[20], ip[21]) = (0x20, 0x00);
        return ip;
    }

    private static byte[] Udp(ushort checksum) => [0, 1, 0, 2, 0, 12, (byte)(checksum >> 8), (byte)checksum, 1, 2, 3, 4];

    private static ushort Pseudo4(int protocol, int length) => (ushort)(0x0a00 + 0x0001 + 0x0a00 + 0x0002 + protocol + length);

    private static ushort Pseudo6(int protocol, int length)
    {
        int sum = 0xfd00 + 1 + 0xfd00 + 2 + protocol + length;
        return (ushort)((sum & 0xffff) + (sum >> 16));
    }

    private static byte[] To(string destination, byte[] frame)
    {
        ComparisonTests.Mac(destination).CopyTo(frame, 0);
        return frame;
    }

    private void SetInput(PortFlags flags) => _maps.SetWord(Input, PortEntry.Pack(Generation, Network, flags));

    private void SetOutput(PortFlags flags) => _maps.SetWord(Output, PortEntry.Pack(Generation, Network, flags));

    private static ulong Key(string mac) => KeyIn(Network, mac);

    private static ulong KeyIn(ushort network, string mac) => FdbKey.Make(network, BitConverter.ToUInt64([.. ComparisonTests.Mac(mac), 0, 0]));

    private void Learn(string mac, ushort port) => Set(mac, port);

    private void Set(string mac, ushort port, long passedNsAgo = 0, long seenNsAgo = 0, long suspectNsAgo = 0) =>
        Set(Key(mac), port, passedNsAgo, seenNsAgo, suspectNsAgo);

    private void Set(ulong key, ushort port, long passedNsAgo = 0, long seenNsAgo = 0, long suspectNsAgo = 0)
    {
        ulong now = Clock.NowNs();
        Assert.True(_maps.Fdb.TrySet(key, new FdbValue(
            FdbWord.Make(Generation, port), SeenNs: now - (ulong)seenNsAgo, PassedNs: now - (ulong)passedNsAgo,
            SuspectNs: suspectNsAgo == 0 ? 0 : now - (ulong)suspectNsAgo)));
    }

    private void Beat()
    {
        _maps.Heartbeats->ControlNs = Clock.NowNs() + 3_600_000_000_000;
        _maps.Heartbeats->ForwarderUp = 1;
        _maps.Heartbeats->Workers = 2;
        for (int i = 0; i < 2; i++)
            *Heartbeats.WorkerNs(_maps.Heartbeats, i) = Clock.NowNs() + 3_600_000_000_000;
    }

    private int RunXdp(byte[] frame, int queue = 0) => _run.Netns.Inside(() => ProgramRun.Xdp(_run.Program.Xdp, frame, ingressIfindex: 1, queue));

    private int RunPolicy(byte[] frame) => _run.Netns.Inside(() => ProgramRun.Tc(_run.Program.Policy, frame, ingressIfindex: 1, ifindex: 0));
}
