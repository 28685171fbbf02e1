// The test frames: ICMP echo requests between addresses of RFC 2544, with nothing but zeros in them, in the sizes of RFC 2544 or mixed.
// ICMP, because every switch here may carry it as it is: a UDP datagram on a veth may have a checksum that somebody must finish.
using System.Buffers.Binary;

namespace XenFastPath.Rig.Bpf;

/// <summary>The sizes of a workload. Names count the FCS, as the RFCs do; the bytes do not.</summary>
/// <param name="Name">As people read it: "64", "IMIX".</param>
/// <param name="Bytes">One entry for each frame of the pattern, without FCS.</param>
internal sealed record FrameSizes(string Name, int[] Bytes)
{
    private const int FcsBytes = 4;

    public int BytesMax => Bytes.Max();

    /// <summary>The longest that fits MTU 1500.</summary>
    public static FrameSizes Of(int bytesWithFcs) => new($"{bytesWithFcs}", [bytesWithFcs - FcsBytes]);

    /// <summary>The simple IMIX: 64, 594 and 1518 bytes, 7 : 4 : 1, mixed evenly.</summary>
    public static FrameSizes Imix { get; } =
        new("IMIX", [.. new[] { 64, 594, 64, 594, 64, 64, 1518, 64, 594, 64, 594, 64 }.Select(b => b - FcsBytes)]);
}

internal static class Frames
{
    private const int EthernetBytes = 14;

    /// <summary>A frame of so many bytes without FCS, from the first address of one port to the first of another.</summary>
    public static byte[] Build(int bytes, int fromNumber, int toNumber)
    {
        byte[] frame = new byte[bytes];
        (frame[0], frame[1], frame[6], frame[7]) = (2, (byte)toNumber, 2, (byte)fromNumber);
        frame[12] = 8;
        Span<byte> ip = frame.AsSpan(EthernetBytes);
        ip[0] = 0x45;
        (ip[8], ip[9]) = (64, 1);
        ReadOnlySpan<byte> addresses = [198, 18, 0, (byte)fromNumber, 198, 19, 0, (byte)toNumber];
        addresses.CopyTo(ip[12..]);
        // Type 8 is an echo request; its checksum, with zeros behind it.
        (ip[20], ip[22], ip[23]) = (8, 0xf7, 0xff);
        RigSize size = Size(bytes, fromNumber, toNumber);
        BinaryPrimitives.WriteUInt16LittleEndian(ip[2..], size.TotalLength);
        BinaryPrimitives.WriteUInt16LittleEndian(ip[10..], size.Checksum);
        return frame;
    }

    /// <summary>What the headers of such a frame say about its length.</summary>
    public static RigSize Size(int bytes, int fromNumber, int toNumber)
    {
        int total = bytes - EthernetBytes;
        int sum = 0x4500 + total + 0x4001 + 0xc612 + fromNumber + 0xc613 + toNumber;
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        return new RigSize
        {
            Bytes = (ushort)bytes, TotalLength = Swap(total), Checksum = Swap(~sum),
        };
    }

    /// <summary>To network order on the little-endian machines this runs on.</summary>
    private static ushort Swap(int value) => BinaryPrimitives.ReverseEndianness((ushort)value);
}
