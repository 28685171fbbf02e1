// The codec by itself: bytes written, bytes read, and what happens at the edges.
using System.Runtime.InteropServices;
using XenFastPath.Interop;
using XenFastPath.Netlink;
using static XenFastPath.Interop.Netlink;

namespace XenFastPath.Tests.Netlink;

public sealed class CodecTests
{
    [Fact]
    public void A_message_in_bytes()
    {
        var writer = new NetlinkWriter(new byte[256]);
        writer.Begin(16, 5);
        writer.Header(new ifinfomsg { ifi_index = 7 });
        writer.U8(1, 0x11);
        writer.U16(2, 0x2233);
        writer.U32(3, 0x44556677);
        writer.U64(4, 0x8899aabbccddeeff);
        writer.U16BigEndian(5, 0x0102);
        writer.U32BigEndian(6, 0x03040506);
        writer.String(7, "abc");
        writer.Bytes(8, [1, 2, 3, 4, 5]);
        writer.Flag(9);
        writer.Bool(10, true);
        writer.Mac(11, MacAddress.Parse("01:02:03:04:05:06"));
        Assert.Equal(
            "80000000" + "1000" + "0500" + "00000000" + "00000000" + "00000000" + "07000000" + "00000000" + "00000000"
            + "0500010011000000" + "0600020033220000" + "0800030077665544" + "0c000400ffeeddccbbaa9988"
            + "0600050001020000"
            + "0800060003040506" + "0800070061626300" + "090008000102030405000000" + "04000900" + "05000a0001000000"
            + "0a000b000102030405060000",
            Golden.Hex(writer.Written));
    }

    [Fact]
    public void Null_writes_nothing()
    {
        var writer = new NetlinkWriter(new byte[64]);
        writer.Begin(16, 0);
        writer.U8(1, null);
        writer.S32(2, null);
        writer.U16BigEndian(3, null);
        writer.String(4, null);
        writer.Bool(5, null);
        writer.Mac(6, null);
        writer.Address(7, null);
        Assert.Equal(NLMSG_HDRLEN, writer.Written.Length);
    }

    [Fact]
    public void Nests_have_their_lengths_and_flag()
    {
        var writer = new NetlinkWriter(new byte[128]);
        writer.Begin(16, 0);
        using (writer.Nest(18))
        {
            writer.String(1, "vlan");
            using (writer.Nest(2))
                writer.U16(1, 5);
            using (writer.Nest(3))
            {
            }
        }
        writer.U8(4, 1);
        Assert.Equal(
            "38000000" + "10000000" + "0000000000000000" + "20001280" + "09000100766c616e00000000"
            + "0c000280" + "0600010005000000"
            + "04000380" + "0500040001000000",
            Golden.Hex(writer.Written));
    }

    [Fact]
    public void A_writer_may_be_passed_on_by_value()
    {
        var writer = new NetlinkWriter(new byte[64]);
        writer.Begin(16, 0);
        Append(writer);
        writer.U32(2, 2);
        Assert.Equal(NLMSG_HDRLEN + 16, writer.Written.Length);

        static void Append(NetlinkWriter copy) => copy.U32(1, 1);
    }

    [Fact]
    public void Messages_in_a_row()
    {
        var writer = new NetlinkWriter(new byte[64]);
        Assert.Equal((0, 64), (writer.Written.Length, writer.Free));
        writer.Begin(28, 1);
        writer.U8(1, 1);
        writer.Begin(29, 2);
        Assert.Equal((40, 24), (writer.Written.Length, writer.Free));
        var types = new List<ushort>();
        foreach (NetlinkMessage message in new NetlinkMessages(writer.Written))
            types.Add(message.Type);
        Assert.Equal([28, 29], types);
    }

    [Theory]
    [InlineData(8)]
    [InlineData(20)]
    [InlineData(31)]
    public void A_buffer_too_small_is_a_clear_error(int size)
    {
        InvalidOperationException e = Assert.Throws<InvalidOperationException>(() =>
        {
            var writer = new NetlinkWriter(new byte[size]);
            writer.Begin(16, 0);
            writer.String(3, "0123456789a");
        });
        Assert.Equal($"The netlink message does not fit its buffer of {size} bytes.", e.Message);
    }

    [Fact]
    public void Attributes_need_a_message() =>
        Assert.Throws<InvalidOperationException>(() => new NetlinkWriter(new byte[64]).U8(1, 1));

    [Fact]
    public void An_attribute_has_a_largest_size() => Assert.Throws<ArgumentOutOfRangeException>(() =>
    {
        var writer = new NetlinkWriter(new byte[100_000]);
        writer.Begin(16, 0);
        writer.Bytes(1, new byte[65_532]);
    });

    [Fact]
    public void Old_bytes_in_the_buffer_do_not_show()
    {
        byte[] buffer = [.. Enumerable.Repeat((byte)0xcc, 64)];
        var writer = new NetlinkWriter(buffer);
        writer.Begin(16, 0);
        writer.U8(1, 2);
        Assert.Equal("0500010002000000", Golden.Hex(writer.Written[NLMSG_HDRLEN..]));
    }

    [Fact]
    public void Integers_of_another_size_read_as_far_as_they_go()
    {
        var attribute = new NetlinkAttribute(1, [0x01, 0x02, 0x03]);
        Assert.Equal(
            (0x01, 0x0201, 0x030201u, 0x030201ul), (attribute.U8, attribute.U16, attribute.U32, attribute.U64));
        Assert.Equal((0x0102, 0x01020300u), (attribute.U16BigEndian, attribute.U32BigEndian));
        Assert.Equal((0u, ""), (default(NetlinkAttribute).U32, default(NetlinkAttribute).Text));
        Assert.Null(attribute.Mac);
        Assert.Null(attribute.Address);
    }

    [Fact]
    public void The_type_flags_are_masked() => Assert.Equal(0x12, new NetlinkAttribute(0xc012, []).Type);

    [Fact]
    public void An_unpadded_tail_is_fine()
    {
        var attributes = new NetlinkAttributes([5, 0, 1, 0, 42]);
        Assert.True(attributes.MoveNext());
        Assert.Equal(42, attributes.Current.U8);
        Assert.False(attributes.MoveNext());
        Assert.False(attributes.Malformed);
        byte[] message = [.. FakeKernel.Reply(new byte[16], 16, [1, 2, 3])];
        var messages = new NetlinkMessages(message);
        Assert.True(messages.MoveNext());
        Assert.False(messages.MoveNext());
        Assert.False(messages.Malformed);
    }

    [Theory]
    [InlineData("0300010000000000")]    // shorter than its header
    [InlineData("ff00010000000000")]    // longer than what is there
    [InlineData("0000000000000000")]    // would never end
    [InlineData("05000100aa00000001")]  // a tail too short for a header
    public void Bad_attribute_lengths_end_the_enumeration(string hex)
    {
        var attributes = new NetlinkAttributes(Convert.FromHexString(hex));
        int count = 0;
        while (attributes.MoveNext())
            count++;
        Assert.True(attributes.Malformed);
        Assert.InRange(count, 0, 1);
        Assert.False(attributes.MoveNext());
    }

    [Theory]
    [InlineData(15u)]
    [InlineData(17u)]
    [InlineData(0u)]
    [InlineData(uint.MaxValue)]
    public void Bad_message_lengths_end_the_enumeration(uint length)
    {
        var bytes = new byte[16];
        MemoryMarshal.Write(bytes, in length);
        var messages = new NetlinkMessages(bytes);
        Assert.False(messages.MoveNext());
        Assert.True(messages.Malformed);
    }

    [Fact]
    public void Every_captured_message_survives_decoding_and_encoding()
    {
        int count = 0;
        foreach (string name in Golden.Names)
        {
            Golden golden = Golden.Load(name);
            foreach (byte[] datagram in golden.Replies.Prepend(golden.Request))
            {
                foreach (NetlinkMessage message in new NetlinkMessages(datagram))
                {
                    if (message.Type <= NLMSG_OVERRUN)
                        continue;
                    ReadOnlySpan<byte> attributes = message.Payload[HeaderBytes(name, message.Type)..];
                    Assert.Equal(Golden.Hex(WithoutFlags(attributes)), Golden.Hex(Recode(attributes)));
                    count++;
                }
            }
        }
        Assert.InRange(count, 100, 1000);
    }

    private static byte[] Recode(ReadOnlySpan<byte> bytes)
    {
        var writer = new NetlinkWriter(new byte[bytes.Length + 64]);
        writer.Begin(16, 0);
        var attributes = new NetlinkAttributes(bytes);
        while (attributes.MoveNext())
            writer.Bytes(attributes.Current.Type, attributes.Current.Value);
        Assert.False(attributes.Malformed);
        return writer.Written[NLMSG_HDRLEN..].ToArray();
    }

    // The reader hides NLA_F_NESTED, so it is taken out of what the result is compared with.
    private static byte[] WithoutFlags(ReadOnlySpan<byte> bytes)
    {
        byte[] copy = [.. bytes, .. new byte[(4 - bytes.Length % 4) % 4]];
        for (int i = 0; i < copy.Length; i += (copy[i] + copy[i + 1] * 256 + 3) & ~3)
            copy[i + 3] &= 0x3f;
        return copy;
    }

    private static int HeaderBytes(string golden, ushort type) => (golden.Split('-')[0], type) switch
    {
        ("ethtool" or "netdev" or "genl", _) => 4,
        (_, >= 16 and <= 19 or 108 or 109) => 16,
        (_, >= 20 and <= 22) => 8,
        (_, >= 24 and <= 34) => 12,
        (_, >= 36 and <= 46) => 20,
        _ => 4,
    };
}
