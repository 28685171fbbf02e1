// Unfinished checksums. A guest whose (virtual) device offers checksum offload sends TCP and UDP with only the pseudo-header sum
// in the checksum field; the skb that says so is gone once the frame is in user space, but the field itself tells.
using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace XenFastPath.Dataplane;

/// <summary>Recognises and finishes unfinished TCP and UDP checksums (RFC 1071, RFC 768, RFC 9293, RFC 8200 section 8.1).</summary>
public static unsafe class Checksum
{
    private const int EtherTypeOffset = 12, L3Offset = Limits.EthernetHeaderBytes;
    private const int Ipv4HeaderBytesMin = 20, Ipv6HeaderBytes = 40;
    private const byte Tcp = 6, Udp = 17;
    private const int TcpFieldOffset = 16, UdpFieldOffset = 6, TcpHeaderBytesMin = 20, UdpHeaderBytes = 8;

    // As they lie in memory on a little-endian machine.
    private const ushort EtherTypeIpv4 = 0x0008, EtherTypeIpv6 = 0xdd86, FragmentMask = 0xff3f;

    /// <summary>
    /// Is the L4 checksum unfinished? It is if the field equals the folded pseudo-header sum. A complete frame that collides by
    /// chance (1 in 65536) loses nothing: finishing it computes the value it has (were it not for bytes other than zero behind
    /// the datagram; the sum runs to the end of the frame, as skb_checksum_help's does). A tunnel's whole outer checksum that
    /// collides does lose: the unfinished one inside it stays so, and nothing in the frame tells. Anything that is not a whole,
    /// unfragmented TCP or UDP datagram in IPv4, or directly in IPv6, is left alone.
    /// </summary>
    /// <param name="frame">An untagged Ethernet frame of <paramref name="length"/> bytes, at least 14.</param>
    /// <param name="length">Bytes of the frame.</param>
    /// <param name="start">Where the sum starts: the L4 header, counted from the frame. Always below <paramref name="length"/>.</param>
    /// <param name="field">The checksum field, counted from <paramref name="start"/>; lies inside the frame.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsUnfinished(byte* frame, uint length, out uint start, out uint field)
    {
        ushort etherType = Unsafe.ReadUnaligned<ushort>(frame + EtherTypeOffset);
        byte* l3 = frame + L3Offset;
        uint l3Length = length - L3Offset;
        ulong sum;
        byte protocol;
        uint headerBytes, l4Length;
        start = field = 0;
        if (etherType == EtherTypeIpv4)
        {
            if (l3Length < Ipv4HeaderBytesMin || (*l3 >> 4) != 4 || (Unsafe.ReadUnaligned<ushort>(l3 + 6) & FragmentMask) != 0)
                return false;
            headerBytes = (uint)(*l3 & 0xf) * 4;
            uint total = BinaryPrimitives.ReverseEndianness(Unsafe.ReadUnaligned<ushort>(l3 + 2));
            if (headerBytes < Ipv4HeaderBytesMin || total < headerBytes || total > l3Length)
                return false;
            protocol = l3[9];
            l4Length = total - headerBytes;
            sum = (ulong)Unsafe.ReadUnaligned<uint>(l3 + 12) + Unsafe.ReadUnaligned<uint>(l3 + 16);
        }
        else if (etherType == EtherTypeIpv6)
        {
            if (l3Length < Ipv6HeaderBytes || (*l3 >> 4) != 6)
                return false;
            headerBytes = Ipv6HeaderBytes;
            l4Length = BinaryPrimitives.ReverseEndianness(Unsafe.ReadUnaligned<ushort>(l3 + 4));
            if (l4Length > l3Length - Ipv6HeaderBytes)
                return false;
            protocol = l3[6];
            sum = 0;
            for (int i = 8; i < Ipv6HeaderBytes; i += 4)
                sum += Unsafe.ReadUnaligned<uint>(l3 + i);
        }
        else
        {
            return false;
        }

        if (protocol == Tcp && l4Length >= TcpHeaderBytesMin)
            field = TcpFieldOffset;
        else if (protocol == Udp && l4Length >= UdpHeaderBytes)
            field = UdpFieldOffset;
        else
            return false;
        start = L3Offset + headerBytes;
        sum += (uint)BinaryPrimitives.ReverseEndianness((ushort)l4Length) + ((uint)protocol << 8);
        return Unsafe.ReadUnaligned<ushort>(frame + start + field) == Fold(sum);
    }

    /// <summary>
    /// Finishes a checksum that <see cref="IsUnfinished"/> recognised: the sum from <paramref name="start"/> to the end of the
    /// frame, the field included, complemented; as the kernel's skb_checksum_help() does. Padding zeros add nothing.
    /// </summary>
    public static void Finish(byte* frame, uint length, uint start, uint field)
    {
        ushort value = (ushort)~Fold(Sum(frame + start, length - start));
        Unsafe.WriteUnaligned(frame + start + field, value == 0 ? (ushort)0xffff : value);
    }

    /// <summary>The ones' complement sum of some bytes, not folded.</summary>
    public static ulong Sum(byte* data, uint length)
    {
        ulong sum = 0;
        for (; length >= 8; length -= 8, data += 8)
            sum += (ulong)Unsafe.ReadUnaligned<uint>(data) + Unsafe.ReadUnaligned<uint>(data + 4);
        for (; length >= 2; length -= 2, data += 2)
            sum += Unsafe.ReadUnaligned<ushort>(data);
        return length != 0 ? sum + *data : sum;
    }

    /// <summary>Folds a sum to 16 bits; 0 only if the sum is 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort Fold(ulong sum)
    {
        sum = (sum & 0xffff_ffff) + (sum >> 32);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        return (ushort)((sum & 0xffff) + (sum >> 16));
    }
}
