// The program on a trunk and on a bond's member: whose a tagged frame is, in XDP and in the policy hook.
using XenFastPath.Dataplane;

namespace XenFastPath.KernelTests;

public sealed unsafe partial class ProgramTests
{
    /// <summary>The trunk is the input port, with a Network of its own; VLAN 100 is port 3, in the Network of the output.</summary>
    private const ushort NativeNetwork = 9, Vlan = 3, ForeignTag = 200, OurTag = 100, NobodysTag = 101;

    public static TheoryData<string, ushort, string, int> VlanVerdicts => new()
    {
        { "our tag", Vlan, "ToForwarder", XDP_REDIRECT },
        { "our tag with a priority", Vlan, "ToForwarder", XDP_REDIRECT },
        { "our tag, drop eligible", Input, "PassTagged", XDP_PASS },
        { "nobody's tag", Input, "DropNoVlan", XDP_DROP },
        { "nobody's tag, no trunk", Input, "PassTagged", XDP_PASS },
        { "nobody's tag from a vif", Input, "DropTagged", XDP_DROP },
        { "reserved tag", Input, "DropNoVlan", XDP_DROP },
        { "foreign tag", Input, "PassTagged", XDP_PASS },
        { "priority tag", Input, "PassTagged", XDP_PASS },
        { "802.1ad", Input, "PassTagged", XDP_PASS },
        { "old qinq", Input, "PassTagged", XDP_PASS },
        { "two tags", Input, "PassTagged", XDP_PASS },
        { "two tags, 802.1ad inside", Input, "PassTagged", XDP_PASS },
        { "two tags, nobody's outside", Input, "DropNoVlan", XDP_DROP },
        { "cut in its tag", Input, "PassTagged", XDP_PASS },
        { "only a tag", Vlan, "ToForwarder", XDP_REDIRECT },
        { "vlan off the path", Vlan, "PassPathOff", XDP_PASS },
        { "vlan isolated like the output", Vlan, "PassIsolated", XDP_PASS },
        { "source of the native network", Vlan, "PassSourceUnknown", XDP_PASS },
        { "source of the trunk, same network", Vlan, "PassSourceMoved", XDP_PASS },
        { "destination in the same vlan", Vlan, "PassSamePort", XDP_PASS },
        { "broadcast in the vlan", Vlan, "PassGroup", XDP_PASS },
        { "refresh due in the vlan", Vlan, "PassRefresh", XDP_PASS },
        { "as long as the MTU allows, and a tag", Vlan, "ToForwarder", XDP_REDIRECT },
        { "a byte longer, and a tag", Vlan, "PassOversize", XDP_PASS },
        { "udp unfinished behind the tag", Vlan, "ToForwarder", XDP_REDIRECT },
        { "udp whole behind the tag", Vlan, "PassProtocol", XDP_PASS },
        { "ipv6 udp unfinished behind the tag", Vlan, "ToForwarder", XDP_REDIRECT },
        { "no socket of the trunk", Vlan, "PassNoSocket", XDP_PASS },
        { "forwarder down", Vlan, "PassForwarderStale", XDP_PASS },
        { "untagged on the trunk", Input, "PassSourceUnknown", XDP_PASS },
        { "untagged on a trunk without a network", Input, "PassPathOff", XDP_PASS },
        { "untagged to a vlan", Input, "ToForwarder", XDP_REDIRECT },
    };

    [Theory]
    [MemberData(nameof(VlanVerdicts))]
    public void Each_frame_on_a_trunk_gets_its_verdict(string frame, ushort port, string counter, int action)
    {
        SetUpTrunk();
        Assert.Equal(action, RunXdp(VlanFrame(frame)));
        foreach (ushort other in (ushort[])[Input, Output, Vlan])
        {
            long[] counters = _maps.Counters(other);
            for (int i = 0; i < counters.Length; i++)
                Assert.Equal(other == port && ((ProgramCounter)i).ToString() == counter ? 1 : 0, counters[i]);
        }
    }

    [Theory]
    [InlineData(OurTag, 0x8100, TC_ACT_UNSPEC, ProgramCounter.PolicyOk)]
    [InlineData(OurTag | 0xf000, 0x8100, TC_ACT_UNSPEC, ProgramCounter.PolicyOk)]
    [InlineData(ForeignTag, 0x8100, TC_ACT_UNSPEC, ProgramCounter.PolicyOk)]
    [InlineData(NobodysTag, 0x8100, TC_ACT_SHOT, ProgramCounter.DropNoVlan)]
    [InlineData(4095, 0x8100, TC_ACT_SHOT, ProgramCounter.DropNoVlan)]
    [InlineData(0, 0x8100, TC_ACT_UNSPEC, ProgramCounter.PolicyOk)]
    [InlineData(NobodysTag, 0x88a8, TC_ACT_UNSPEC, ProgramCounter.PolicyOk)]
    public void The_policy_hook_of_a_trunk_lets_through_what_has_a_vlan_device(int tci, int tpid, int action, ProgramCounter counter)
    {
        SetUpTrunk();
        Assert.Equal(action, RunPolicy(AddTag(Ip(6, new byte[20]), tci, (ushort)tpid)));
        Assert.Equal(1, _maps.Counters(Input)[(int)counter]);
        SetTrunk(PortFlags.None);
        Assert.Equal(TC_ACT_UNSPEC, RunPolicy(AddTag(Ip(6, new byte[20]), tci, (ushort)tpid)));
    }

    /// <summary>A trunk VIF: nothing passes but what is a VLAN port's of ours.</summary>
    [Theory]
    [InlineData(OurTag, 0x8100, TC_ACT_UNSPEC, ProgramCounter.PolicyOk)]
    [InlineData(OurTag | 0xf000, 0x8100, TC_ACT_UNSPEC, ProgramCounter.PolicyOk)]
    [InlineData(ForeignTag, 0x8100, TC_ACT_SHOT, ProgramCounter.DropTagged)]
    [InlineData(NobodysTag, 0x8100, TC_ACT_SHOT, ProgramCounter.DropNoVlan)]
    [InlineData(4095, 0x8100, TC_ACT_SHOT, ProgramCounter.DropNoVlan)]
    [InlineData(0, 0x8100, TC_ACT_SHOT, ProgramCounter.DropTagged)]
    [InlineData(OurTag, 0x88a8, TC_ACT_SHOT, ProgramCounter.DropTagged)]
    [InlineData(OurTag, 0x9100, TC_ACT_SHOT, ProgramCounter.DropTagged)]
    public void The_policy_hook_of_a_trunk_vif_lets_nothing_through_but_our_tags(int tci, int tpid, int action, ProgramCounter counter)
    {
        SetUpTrunk();
        SetTrunk(PortFlags.NoTags | PortFlags.Trunk);
        Assert.Equal(action, RunPolicy(AddTag(Ip(6, new byte[20]), tci, (ushort)tpid)));
        Assert.Equal(1, _maps.Counters(Input)[(int)counter]);
        Assert.Equal(TC_ACT_UNSPEC, RunPolicy(Ip(6, new byte[20])));
        Assert.Equal(XDP_DROP, RunXdp(AddTag(Ip(6, new byte[20]), tci, (ushort)tpid)));      // on its way off the fast path
    }

    [Fact]
    public void A_tag_that_was_let_go_is_nobodys()
    {
        SetUpTrunk();
        _maps.DeleteVlan(VlanKey.Make(Input, OurTag));
        Assert.Equal([(VlanKey.Make(Input, ForeignTag), (ushort)0)], _maps.Vlans());
        Assert.Equal(XDP_DROP, RunXdp(AddTag(Ip(6, new byte[20]), OurTag)));
    }

    /// <summary>The input port is a member, port 3 its bond. What a member that has to rest receives is the kernel's to drop.</summary>
    [Theory]
    [InlineData(PortFlags.Ingress, 0, Vlan, ProgramCounter.ToForwarder, XDP_REDIRECT)]
    [InlineData(PortFlags.None, 0, Input, ProgramCounter.PassPathOff, XDP_PASS)]
    [InlineData(PortFlags.Ingress, NobodysTag, Vlan, ProgramCounter.DropNoVlan, XDP_DROP)]
    [InlineData(PortFlags.Ingress, ForeignTag, Vlan, ProgramCounter.PassTagged, XDP_PASS)]
    [InlineData(PortFlags.Ingress, OurTag, Output, ProgramCounter.PassSamePort, XDP_PASS)]
    public void A_members_frames_are_its_bonds(PortFlags member, int tag, ushort owner, ProgramCounter counter, int action)
    {
        SetUpTrunk();
        _maps.Ports[Input].Bond = Vlan;
        _maps.SetWord(Input, PortEntry.Pack(Generation, 0, member));
        SetVlan(PortFlags.Ingress | PortFlags.Egress | PortFlags.Trunk);
        // A VLAN of the bond: the output port stands in for it.
        _maps.Ports[Output].RefreshNs = _maps.Ports[Input].RefreshNs;
        _maps.SetVlan(VlanKey.Make(Vlan, OurTag), Output);
        _maps.SetVlan(VlanKey.Make(Vlan, ForeignTag), 0);
        if (tag == OurTag)
            Learn(Source, Output);
        byte[] frame = Ip(6, [0, 1, 0, 2, .. new byte[8], 0x50, .. new byte[7]]);
        Assert.Equal(action, RunXdp(tag == 0 ? frame : AddTag(frame, tag)));
        foreach (ushort port in (ushort[])[Input, Output, Vlan])
            Assert.Equal(port == owner ? 1 : 0, _maps.Counters(port).Sum());
        Assert.Equal(1, _maps.Counters(owner)[(int)counter]);
    }

    private static byte[] AddTag(byte[] frame, int tci, ushort tpid = 0x8100) =>
        [.. frame[..12], (byte)(tpid >> 8), (byte)tpid, (byte)(tci >> 8), (byte)tci, .. frame[12..]];

    private void SetTrunk(PortFlags flags) => _maps.SetWord(Input, PortEntry.Pack(Generation, NativeNetwork, flags));

    private void SetVlan(PortFlags flags) => _maps.SetWord(Vlan, PortEntry.Pack(Generation, Network, flags));

    private void SetUpTrunk()
    {
        _maps.Ports[Vlan] = new PortEntry { Ifindex = 3, RefreshNs = 1_000_000_000_000, FrameBytesMax = 1514, Tag = OurTag, Trunk = Input };
        SetTrunk(PortFlags.Ingress | PortFlags.Egress | PortFlags.Trunk);
        SetVlan(PortFlags.Ingress | PortFlags.Egress);
        _maps.SetVlan(VlanKey.Make(Input, OurTag), Vlan);
        _maps.SetVlan(VlanKey.Make(Input, ForeignTag), 0);
        Learn(Source, Vlan);
    }

    private byte[] VlanFrame(string name)
    {
        byte[] tcp = Ip(6, [0, 1, 0, 2, .. new byte[8], 0x50, .. new byte[7]]), tagged = AddTag(tcp, OurTag);
        switch (name)
        {
            case "our tag": return tagged;
            case "our tag with a priority": return AddTag(tcp, 0xe000 | OurTag);
            case "our tag, drop eligible": return AddTag(tcp, 0x1000 | OurTag);
            case "nobody's tag": return AddTag(tcp, NobodysTag);
            case "nobody's tag, no trunk": SetTrunk(PortFlags.Ingress); return AddTag(tcp, NobodysTag);
            case "nobody's tag from a vif": SetTrunk(PortFlags.Ingress | PortFlags.NoTags); return AddTag(tcp, NobodysTag);
            case "reserved tag": return AddTag(tcp, 4095);
            case "foreign tag": return AddTag(tcp, ForeignTag);
            case "priority tag": return AddTag(tcp, 0xe000);
            case "802.1ad": return AddTag(tcp, OurTag, 0x88a8);
            case "old qinq": return AddTag(tcp, OurTag, 0x9100);
            case "two tags": return AddTag(AddTag(tcp, OurTag), OurTag);
            case "two tags, 802.1ad inside": return AddTag(AddTag(tcp, OurTag, 0x88a8), OurTag);
            case "two tags, nobody's outside": return AddTag(AddTag(tcp, OurTag), NobodysTag);
            case "cut in its tag": return tagged[..17];
            case "only a tag": return tagged[..18];
            case "vlan off the path": SetVlan(PortFlags.None); return tagged;
            case "vlan isolated like the output":
                SetVlan(PortFlags.Ingress | PortFlags.Isolated);
                SetOutput(PortFlags.Egress | PortFlags.Isolated);
                return tagged;
            case "source of the native network":
                _maps.Fdb.Remove(Key(Source));
                Set(KeyIn(NativeNetwork, Source), Input);
                return tagged;
            case "source of the trunk, same network": Learn(Source, Input); return tagged;
            case "destination in the same vlan": Learn(Destination, Vlan); return tagged;
            case "broadcast in the vlan": return To("ff:ff:ff:ff:ff:ff", tagged);
            case "refresh due in the vlan": Set(Source, Vlan, passedNsAgo: 1_200_000_000_000, seenNsAgo: 50_000_000); return tagged;
            case "as long as the MTU allows, and a tag": return AddTag(Ip(1, new byte[1480]), OurTag);
            case "a byte longer, and a tag": return AddTag(Ip(1, new byte[1481]), OurTag);
            case "udp unfinished behind the tag": SetVlan(PortFlags.Ingress | PortFlags.Unfinished); return AddTag(Ip(17, Udp(Pseudo4(17, 12))), OurTag);
            case "udp whole behind the tag": SetVlan(PortFlags.Ingress | PortFlags.Unfinished); return AddTag(Ip(17, Udp(0x4321)), OurTag);
            case "ipv6 udp unfinished behind the tag":
                SetVlan(PortFlags.Ingress | PortFlags.Unfinished);
                return AddTag(Ip6(17, Udp(Pseudo6(17, 12))), OurTag);
            case "no socket of the trunk": _maps.Ports[Input].XskBase = 9; return tagged;
            case "forwarder down": _maps.Heartbeats->ForwarderUp = 0; return tagged;
            case "untagged on the trunk": return tcp;
            case "untagged on a trunk without a network":
                _maps.SetWord(Input, PortEntry.Pack(Generation, 0, PortFlags.Trunk));
                return tcp;
            case "untagged to a vlan":
                SetInput(PortFlags.Ingress | PortFlags.Trunk);
                Learn(Source, Input);
                Learn(Destination, Vlan);
                return tcp;
            default: throw new ArgumentException(name);
        }
    }
}
