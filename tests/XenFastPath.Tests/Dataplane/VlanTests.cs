// VLANs in the packet loop: tags off and on, every frame compared with what an obvious reference makes of it.
using XenFastPath.Dataplane;

namespace XenFastPath.Tests.Dataplane;

public sealed unsafe class VlanTests : IDisposable
{
    private const string Guest = "02:00:00:00:00:0a", Peer = "02:00:00:00:00:0b", Other = "02:00:00:00:00:0c";
    private const ushort Red = 8, Blue = 9;

    private readonly LoopFixture _loop = new();

    public void Dispose() => _loop.Dispose();

    /// <summary>A frame with a tag behind its addresses, as IEEE 802.1Q draws it.</summary>
    internal static byte[] Tag(byte[] frame, int tci, ushort tpid = 0x8100) =>
        [.. frame[..12], (byte)(tpid >> 8), (byte)tpid, (byte)(tci >> 8), (byte)tci, .. frame[12..]];

    private static byte[] Pad(byte[] frame) => frame.Length >= 60 ? frame : [.. frame, .. new byte[60 - frame.Length]];

    private static byte[] Payload(int length)
    {
        byte[] bytes = new byte[length];
        new Random(length).NextBytes(bytes);
        return bytes;
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(41)]
    [InlineData(42)]
    [InlineData(43)]
    [InlineData(45)]
    [InlineData(46)]
    [InlineData(1500)]
    public void A_tag_comes_off_on_the_way_in_and_is_put_on_on_the_way_out(int payloadBytes)
    {
        (SimulatedPort trunk, SimulatedPort guest, SimulatedVlan vlan) = RedNetwork();
        new Span<byte>(_loop.Arena.Base + Limits.FrameBytes, (int)_loop.Arena.Bytes - Limits.FrameBytes).Fill(0xaa);
        byte[] inward = Frames.Ethernet(Guest, Peer, 0x88b5, Payload(payloadBytes)), outward = Frames.Ethernet(Peer, Guest, 0x88b5, Payload(payloadBytes));
        Assert.True(trunk.Deliver(Tag(inward, 100)));
        Assert.True(guest.Deliver(outward));
        _loop.Round();
        Assert.Equal([Pad(inward)], guest.TakeSent());
        Assert.Equal([Pad(Tag(outward, 100))], trunk.TakeSent());
        Assert.Equal(1ul, vlan[PortCounter.RxFrames]);
        Assert.Equal((ulong)inward.Length, vlan[PortCounter.RxBytes]);
        Assert.Equal(1ul, vlan[PortCounter.TxFrames]);
        Assert.Equal((ulong)Pad(Tag(outward, 100)).Length - 4, vlan[PortCounter.TxBytes]);
        Assert.Equal(0ul, trunk[PortCounter.RxFrames] + trunk[PortCounter.TxFrames]);
        trunk.Complete();
        guest.Complete();
        _loop.Round();
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void The_priority_of_a_tag_is_dropped_and_0_is_sent()
    {
        (SimulatedPort trunk, SimulatedPort guest, _) = RedNetwork();
        byte[] frame = Frames.Ethernet(Guest, Peer, 0x88b5, Payload(60));
        for (int priority = 0; priority < 8; priority++)
            trunk.Deliver(Tag(frame, priority << 13 | 100));
        _loop.Round();
        Assert.Equal(Enumerable.Repeat(frame, 8), guest.TakeSent());
    }

    [Theory]
    [InlineData(0, 0x8100)]
    [InlineData(99, 0x8100)]
    [InlineData(101, 0x8100)]
    [InlineData(4095, 0x8100)]
    [InlineData(100, 0x88a8)]
    [InlineData(100, 0x9100)]
    public void A_tag_that_no_vlan_has_is_dropped_and_counted(int vid, int tpid)
    {
        (SimulatedPort trunk, SimulatedPort guest, SimulatedVlan vlan) = RedNetwork();
        _loop.Learn(Guest, guest);          // also in the trunk's own Network: it must not get there either
        trunk.Deliver(Tag(Frames.Ethernet(Guest, Peer, 0x88b5, Payload(60)), vid, (ushort)tpid));
        _loop.Round();
        Assert.Empty(guest.TakeSent());
        Assert.Equal(1ul, trunk[PortCounter.DropNoVlan]);
        Assert.Equal(1ul, trunk[PortCounter.RxFrames]);
        Assert.Equal(0ul, vlan[PortCounter.RxFrames]);
        Assert.True(_loop.Audit());
    }

    [Theory]
    [InlineData(0x8100)]
    [InlineData(0x88a8)]
    [InlineData(0x9100)]
    public void A_second_tag_is_not_taken_for_the_first(int inner)
    {
        (SimulatedPort trunk, SimulatedPort guest, _) = RedNetwork();
        trunk.Deliver(Tag(Tag(Frames.Ethernet(Guest, Peer, 0x88b5, Payload(60)), 7, (ushort)inner), 100));
        _loop.Round();
        Assert.Empty(guest.TakeSent());
        Assert.Equal(1ul, trunk[PortCounter.DropNoVlan]);
    }

    [Theory]
    [InlineData(12, PortCounter.DropRunt)]
    [InlineData(14, PortCounter.DropNoVlan)]
    [InlineData(17, PortCounter.DropNoVlan)]
    public void A_frame_that_ends_in_its_tag_is_dropped(int length, PortCounter counter)
    {
        (SimulatedPort trunk, SimulatedPort guest, _) = RedNetwork();
        trunk.Deliver(Tag(Frames.Ethernet(Guest, Peer, 0x88b5, Payload(60)), 100).AsSpan(0, length));
        _loop.Round();
        Assert.Empty(guest.TakeSent());
        Assert.Equal(1ul, trunk[counter]);
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void Untagged_frames_of_a_trunk_are_its_own_networks()
    {
        (SimulatedPort trunk, SimulatedPort guest, SimulatedVlan vlan) = RedNetwork();
        SimulatedPort native = _loop.AddPort();
        _loop.Learn(Other, native);
        _loop.Learn(Peer, trunk);
        byte[] inward = Frames.Ethernet(Other, Peer, 0x88b5, Payload(60)), outward = Frames.Ethernet(Peer, Other, 0x88b5, Payload(60));
        trunk.Deliver(inward);
        native.Deliver(outward);
        _loop.Round();
        Assert.Equal([inward], native.TakeSent());
        Assert.Equal([outward], trunk.TakeSent());
        Assert.Empty(guest.TakeSent());
        Assert.Equal(1ul, trunk[PortCounter.RxFrames]);
        Assert.Equal(1ul, trunk[PortCounter.TxFrames]);
        Assert.Equal(0ul, vlan[PortCounter.RxFrames] + vlan[PortCounter.TxFrames]);
    }

    [Fact]
    public void Vlans_of_one_trunk_with_the_same_addresses_stay_apart()
    {
        (SimulatedPort trunk, SimulatedPort redGuest, SimulatedVlan red) = RedNetwork();
        SimulatedPort blueGuest = _loop.AddPort(network: Blue);
        SimulatedVlan blue = _loop.AddVlan(trunk, 200, Blue);
        _loop.Learn(Guest, blueGuest, Blue);
        _loop.Learn(Peer, blue, Blue);
        byte[] frame = Frames.Ethernet(Guest, Peer, 0x88b5, Payload(60)), answer = Frames.Ethernet(Peer, Guest, 0x88b5, Payload(61));
        trunk.Deliver(Tag(frame, 200));
        blueGuest.Deliver(answer);
        _loop.Round();
        Assert.Empty(redGuest.TakeSent());
        Assert.Equal([frame], blueGuest.TakeSent());
        Assert.Equal([Tag(answer, 200)], trunk.TakeSent());
        Assert.Equal(0ul, red[PortCounter.RxFrames] + red[PortCounter.TxFrames]);
        // From VLAN to VLAN there is no way: the address is known, but in the other Network, or as that of the very port.
        _loop.Learn(Other, red, Red);
        trunk.Deliver(Tag(Frames.Ethernet(Other, Peer, 0x88b5, Payload(60)), 200));
        trunk.Deliver(Tag(Frames.Ethernet(Other, Guest, 0x88b5, Payload(60)), 100));
        _loop.Round();
        Assert.Equal(1ul, blue[PortCounter.DropUnknown]);
        Assert.Equal(1ul, red[PortCounter.DropSamePort]);
        Assert.Empty(trunk.TakeSent());
    }

    [Fact]
    public void An_entry_that_names_a_vlan_of_another_network_sends_nothing_into_it()
    {
        (SimulatedPort trunk, SimulatedPort guest, SimulatedVlan red) = RedNetwork();
        SimulatedVlan blue = _loop.AddVlan(trunk, 200, Blue);
        _loop.Learn(Other, blue, Red);
        guest.Deliver(Frames.Ethernet(Other, Guest, 0x88b5, Payload(60)));
        _loop.Round();
        Assert.Equal(1ul, guest[PortCounter.DropOtherNetwork]);
        Assert.Empty(trunk.TakeSent());
        Assert.Equal(0ul, red[PortCounter.TxFrames] + blue[PortCounter.TxFrames]);
    }

    [Fact]
    public void A_vlan_that_left_gets_nothing_and_gives_nothing_and_neither_does_an_earlier_owner_of_its_id()
    {
        (SimulatedPort trunk, SimulatedPort guest, SimulatedVlan vlan) = RedNetwork();
        byte[] outward = Frames.Ethernet(Peer, Guest, 0x88b5, Payload(60));
        _loop.Learn(Peer, vlan, Red, LoopFixture.Generation - 1);
        guest.Deliver(outward);
        _loop.Round();
        Assert.Equal(1ul, guest[PortCounter.DropOutputGone]);
        _loop.Learn(Peer, vlan, Red);
        _loop.Entry(vlan.Id)->Word = PortEntry.Pack(LoopFixture.Generation + 1, Blue, PortFlags.Egress);
        guest.Deliver(outward);
        _loop.Round();
        Assert.Equal(2ul, guest[PortCounter.DropOutputGone]);
        _loop.Entry(vlan.Id)->Word = PortEntry.Pack(LoopFixture.Generation, Red, PortFlags.Egress);
        _loop.Loop.PostDetachVlan(vlan.Id, trunk.VlanTable);
        guest.Deliver(outward);
        trunk.Deliver(Tag(Frames.Ethernet(Guest, Peer, 0x88b5, Payload(60)), 100));
        _loop.Round();
        Assert.Equal(3ul, guest[PortCounter.DropOutputGone]);
        Assert.Equal(1ul, trunk[PortCounter.DropNoVlan]);
        Assert.Empty(trunk.TakeSent());
        Assert.Empty(guest.TakeSent());
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void A_tag_does_not_count_against_the_mtu_of_its_vlan()
    {
        (SimulatedPort trunk, SimulatedPort guest, SimulatedVlan vlan) = RedNetwork();
        _loop.Entry(vlan.Id)->FrameBytesMax = 1014;
        byte[] longest = Frames.Ethernet(Peer, Guest, 0x88b5, Payload(1000));
        guest.Deliver(longest);
        guest.Deliver(Frames.Ethernet(Peer, Guest, 0x88b5, Payload(1001)));
        trunk.Deliver(Tag(Frames.Ethernet(Guest, Peer, 0x88b5, Payload(1500)), 100));
        trunk.Deliver(Tag(Frames.Ethernet(Guest, Peer, 0x88b5, Payload(1501)), 100));
        _loop.Round();
        Assert.Equal([Tag(longest, 100)], trunk.TakeSent());
        Assert.Equal(1ul, guest[PortCounter.DropOversize]);
        Assert.Equal(1514, Assert.Single(guest.TakeSent()).Length);
        Assert.Equal(1ul, vlan[PortCounter.DropOversize]);
    }

    [Theory]
    [InlineData(QueueFlags.None)]
    [InlineData(QueueFlags.TxMetadata)]
    public void Open_checksums_are_finished_behind_the_tag(QueueFlags flags)
    {
        SimulatedPort trunk = _loop.AddPort(flags: PortFlags.None, queueFlags: flags), guest = _loop.AddPort(network: Red);
        SimulatedVlan vlan = _loop.AddVlan(trunk, 4094, Red);
        _loop.Learn(Peer, vlan, Red);
        int count = 0;
        foreach (byte protocol in (ReadOnlySpan<byte>)[6, 17])
        {
            foreach (int payload in (ReadOnlySpan<int>)[0, 1, 17, 1400])
            {
                byte[][] frames = [Frames.UnfinishedIpv4(Peer, Guest, protocol, payload), Frames.UnfinishedIpv6(Peer, Guest, protocol, payload)];
                foreach (byte[] frame in frames)
                {
                    guest.Deliver(frame);
                    _loop.Round();
                    byte[] expected = [.. frame];
                    Reference.FinishChecksum(expected, frame[12] == 8 ? 34 : 54, protocol == 6 ? 16 : 6);
                    Assert.Equal([Pad(Tag(expected, 4094))], trunk.TakeSent());
                    trunk.Complete();
                    count++;
                }
            }
        }

        Assert.Equal((ulong)count, vlan[flags == QueueFlags.None ? PortCounter.ChecksumBySoftware : PortCounter.ChecksumByKernel]);
    }

    [Fact]
    public void A_frame_without_room_in_front_cannot_get_a_tag()
    {
        (SimulatedPort trunk, SimulatedPort guest, _) = RedNetwork();
        byte[] frame = Frames.Ethernet(Peer, Guest, 0x88b5, Payload(60));
        Assert.Equal(1u, guest.Fill.Kernel.Peek(1));
        ulong chunk = guest.Fill.Kernel.Address(0) & Arena.ChunkMask;
        guest.Fill.Kernel.Release(1);
        frame.CopyTo(new Span<byte>(_loop.Arena.Base + chunk + 3, frame.Length));
        guest.Publish(chunk + 3, (uint)frame.Length, 0);
        _loop.Round();
        Assert.Empty(trunk.TakeSent());
        Assert.Equal(1ul, guest[PortCounter.DropBadDescriptor]);
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void A_frame_that_is_not_the_trunks_is_not_written_to()
    {
        (SimulatedPort trunk, SimulatedPort guest, _) = RedNetwork();
        byte[] foreign = Tag(Frames.Ethernet(Guest, Peer, 0x88b5, Payload(60)), 100);
        ulong address = (guest.Fill.Kernel.Peek(1) == 0 ? 0 : guest.Fill.Kernel.Address(0) & Arena.ChunkMask) + 256;
        foreign.CopyTo(new Span<byte>(_loop.Arena.Base + address, foreign.Length));
        trunk.Publish(address, (uint)foreign.Length, 0);
        _loop.Round();
        Assert.Equal(foreign, new Span<byte>(_loop.Arena.Base + address, foreign.Length).ToArray());
        Assert.Equal(1ul, trunk[PortCounter.LedgerViolation]);
    }

    /// <summary>A trunk whose VLAN 100 belongs to Red, where a guest lives too.</summary>
    private (SimulatedPort Trunk, SimulatedPort Guest, SimulatedVlan Vlan) RedNetwork()
    {
        SimulatedPort trunk = _loop.AddPort(flags: PortFlags.None), guest = _loop.AddPort(network: Red);
        SimulatedVlan vlan = _loop.AddVlan(trunk, 100, Red);
        _loop.Learn(Guest, guest, Red);
        _loop.Learn(Peer, vlan, Red);
        return (trunk, guest, vlan);
    }
}
