// Reads classic pcap files, as make_pcaps.py writes them: https://ietf-opsawg-wg.github.io/draft-ietf-opsawg-pcap/
using System.Buffers.Binary;

namespace XenFastPath.Tests.Pcap;

/// <summary>One frame; <paramref name="Second"/> is its time stamp.</summary>
internal sealed record PcapFrame(uint Second, byte[] Bytes);

internal static class PcapFile
{
    private const uint MagicMicroseconds = 0xa1b2c3d4, LinkTypeEthernet = 1;
    private const int FileHeaderBytes = 24, FrameHeaderBytes = 16;

    /// <summary>All frames of a little-endian Ethernet capture; an exception for any other file and for cut frames.</summary>
    public static List<PcapFrame> Read(string path)
    {
        ReadOnlySpan<byte> file = File.ReadAllBytes(path);
        if (BinaryPrimitives.ReadUInt32LittleEndian(file) != MagicMicroseconds || BinaryPrimitives.ReadUInt32LittleEndian(file[20..]) != LinkTypeEthernet)
            throw new InvalidDataException($"{path}: not a little-endian Ethernet capture");
        List<PcapFrame> frames = [];
        ReadOnlySpan<byte> rest = file[FileHeaderBytes..];
        while (!rest.IsEmpty)
        {
            uint second = BinaryPrimitives.ReadUInt32LittleEndian(rest);
            int captured = BinaryPrimitives.ReadInt32LittleEndian(rest[8..]), onWire = BinaryPrimitives.ReadInt32LittleEndian(rest[12..]);
            if (captured != onWire)
                throw new InvalidDataException($"{path}: frame {frames.Count + 1} is cut to {captured} of {onWire} bytes");
            frames.Add(new PcapFrame(second, rest.Slice(FrameHeaderBytes, captured).ToArray()));
            rest = rest[(FrameHeaderBytes + captured)..];
        }

        return frames;
    }
}
