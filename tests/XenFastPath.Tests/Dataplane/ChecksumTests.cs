using XenFastPath.Dataplane;

namespace XenFastPath.Tests.Dataplane;

public sealed unsafe class ChecksumTests
{
    private const string A = "02:00:00:00:00:0a", B = "02:00:00:00:00:0b";

    public static TheoryData<byte[]> Unfinished()
    {
        TheoryData<byte[]> data = [];
        foreach (byte protocol in new byte[] { 6, 17 })
        {
            foreach (int payload in new[] { 0, 1, 2, 3, 7, 8, 9, 100, 1399, 1440 })
            {
                data.Add(Frames.UnfinishedIpv4(A, B, protocol, payload, payload + 1));
                data.Add(Frames.UnfinishedIpv4(A, B, protocol, payload, payload + 2, optionBytes: 20));
                data.Add(Frames.UnfinishedIpv6(A, B, protocol, payload, payload + 3));
            }
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Unfinished))]
    public void Finishes_what_a_sender_left_unfinished(byte[] frame)
    {
        byte[] expected = (byte[])frame.Clone();
        fixed (byte* data = frame)
        {
            Assert.True(Checksum.IsUnfinished(data, (uint)frame.Length, out uint start, out uint field));
            Reference.FinishChecksum(expected, (int)start, (int)field);
            Checksum.Finish(data, (uint)frame.Length, start, field);
            Assert.Equal(expected, frame);
            Assert.False(Checksum.IsUnfinished(data, (uint)frame.Length, out _, out _), "finished, yet it looks unfinished");
        }
    }

    [Theory]
    [MemberData(nameof(Unfinished))]
    public void Never_names_a_place_outside_the_frame(byte[] frame)
    {
        Random random = new(frame.Length);
        for (int i = 0; i < 2000; i++)
        {
            byte[] mutated = frame[..random.Next(14, frame.Length + 1)];
            for (int flips = random.Next(4); flips > 0; flips--)
                mutated[random.Next(mutated.Length)] = (byte)random.Next(256);
            fixed (byte* data = mutated)
            {
                if (Checksum.IsUnfinished(data, (uint)mutated.Length, out uint start, out uint field))
                    Assert.True(start + field + 2 <= mutated.Length);
            }
        }
    }

    [Fact]
    public void Leaves_fragments_and_other_protocols_alone()
    {
        byte[] fragment = Frames.UnfinishedIpv4(A, B, 17, 100);
        fragment[14 + 6] = 0x20;        // more fragments
        byte[] later = Frames.UnfinishedIpv4(A, B, 17, 100);
        later[14 + 7] = 5;              // offset
        byte[] sctp = Frames.UnfinishedIpv4(A, B, 17, 100);
        sctp[14 + 9] = 132;
        byte[] arp = Frames.Ethernet(A, B, 0x0806, new byte[46]);
        foreach (byte[] frame in new[] { fragment, later, sctp, arp })
        {
            fixed (byte* data = frame)
                Assert.False(Checksum.IsUnfinished(data, (uint)frame.Length, out _, out _));
        }
    }

    [Fact]
    public void Do_not_fragment_is_no_fragment()
    {
        byte[] frame = Frames.UnfinishedIpv4(A, B, 6, 100);
        frame[14 + 6] = 0x40;
        fixed (byte* data = frame)
            Assert.True(Checksum.IsUnfinished(data, (uint)frame.Length, out _, out _));
    }

    [Fact]
    public void Udp_over_ipv4_without_checksum_stays_without()
    {
        byte[] frame = Frames.UnfinishedIpv4(A, B, 17, 100);
        frame[14 + 20 + 6] = frame[14 + 20 + 7] = 0;
        fixed (byte* data = frame)
            Assert.False(Checksum.IsUnfinished(data, (uint)frame.Length, out _, out _));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(65)]
    [InlineData(1500)]
    public void The_sum_is_that_of_rfc_1071(int length)
    {
        byte[] bytes = new byte[length];
        new Random(length).NextBytes(bytes);
        ushort expected = Reference.OnesComplementSum(bytes);
        fixed (byte* data = bytes)
        {
            ushort sum = Checksum.Fold(Checksum.Sum(data, (uint)length));
            Assert.Equal(expected, System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(sum));
        }
    }
}
