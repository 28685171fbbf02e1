// Tells the neighbours where an address is now: gratuitous ARP (RFC 5227, 2.3) and unsolicited neighbour advertisement (RFC 4861,
// 7.2.6). Neighbours that know the address update what they know; nobody makes a new entry of it.
using System.Buffers.Binary;
using System.Net;
using Tmds.Linux;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;

namespace XenFastPath.Netlink;

/// <summary>Builds and sends announcements.</summary>
public static unsafe class Announcement
{
    private const int EthernetBytes = 14, ArpFrameBytes = 42, Ipv6Bytes = 40, AdvertisementBytes = 32;
    private const ushort EthArp = 0x0806, EthIpv6 = 0x86dd;
    private const byte Icmpv6 = 58, NeighbourAdvertisement = 136, Override = 0x20, TargetLinkAddress = 2;

    /// <summary>Sends one frame for each address from a link in this thread's namespace. Best effort: an address works without.</summary>
    public static void Send(int ifindex, MacAddress mac, IEnumerable<IPAddress> addresses)
    {
        int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
        if (fd < 0)
            return;
        try
        {
            foreach (IPAddress address in addresses)
            {
                byte[] frame = FrameOf(mac, address);
                sockaddr_ll to = default;
                to.sll_family = (ushort)AF_PACKET;
                to.sll_protocol = BinaryPrimitives.ReverseEndianness(BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(12)));
                to.sll_ifindex = ifindex;
                // Safety: both pointers are valid for the call.
                fixed (byte* data = frame)
                    _ = Libc.sendto(fd, data, (nuint)frame.Length, Libc.MSG_DONTWAIT, &to, (uint)sizeof(sockaddr_ll));
            }
        }
        finally
        {
            close(fd);
        }
    }

    /// <summary>The frame that announces an address, to everybody.</summary>
    public static byte[] FrameOf(MacAddress mac, IPAddress address)
    {
        byte[] ip = address.GetAddressBytes();
        return ip.Length == 4 ? Arp(mac, ip) : Advertisement(mac, ip);
    }

    private static byte[] Arp(MacAddress mac, byte[] ip)
    {
        byte[] frame = new byte[ArpFrameBytes];
        Ethernet(frame, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff], mac, EthArp);
        Span<byte> arp = frame.AsSpan(EthernetBytes);
        ReadOnlySpan<byte> header = [0, 1, 8, 0, 6, 4, 0, 1];       // Ethernet, IPv4, a request
        header.CopyTo(arp);
        mac.CopyTo(arp[8..]);
        ip.CopyTo(arp[14..]);
        ip.CopyTo(arp[24..]);
        return frame;
    }

    private static byte[] Advertisement(MacAddress mac, byte[] ip)
    {
        byte[] frame = new byte[EthernetBytes + Ipv6Bytes + AdvertisementBytes];
        Ethernet(frame, [0x33, 0x33, 0, 0, 0, 1], mac, EthIpv6);
        Span<byte> ipv6 = frame.AsSpan(EthernetBytes), body = ipv6[Ipv6Bytes..];
        ipv6[0] = 0x60;
        BinaryPrimitives.WriteUInt16BigEndian(ipv6[4..], AdvertisementBytes);
        (ipv6[6], ipv6[7]) = (Icmpv6, 255);
        ip.CopyTo(ipv6[8..]);
        ReadOnlySpan<byte> allNodes = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        allNodes.CopyTo(ipv6[24..]);
        body[0] = NeighbourAdvertisement;
        body[4] = Override;
        ip.CopyTo(body[8..]);
        (body[24], body[25]) = (TargetLinkAddress, 1);
        mac.CopyTo(body[26..]);
        // The pseudo-header's length and protocol, then addresses and body.
        uint sum = AdvertisementBytes + Icmpv6;
        for (int i = 8; i < ipv6.Length; i += 2)
            sum += BinaryPrimitives.ReadUInt16BigEndian(ipv6[i..]);
        while (sum > ushort.MaxValue)
            sum = (sum & ushort.MaxValue) + (sum >> 16);
        BinaryPrimitives.WriteUInt16BigEndian(body[2..], (ushort)~sum);
        return frame;
    }

    private static void Ethernet(Span<byte> frame, ReadOnlySpan<byte> to, MacAddress from, ushort type)
    {
        to.CopyTo(frame);
        from.CopyTo(frame[6..]);
        BinaryPrimitives.WriteUInt16BigEndian(frame[12..], type);
    }
}
