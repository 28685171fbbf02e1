// Slow, obvious implementations to compare the fast ones with.
using System.Buffers.Binary;

namespace XenFastPath.Tests.Dataplane;

internal static class Reference
{
    /// <summary>RFC 1071, 16-bit word by word, in network order.</summary>
    public static ushort OnesComplementSum(ReadOnlySpan<byte> data)
    {
        uint sum = 0;
        for (int i = 0; i < data.Length; i += 2)
        {
            sum += (uint)(data[i] << 8 | (i + 1 < data.Length ? data[i + 1] : 0));
            sum = (sum & 0xffff) + (sum >> 16);
        }

        return (ushort)sum;
    }

    public static void FinishChecksum(Span<byte> frame, int start, int field)
    {
        ushort value = (ushort)~OnesComplementSum(frame[start..]);
        BinaryPrimitives.WriteUInt16BigEndian(frame[(start + field)..], value == 0 ? (ushort)0xffff : value);
    }

    /// <summary>The pseudo-header sum of an IPv4 or IPv6 packet, as a sender with checksum offload leaves it in the field.</summary>
    public static ushort PseudoHeaderSum(ReadOnlySpan<byte> l3, byte protocol, int l4Length)
    {
        ReadOnlySpan<byte> addresses = l3[0] >> 4 == 4 ? l3[12..20] : l3[8..40];
        byte[] pseudo = [.. addresses, 0, protocol, (byte)(l4Length >> 8), (byte)l4Length];
        return OnesComplementSum(pseudo);
    }
}

/// <summary>Builds Ethernet frames for tests.</summary>
internal static class Frames
{
    public static byte[] Ethernet(string destination, string source, ushort etherType, params ReadOnlySpan<byte> payload)
    {
        byte[] frame = new byte[14 + payload.Length];
        Mac(destination).CopyTo(frame, 0);
        Mac(source).CopyTo(frame, 6);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), etherType);
        payload.CopyTo(frame.AsSpan(14));
        return frame;
    }

    public static byte[] Mac(string text) => Convert.FromHexString(text.Replace(":", "", StringComparison.Ordinal));

    public static ulong MacValue(string text) => BinaryPrimitives.ReadUInt64LittleEndian([.. Mac(text), 0, 0]);

    /// <summary>IPv4 with a TCP or UDP segment whose checksum field holds the pseudo-header sum, as offload leaves it.</summary>
    public static byte[] UnfinishedIpv4(string destination, string source, byte protocol, int payloadBytes, int seed = 1, int optionBytes = 0)
    {
        int l4 = (protocol == 6 ? 20 : 8) + payloadBytes;
        byte[] l3 = new byte[20 + optionBytes + l4];
        new Random(seed).NextBytes(l3);
        l3[0] = (byte)(0x40 | (20 + optionBytes) / 4);
        BinaryPrimitives.WriteUInt16BigEndian(l3.AsSpan(2), (ushort)l3.Length);
        l3[6] = l3[7] = 0;
        l3[9] = protocol;
        int header = 20 + optionBytes;
        if (protocol == 17)
            BinaryPrimitives.WriteUInt16BigEndian(l3.AsSpan(header + 4), (ushort)l4);
        BinaryPrimitives.WriteUInt16BigEndian(l3.AsSpan(header + (protocol == 6 ? 16 : 6)), Reference.PseudoHeaderSum(l3, protocol, l4));
        return Ethernet(destination, source, 0x0800, l3);
    }

    /// <summary>The same in IPv6.</summary>
    public static byte[] UnfinishedIpv6(string destination, string source, byte protocol, int payloadBytes, int seed = 1)
    {
        int l4 = (protocol == 6 ? 20 : 8) + payloadBytes;
        byte[] l3 = new byte[40 + l4];
        new Random(seed).NextBytes(l3);
        l3[0] = 0x60;
        BinaryPrimitives.WriteUInt16BigEndian(l3.AsSpan(4), (ushort)l4);
        l3[6] = protocol;
        if (protocol == 17)
            BinaryPrimitives.WriteUInt16BigEndian(l3.AsSpan(44), (ushort)l4);
        BinaryPrimitives.WriteUInt16BigEndian(l3.AsSpan(40 + (protocol == 6 ? 16 : 6)), Reference.PseudoHeaderSum(l3, protocol, l4));
        return Ethernet(destination, source, 0x86dd, l3);
    }
}
