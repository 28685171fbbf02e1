// Bonds in the packet loop: which member a frame leaves by, against the kernel's formulas written the slow way.
using System.Buffers.Binary;
using XenFastPath.Dataplane;

namespace XenFastPath.Tests.Dataplane;

public sealed unsafe class BondTests : IDisposable
{
    private const string Guest = "02:00:00:00:00:0a", Peer = "02:00:00:00:00:0b";
    private const ushort Bond = 300, Blue = 9;
    private const int FirstIfindex = 7;

    private readonly LoopFixture _loop = new();
    private readonly BondOutput* _members = (BondOutput*)System.Runtime.InteropServices.NativeMemory.AllocZeroed((nuint)sizeof(BondOutput));
    private readonly SimulatedVlan _row = new(Bond, 0);
    private SlbBond* _slb;

    public void Dispose()
    {
        _loop.Dispose();
        _row.Dispose();
        System.Runtime.InteropServices.NativeMemory.Free(_members);
        System.Runtime.InteropServices.NativeMemory.Free(_slb);
    }

    [Theory]
    [InlineData(BondPolicy.Layer2)]
    [InlineData(BondPolicy.Layer23)]
    [InlineData(BondPolicy.Layer34)]
    [InlineData(BondPolicy.VlanSourceMac)]
    public void The_hash_is_the_kernels(BondPolicy policy)
    {
        Random random = new(7);
        HashSet<uint> seen = [];
        for (int i = 0; i < 5000; i++)
        {
            byte[] frame = RandomFrame(random);
            ushort tag = (ushort)(i % 2 == 0 ? 0 : random.Next(1, 4095));
            fixed (byte* data = frame)
            {
                uint hash = BondHash.Of(policy, data, (uint)frame.Length, tag);
                Assert.Equal(Kernel(policy, frame, tag), hash);
                seen.Add(hash % 4);
            }
        }

        Assert.Equal(4, seen.Count);
    }

    /// <summary>What the rule lets in the loop must be able to hold.</summary>
    [Fact]
    public void The_rule_and_the_loop_mean_the_same_number_of_members() => Assert.Equal(BondOutput.MembersMax, XenFastPath.Reconcile.PathRule.BondMembersMax);

    /// <summary>Worked out by hand from bond_eth_hash, bond_ip_hash and bond_vlan_srcmac_hash.</summary>
    [Fact]
    public void The_hash_of_one_known_flow()
    {
        // 192.0.2.1:1024 -> 198.51.100.2:80, TCP.
        byte[] l3 = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2, 0x04, 0x00, 0, 80, .. new byte[16]];
        byte[] frame = Frames.Ethernet(Peer, Guest, 0x0800, l3);
        fixed (byte* data = frame)
        {
            Assert.Equal(0x0au ^ 0x0bu ^ 0x0800u, BondHash.Of(BondPolicy.Layer2, data, (uint)frame.Length, 0));
            Assert.Equal(0x020000u ^ 0x00000au ^ 100u, BondHash.Of(BondPolicy.VlanSourceMac, data, (uint)frame.Length, 100));
            // ports 0x50000004, addresses 0x020000c0^... : little-endian words of the frame.
            uint h = 0x50000004u ^ 0x010200c0u ^ 0x026433c6u;
            h ^= h >> 16;
            h ^= h >> 8;
            Assert.Equal(h >> 1, BondHash.Of(BondPolicy.Layer34, data, (uint)frame.Length, 0));
        }
    }

    [Fact]
    public void Frames_of_all_members_are_the_bonds_and_the_active_one_sends()
    {
        (SimulatedPort first, SimulatedPort second, SimulatedPort guest) = Bonded(BondPolicy.Layer2, usable: 1);
        byte[] inward = Frames.Ethernet(Guest, Peer, 0x88b5, new byte[60]), outward = Frames.Ethernet(Peer, Guest, 0x88b5, new byte[61]);
        first.Deliver(inward);
        second.Deliver(inward);
        guest.Deliver(outward);
        _loop.Round();
        Assert.Equal([inward, inward], guest.TakeSent());
        Assert.Equal([outward], first.TakeSent());
        Assert.Empty(second.TakeSent());
        Assert.Equal(2ul, _row[PortCounter.RxFrames]);
        Assert.Equal(1ul, _row[PortCounter.TxFrames]);
        Assert.Equal(0ul, first[PortCounter.RxFrames] + first[PortCounter.TxFrames]);
        // Failover.
        SetBond(BondPolicy.Layer2, 1, second, first);
        guest.Deliver(outward);
        _loop.Round();
        Assert.Equal([outward], second.TakeSent());
        Assert.Empty(first.TakeSent());
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void Nothing_comes_back_to_the_bond_it_came_from()
    {
        (SimulatedPort first, SimulatedPort second, _) = Bonded(BondPolicy.Layer2, usable: 2);
        first.Deliver(Frames.Ethernet(Peer, Guest, 0x88b5, new byte[60]));
        _loop.Round();
        Assert.Equal(1ul, _row[PortCounter.DropSamePort]);
        Assert.Empty(first.TakeSent());
        Assert.Empty(second.TakeSent());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(100)]
    public void Each_frame_leaves_by_the_member_that_the_kernel_would_take(int tag)
    {
        (SimulatedPort first, SimulatedPort second, SimulatedPort guest) = Bonded(BondPolicy.VlanSourceMac, usable: 2);
        ushort network = tag == 0 ? LoopFixture.Network : Blue;
        SimulatedPort sender = tag == 0 ? guest : _loop.AddPort(network: Blue);
        if (tag != 0)
            AddVlan((ushort)tag, first);
        for (int i = 0; i < 32; i++)
        {
            byte[] frame = Frames.Ethernet(Peer, $"02:00:00:00:{i:x2}:{i * 3:x2}", 0x88b5, new byte[60]);
            sender.Deliver(frame);
            _loop.Round();
            SimulatedPort expected = Kernel(BondPolicy.VlanSourceMac, frame, (ushort)tag) % 2 == 0 ? first : second;
            Assert.Equal([tag == 0 ? frame : VlanTests.Tag(frame, tag)], expected.TakeSent());
            Assert.Empty((expected == first ? second : first).TakeSent());
            expected.Complete();
        }

        Assert.NotEqual(0u, first.Queue->Tx.Published());
        Assert.NotEqual(0u, second.Queue->Tx.Published());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(100)]
    public void With_a_table_each_source_leaves_by_its_buckets_member(int tag)
    {
        _slb = (SlbBond*)System.Runtime.InteropServices.NativeMemory.AllocZeroed((nuint)sizeof(SlbBond));
        for (int bucket = 0; bucket < SlbLayout.Buckets; bucket++)
            _slb->Member[bucket] = (uint)(bucket % 3 == 2 ? 0 : FirstIfindex + bucket % 3);
        (SimulatedPort first, SimulatedPort second, SimulatedPort guest) = Bonded(BondPolicy.VlanSourceMac, usable: 2);
        SimulatedPort sender = tag == 0 ? guest : _loop.AddPort(network: Blue);
        if (tag != 0)
            AddVlan((ushort)tag, first);
        ulong[] bytes = new ulong[SlbLayout.Buckets];
        for (int i = 0; i < 200; i++)
        {
            string source = $"02:00:00:{i * 7 % 256:x2}:{i:x2}:{i * 3 % 256:x2}";
            byte[] frame = Frames.Ethernet(Peer, source, 0x88b5, new byte[60 + i]);
            sender.Deliver(frame);
            _loop.Round();
            int bucket = SlbAddress.Bucket(SlbAddress.Make((ushort)tag, Frames.MacValue(source)));
            bytes[bucket] += (ulong)frame.Length;
            // Where the table says nothing the kernel's hash does.
            uint choice = bucket % 3 == 2 ? Kernel(BondPolicy.VlanSourceMac, frame, (ushort)tag) % 2 : (uint)bucket % 3;
            SimulatedPort expected = choice == 0 ? first : second;
            Assert.Equal([tag == 0 ? frame : VlanTests.Tag(frame, tag)], expected.TakeSent());
            expected.Complete();
        }

        Assert.Equal(bytes, new Span<ulong>(_slb->FastBytes, SlbLayout.Buckets).ToArray());
    }

    [Fact]
    public void A_bonds_vlans_come_in_by_every_member_also_by_one_that_joins_later()
    {
        (SimulatedPort first, SimulatedPort second, _) = Bonded(BondPolicy.Layer2, usable: 1);
        SimulatedPort blue = _loop.AddPort(network: Blue);
        _loop.Learn(Guest, blue, Blue);
        AddVlan(100, first);
        SimulatedPort third = _loop.AddPort(network: 0);
        SetBond(BondPolicy.Layer2, 1, [first, second, third], first.VlanTable);
        byte[] frame = Frames.Ethernet(Guest, Peer, 0x88b5, new byte[60]);
        foreach (SimulatedPort member in (SimulatedPort[])[first, second, third])
            member.Deliver(VlanTests.Tag(frame, 100));
        first.Deliver(VlanTests.Tag(frame, 101));
        _loop.Round();
        Assert.Equal([frame, frame, frame], blue.TakeSent());
        Assert.Equal(1ul, _row[PortCounter.DropNoVlan]);
    }

    [Fact]
    public void Without_a_usable_member_nothing_leaves_and_without_the_bond_nothing_comes_in()
    {
        (SimulatedPort first, SimulatedPort second, SimulatedPort guest) = Bonded(BondPolicy.Layer2, usable: 0);
        guest.Deliver(Frames.Ethernet(Peer, Guest, 0x88b5, new byte[60]));
        _loop.Round();
        Assert.Equal(1ul, guest[PortCounter.DropOutputGone]);
        _loop.Loop.PostDetachBond(Bond);
        first.Deliver(Frames.Ethernet(Guest, Peer, 0x88b5, new byte[60]));
        second.Deliver(VlanTests.Tag(Frames.Ethernet(Guest, Peer, 0x88b5, new byte[60]), 100));
        guest.Deliver(Frames.Ethernet(Peer, Guest, 0x88b5, new byte[60]));
        _loop.Round();
        Assert.Empty(guest.TakeSent());
        Assert.Equal(1ul, first[PortCounter.DropUnknown]);
        Assert.Equal(1ul, second[PortCounter.DropUnknown]);
        Assert.Equal(2ul, guest[PortCounter.DropOutputGone]);
        Assert.True(_loop.Audit());
    }

    /// <summary>Two members, whose own ports are in no Network, and a guest in the bond's.</summary>
    private (SimulatedPort First, SimulatedPort Second, SimulatedPort Guest) Bonded(BondPolicy policy, int usable)
    {
        SimulatedPort first = _loop.AddPort(network: 0), second = _loop.AddPort(network: 0), guest = _loop.AddPort();
        *_loop.Entry(Bond) = new PortEntry { Word = PortEntry.Pack(LoopFixture.Generation, LoopFixture.Network, PortFlags.Egress), FrameBytesMax = 1514 };
        SetBond(policy, usable, first, second);
        _loop.Learn(Guest, guest);
        Assert.True(_loop.Table.TrySet(FdbKey.Make(LoopFixture.Network, Frames.MacValue(Peer)), FdbWord.Make(LoopFixture.Generation, Bond)));
        return (first, second, guest);
    }

    private void SetBond(BondPolicy policy, int usable, params SimulatedPort[] members) => SetBond(policy, usable, members, null);

    private void SetBond(BondPolicy policy, int usable, SimulatedPort[] members, ushort* table)
    {
        BondOutput content = new() { Policy = policy, Slb = _slb };
        for (int i = 0; i < members.Length; i++)
            content.Add(members[i].Output(LoopFixture.Generation), (uint)(FirstIfindex + i), i < usable);
        _loop.Loop.PostSetBond(Bond, Output(), &content, table);
        _loop.Round();
        Assert.True(_loop.Loop.IsIdle);
    }

    private OutputPort Output()
    {
        OutputPort output = _row.Output(_loop.Ports[0], LoopFixture.Generation);
        output.Queues = null;
        output.Bond = _members;
        return output;
    }

    private void AddVlan(ushort tag, SimulatedPort table)
    {
        SimulatedVlan vlan = new(200, tag);
        _loop.Vlans.Add(vlan);
        OutputPort output = vlan.Output(table, LoopFixture.Generation);
        output.Queues = null;
        output.Bond = _members;
        *_loop.Entry(vlan.Id) = new PortEntry { Word = PortEntry.Pack(LoopFixture.Generation, Blue, PortFlags.Egress), FrameBytesMax = 1514 };
        _loop.Loop.PostAttachVlan(vlan.Id, output, table.VlanTable);
        _loop.Round();
        _loop.Learn(Peer, vlan, Blue);
    }

    private static byte[] RandomFrame(Random random)
    {
        byte[] frame = new byte[random.Next(14, 90)];
        random.NextBytes(frame);
        bool isIpv6 = random.Next(2) == 0;
        if (frame.Length < 34 || random.Next(8) == 0)
            return frame;
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), (ushort)(isIpv6 ? 0x86dd : 0x0800));
        byte[] protocols = [6, 17, 132, 33, 50, 51, 136, 1, 58, 47];
        if (isIpv6)
        {
            frame[14] = 0x60;
            frame[20] = protocols[random.Next(protocols.Length)];
            return frame;
        }

        frame[14] = (byte)(0x40 | random.Next(5, 8));
        frame[20] = (byte)(random.Next(4) == 0 ? 0x20 : 0x40);
        frame[21] = 0;
        frame[23] = protocols[random.Next(protocols.Length)];
        return frame;
    }

    /// <summary>bond_xmit_hash(), word by word, in the kernel's own order of steps.</summary>
    private static uint Kernel(BondPolicy policy, byte[] frame, ushort tag)
    {
        if (policy == BondPolicy.VlanSourceMac)
        {
            uint vendor = 0, device = 0;
            for (int i = 6; i < 9; i++)
                vendor = vendor << 8 | frame[i];
            for (int i = 9; i < 12; i++)
                device = device << 8 | frame[i];
            return tag ^ vendor ^ device;
        }

        int type = frame[12] << 8 | frame[13];
        uint ethernet = (uint)(frame[5] ^ frame[11] ^ type);
        bool isIpv4 = type == 0x0800 && frame.Length >= 34, isIpv6 = type == 0x86dd && frame.Length >= 54;
        if (policy == BondPolicy.Layer2 || !(isIpv4 || isIpv6))
            return ethernet;
        uint source = isIpv4 ? Word(frame, 26) : Word(frame, 22) ^ Word(frame, 26) ^ Word(frame, 30) ^ Word(frame, 34);
        uint destination = isIpv4 ? Word(frame, 30) : Word(frame, 38) ^ Word(frame, 42) ^ Word(frame, 46) ^ Word(frame, 50);
        bool isFragment = isIpv4 && ((frame[20] & 0x3f) != 0 || frame[21] != 0);
        int l4 = isIpv4 ? 14 + (frame[14] & 15) * 4 : 54, protocol = isIpv4 ? frame[23] : frame[20];
        uint hash = policy == BondPolicy.Layer23 ? ethernet : isFragment ? 0 : L4(frame, l4, protocol);
        hash ^= destination ^ source;
        hash ^= hash >> 16;
        hash ^= hash >> 8;
        return policy == BondPolicy.Layer34 ? hash >> 1 : hash;
    }

    private static uint L4(byte[] frame, int start, int protocol)
    {
        if (protocol is 1 or 58)
        {
            if (start + 8 > frame.Length || Array.IndexOf([0, 8, 13, 14, 128, 129], frame[start]) < 0)
                return 0;
            int id = frame[start + 4] << 8 | frame[start + 5];
            return BitConverter.ToUInt32([frame[start], frame[start + 1], .. BitConverter.GetBytes((ushort)(id == 0 ? 1 : id))]);
        }

        int offset = protocol == 51 ? 4 : Array.IndexOf([6, 17, 33, 50, 132, 136], protocol) >= 0 ? 0 : -1;
        return offset < 0 || start + offset + 4 > frame.Length ? 0 : Word(frame, start + offset);
    }

    private static uint Word(byte[] frame, int offset) => BitConverter.ToUInt32(frame, offset);
}
