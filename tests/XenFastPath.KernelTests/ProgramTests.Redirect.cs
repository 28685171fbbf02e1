// The program on ports of path redirect: at tc ingress, where any frame can be redirected, and in XDP.
using XenFastPath.Dataplane;
using XenFastPath.KernelTests.Lab;

namespace XenFastPath.KernelTests;

public sealed unsafe partial class ProgramTests
{
    private const PortFlags Redirecting = PortFlags.Ingress | PortFlags.Egress | PortFlags.Redirect;

    public static TheoryData<string, string, int> RedirectVerdicts => new()
    {
        { "known unicast", "RedirectSkb", TC_ACT_REDIRECT },
        { "unknown source", "PassSourceUnknown", TC_ACT_UNSPEC },
        { "source on another port", "PassSourceMoved", TC_ACT_UNSPEC },
        { "unknown destination", "PassUnknown", TC_ACT_UNSPEC },
        { "destination on the same port", "PassSamePort", TC_ACT_UNSPEC },
        { "broadcast", "PassGroup", TC_ACT_UNSPEC },
        { "reserved address", "PassGroup", TC_ACT_UNSPEC },
        { "output not forwarding", "PassOutputOff", TC_ACT_UNSPEC },
        { "output of an earlier owner", "PassOutputOff", TC_ACT_UNSPEC },
        { "output on afxdp", "PassOutputOff", TC_ACT_UNSPEC },
        { "both isolated", "PassIsolated", TC_ACT_UNSPEC },
        { "one isolated", "RedirectSkb", TC_ACT_REDIRECT },
        { "as long as the MTU allows", "RedirectSkb", TC_ACT_REDIRECT },
        { "a byte longer", "PassOversize", TC_ACT_UNSPEC },
        { "input off the path", "PassPathOff", TC_ACT_UNSPEC },
        { "control stale", "PassControlStale", TC_ACT_UNSPEC },
        { "forwarder stale", "RedirectSkb", TC_ACT_REDIRECT },
        { "forwarder down", "RedirectSkb", TC_ACT_REDIRECT },
        { "queue without a socket", "RedirectSkb", TC_ACT_REDIRECT },
        { "destination suspect", "PassSuspect", TC_ACT_UNSPEC },
        { "suspicion expired", "RedirectSkb", TC_ACT_REDIRECT },
        { "refresh due after a pause", "PassRefresh", TC_ACT_UNSPEC },
        { "refresh due without a pause", "PassRefresh", TC_ACT_UNSPEC },
        { "tagged from a pif", "PassTagged", TC_ACT_UNSPEC },
        { "arp", "RedirectSkb", TC_ACT_REDIRECT },
        { "udp unfinished", "RedirectSkb", TC_ACT_REDIRECT },
        { "udp whole", "RedirectSkb", TC_ACT_REDIRECT },
        { "sctp", "RedirectSkb", TC_ACT_REDIRECT },
        { "gre", "RedirectSkb", TC_ACT_REDIRECT },
        { "unknown ethertype", "RedirectSkb", TC_ACT_REDIRECT },
        { "tcp cut off", "RedirectSkb", TC_ACT_REDIRECT },
    };

    [Theory]
    [MemberData(nameof(RedirectVerdicts))]
    [Trait("rung", "minimum")]
    public void Each_frame_at_tc_gets_its_verdict(string frame, string counter, int action)
    {
        Redirect();
        byte[] data = frame == "output on afxdp" ? WithOutput(PortFlags.Egress) : Frame(frame, out _);
        AddRedirect(frame);
        Assert.Equal(action, RunPolicy(data));
        AssertCounted(Input, counter, TcPassed(action));
        Assert.Equal(counter == "RedirectSkb" ? 1 : 0, _maps.Counters(Output)[(int)ProgramCounter.RedirectOut]);
    }

    /// <summary>A tag is the VLAN device's, whose hook comes next; a frame that is let pass is none of the trunk's own Network.</summary>
    [Fact]
    public void A_tag_on_a_trunk_that_redirects_is_left_to_the_vlans_own_hook()
    {
        SetUpTrunk();
        SetTrunk(Redirecting | PortFlags.Trunk);
        Assert.Equal(TC_ACT_UNSPEC, RunPolicy(AddTag(Ip(6, new byte[20]), OurTag)));
        AssertCounted(Input, "PolicyOk", []);
    }

    [Fact]
    public void The_kernel_sees_a_source_that_was_let_pass()
    {
        Redirect();
        Set(Source, Input, passedNsAgo: 1_200_000_000_000, seenNsAgo: 50_000_000);
        Assert.Equal(TC_ACT_UNSPEC, RunPolicy(Ip(6, new byte[20])));
        Assert.Equal(TC_ACT_REDIRECT, RunPolicy(Ip(6, new byte[20])));
    }

    public static TheoryData<string, int> XdpRedirectVerdicts => new()
    {
        { "icmp", XDP_REDIRECT },
        { "arp", XDP_REDIRECT },
        { "tcp whole", XDP_REDIRECT },
        { "tcp unfinished", XDP_PASS },
        { "short udp whole", XDP_REDIRECT },
        { "short udp without checksum", XDP_REDIRECT },
        { "short udp unfinished", XDP_PASS },
        { "udp that may be a tunnel", XDP_PASS },
        { "gre", XDP_PASS },
        { "sctp", XDP_PASS },
        { "ipv6 tcp whole", XDP_REDIRECT },
        { "ipv6 tcp unfinished", XDP_PASS },
        { "tcp unfinished from a card", XDP_REDIRECT },
        { "too short for a card", XDP_PASS },
        { "as long as the MTU allows", XDP_REDIRECT },
        { "a byte longer", XDP_PASS },
        { "output takes no XDP frames", XDP_PASS },
        { "no device", XDP_PASS },
        { "control stale", XDP_PASS },
        { "forwarder down", XDP_REDIRECT },
        { "unknown source", XDP_PASS },
        { "unknown destination", XDP_PASS },
        { "refresh due after a pause", XDP_PASS },
        { "tagged from a vif", XDP_PASS },
    };

    /// <summary>What XDP lets pass it does not count, and leaves to tc as it was.</summary>
    [Theory]
    [MemberData(nameof(XdpRedirectVerdicts))]
    public void Each_frame_in_xdp_of_a_redirecting_port_gets_its_verdict(string frame, int action)
    {
        Redirect(PortFlags.Xmit);
        byte[] data = Pad(XdpFrame(frame));
        AddRedirect(frame, PortFlags.Xmit);
        Assert.Equal(action, RunXdp(data));
        AssertCounted(Input, action == XDP_REDIRECT ? "RedirectXdp" : "", []);
        Assert.Equal(action == XDP_REDIRECT ? 1 : 0, _maps.Counters(Output)[(int)ProgramCounter.RedirectOut]);
    }

    [Fact]
    public void A_refresh_that_xdp_let_pass_passes_tc_too()
    {
        Redirect(PortFlags.Xmit);
        Set(Source, Input, passedNsAgo: 1_200_000_000_000, seenNsAgo: 50_000_000);
        byte[] frame = Pad(Ip(1, new byte[60]));
        Assert.Equal(XDP_PASS, RunXdp(frame));
        Assert.Equal(TC_ACT_UNSPEC, RunPolicy(frame));
        Assert.Equal(1, _maps.Counters(Input)[(int)ProgramCounter.PassRefresh]);
        Assert.Equal(XDP_REDIRECT, RunXdp(frame));
    }

    /// <summary>From a trunk to a guest the tag comes off; the other way it goes on; between two trunks it changes.</summary>
    [Theory]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public void Tags_come_and_go_in_xdp(bool isFromVlan, bool isToVlan)
    {
        const ushort outTag = 300, trunk = 4, vlan = 5;
        SetUpTrunk();
        SetVlan(Redirecting);
        SetTrunk(Redirecting | PortFlags.Trunk);
        ushort input = isFromVlan ? Vlan : Input, network = isFromVlan ? Network : NativeNetwork;
        ushort output = isToVlan ? vlan : Output;
        ushort tag = isToVlan ? outTag : (ushort)0, carrier = isToVlan ? trunk : (ushort)0;
        _maps.Ports[output] = new PortEntry { Ifindex = 5, FrameBytesMax = 1514, Tag = tag, Trunk = carrier };
        _maps.SetWord(output, PortEntry.Pack(Generation, network, Redirecting | PortFlags.Xmit));
        _maps.SetDevice(isToVlan ? trunk : Output, 1);
        Set(KeyIn(network, Source), input);
        Set(KeyIn(network, Destination), output);
        byte[] plain = Pad(Ip(1, new byte[60]));
        byte[] sent = isFromVlan ? AddTag(plain, OurTag) : plain;
        Assert.Equal(XDP_REDIRECT, RunXdp(sent, out byte[] left));
        Assert.Equal(isToVlan ? AddTag(plain, outTag) : plain, left);
        AssertCounted(input, "RedirectXdp", []);
        // Without a device the frame is as it was.
        _maps.DeleteDevice(isToVlan ? trunk : Output);
        Assert.Equal(XDP_PASS, RunXdp(sent, out left));
        Assert.Equal(sent, left);
    }

    private void Redirect(PortFlags output = PortFlags.None)
    {
        SetInput(Redirecting | PortFlags.Unfinished);
        SetOutput(Redirecting | output);
        _maps.SetDevice(Output, 1);
    }

    /// <summary>The frames of the other tests set the flags that they are about; on this path they have one more.</summary>
    private void AddRedirect(string frame, PortFlags output = PortFlags.None)
    {
        _maps.SetWord(Input, _maps.Ports[Input].Word | (ushort)PortFlags.Redirect);
        if (frame != "output on afxdp")
            _maps.SetWord(Output, _maps.Ports[Output].Word | (ushort)PortFlags.Redirect | (ushort)(frame == "output takes no XDP frames" ? 0 : output));
    }

    private byte[] WithOutput(PortFlags flags)
    {
        SetOutput(flags);
        return Ip(6, new byte[20]);
    }

    private byte[] XdpFrame(string name)
    {
        byte[] tcp = [0, 1, 0, 2, .. new byte[8], 0x50, .. new byte[7]];
        switch (name)
        {
            case "icmp": return Ip(1, new byte[60]);
            case "tcp whole": return Ip(6, [.. tcp[..16], 0x12, 0x34, .. tcp[18..]]);
            case "tcp unfinished": return Ip(6, Unfinished(tcp, Pseudo4(6, tcp.Length)));
            case "short udp whole": return Ip(17, Udp(0x4321));
            case "short udp without checksum": return Ip(17, Udp(0));
            case "short udp unfinished": return Ip(17, Udp(Pseudo4(17, 12)));
            case "udp that may be a tunnel": return Ip(17, [0, 1, 0, 2, 0, 36, 0x43, 0x21, .. new byte[28]]);
            case "ipv6 tcp whole": return Ip6(6, [.. tcp[..16], 0x12, 0x34, .. tcp[18..]]);
            case "ipv6 tcp unfinished": return Ip6(6, Unfinished(tcp, Pseudo6(6, tcp.Length)));
            case "tcp unfinished from a card": SetInput(Redirecting); return Ip(6, Unfinished(tcp, Pseudo4(6, tcp.Length)));
            case "too short for a card": return Ip(1, new byte[25]);
            case "output takes no XDP frames": SetOutput(Redirecting); return Ip(1, new byte[60]);
            case "no device": _maps.DeleteDevice(Output); return Ip(1, new byte[60]);
            case "control stale" or "forwarder down" or "unknown source" or "unknown destination" or "refresh due after a pause":
                Frame(name, out _);
                return Ip(1, new byte[60]);
            default: return Frame(name, out _);
        }
    }

    private static byte[] Unfinished(byte[] tcp, ushort pseudo)
    {
        (tcp[16], tcp[17]) = ((byte)(pseudo >> 8), (byte)pseudo);
        return tcp;
    }

    /// <summary>As a sender does it: to the least length of an Ethernet frame, unless the test is about that.</summary>
    private static byte[] Pad(byte[] frame) => frame.Length == 59 ? frame : [.. frame, .. new byte[Math.Max(60 - frame.Length, 0)]];

    private static string[] TcPassed(int action) => action == TC_ACT_UNSPEC ? ["PolicyOk"] : [];

    private void AssertCounted(ushort port, string counter, string[] besides)
    {
        long[] counters = _maps.Counters(port);
        for (int i = 0; i < counters.Length; i++)
        {
            string name = ((ProgramCounter)i).ToString();
            Assert.True(counters[i] == (name == counter || besides.Contains(name) ? 1 : 0), $"{name} is {counters[i]}");
        }
    }

    private int RunXdp(byte[] frame, out byte[] left)
    {
        byte[] buffer = new byte[frame.Length + 64];
        int length = 0;
        int action = _run.Netns.Inside(() => ProgramRun.Xdp(_run.Program.Xdp, frame, ingressIfindex: 1, queue: 0, buffer, out length));
        left = buffer[..length];
        return action;
    }
}
