// Announcements byte by byte, and neighbours.
using System.Buffers.Binary;
using System.Net;
using XenFastPath.Netlink;

namespace XenFastPath.Tests.Netlink;

public sealed class AnnouncementTests
{
    private static MacAddress Mac => MacAddress.Parse("02:00:00:00:00:01");

    [Fact]
    public void Gratuitous_arp() => Assert.Equal(
        "ffffffffffff0200000000010806" + "0001080006040001" + "020000000001c000020a" + "000000000000c000020a",
        Golden.Hex(Announcement.FrameOf(Mac, IPAddress.Parse("192.0.2.10"))));

    [Fact]
    public void Unsolicited_advertisement()
    {
        byte[] frame = Announcement.FrameOf(Mac, IPAddress.Parse("2001:db8::10"));
        string hex = Golden.Hex(frame);
        Assert.StartsWith(
            "33330000000102000000000186dd" + "6000000000203aff" + "20010db8000000000000000000000010" + "ff020000000000000000000000000001" + "8800", hex);
        Assert.EndsWith("2000000020010db80000000000000000000000100201020000000001", hex);
        // RFC 4443, 2.3: over pseudo-header and message the sum is all ones.
        uint sum = 32 + 58;
        for (int i = 14 + 8; i < frame.Length; i += 2)
            sum += BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(i));
        Assert.Equal(0xffffu, (sum & 0xffff) + (sum >> 16));
    }

    [Fact]
    public void A_neighbour_survives_encoding_and_decoding()
    {
        foreach (NeighbourInfo neighbour in (NeighbourInfo[])
            [new(7, IPAddress.Parse("192.0.2.1"), Mac, false), new(7, IPAddress.Parse("2001:db8::1"), Mac, true)])
        {
            byte[] request = FakeKernel.CaptureRtnl(r => r.SetNeighbour(neighbour));
            Assert.True(NetlinkMessage.TryRead(request, out NetlinkMessage message));
            Assert.True(NeighbourInfo.TryDecode(message, out NeighbourInfo? again));
            Assert.Equal(neighbour, again);
        }

        foreach (byte[] reply in Golden.Load("dump-fdb").Replies)
        {
            foreach (NetlinkMessage message in new NetlinkMessages(reply))
                Assert.False(NeighbourInfo.TryDecode(message, out _));        // a bridge's entry is none
        }
    }
}
