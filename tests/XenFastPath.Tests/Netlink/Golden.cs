// Golden messages: golden/*.hex, embedded. One datagram begins with '>' (to the kernel) or '<' (from it), goes on in
// lines that are indented, and has comments behind '#'. golden/capture.py made all but handmade.hex.
using System.Runtime.InteropServices;
using XenFastPath.Interop;
using XenFastPath.Netlink;

namespace XenFastPath.Tests.Netlink;

internal sealed record Golden(string Name, byte[] Request, IReadOnlyList<byte[]> Replies)
{
    private const string Prefix = "netlink/";

    public static IEnumerable<string> Names => typeof(Golden).Assembly.GetManifestResourceNames()
        .Where(n => n.StartsWith(Prefix, StringComparison.Ordinal))
        .Select(n => n[Prefix.Length..^".hex".Length])
        .Order();

    public static Golden Load(string name)
    {
        using Stream stream = typeof(Golden).Assembly.GetManifestResourceStream($"{Prefix}{name}.hex")
            ?? throw new FileNotFoundException($"golden/{name}.hex is not embedded");
        List<(char Direction, string Hex)> datagrams = [];
        foreach (string line in new StreamReader(stream).ReadToEnd().Split('\n'))
        {
            string text = line.Split('#')[0].TrimEnd();
            if (text.StartsWith("  ", StringComparison.Ordinal))
                datagrams[^1] = (datagrams[^1].Direction, datagrams[^1].Hex + text.Trim());
            else if (text.Length > 0)
                datagrams.Add((text[0], text[2..]));
        }
        byte[][] Part(char direction) =>
            [.. datagrams.Where(d => d.Direction == direction).Select(d => Convert.FromHexString(d.Hex))];
        // Some tools send their whole buffer; nlmsg_len says what the kernel reads.
        byte[] request = Part('>').FirstOrDefault([]);
        return new Golden(name, request.Length == 0 ? request : request[..MemoryMarshal.Read<int>(request)], Part('<'));
    }

    /// <summary>The values that a decoder makes of the replies.</summary>
    public List<T> Decode<T>(NetlinkDecoder<T> decode)
    {
        var values = new List<T>();
        foreach (byte[] reply in Replies)
        {
            foreach (NetlinkMessage message in new NetlinkMessages(reply))
            {
                if (decode(message, out T? value))
                    values.Add(value);
            }
        }
        return values;
    }

    /// <summary>
    /// Asserts that <paramref name="mine"/> asks the kernel for the same. What may differ, and why the kernel does not
    /// care: the sequence number; the order of attributes; NLA_F_NESTED, which ip leaves out where the kernel is old;
    /// the NUL behind a string, likewise. What else differs a test has to name: NLM_F_ACK on questions, attributes that
    /// only the tool sends.
    /// </summary>
    public void AssertSame(
        ReadOnlySpan<byte> mine, int headerBytes, ushort flagsIgnored = 0, bool headerIgnored = false,
        IReadOnlyDictionary<string, int>? nestedHeaders = null, params string[] attributesIgnored)
    {
        nlmsghdr want = MemoryMarshal.Read<nlmsghdr>(Request), have = MemoryMarshal.Read<nlmsghdr>(mine);
        Assert.Equal(mine.Length, (int)have.nlmsg_len);
        Assert.Equal(want.nlmsg_type, have.nlmsg_type);
        Assert.Equal(want.nlmsg_flags & ~flagsIgnored, have.nlmsg_flags & ~flagsIgnored);
        int start = Marshal.SizeOf<nlmsghdr>();
        if (!headerIgnored)
            Assert.Equal(Hex(Request.AsSpan(start, headerBytes)), Hex(mine.Slice(start, headerBytes)));
        start += headerBytes;
        var comparison = new AttributeComparison(nestedHeaders ?? new Dictionary<string, int>(), attributesIgnored);
        Assert.Equal(
            string.Join('\n', comparison.Lines(Request.AsSpan(start), mine[start..], golden: true)),
            string.Join('\n', comparison.Lines(Request.AsSpan(start), mine[start..], golden: false)));
    }

    public static string Hex(ReadOnlySpan<byte> bytes) => Convert.ToHexStringLower(bytes);
}

/// <summary>
/// Flattens two attribute trees to sorted lines "path=hex". Only our side says which attributes nest, so both are
/// walked together; <paramref name="nestedHeaders"/> are the fixed headers that some nests begin with, by path.
/// </summary>
internal sealed class AttributeComparison(IReadOnlyDictionary<string, int> nestedHeaders, string[] ignored)
{
    private const ushort Nested = 0x8000;

    public List<string> Lines(ReadOnlySpan<byte> want, ReadOnlySpan<byte> have, bool golden)
    {
        var nests = new HashSet<string>();
        var strings = new HashSet<string>();
        CollectNests(have, "", nests, strings);
        var lines = new List<string>();
        Flatten(golden ? want : have, "", nests, strings, lines);
        lines.Sort(StringComparer.Ordinal);
        return lines;
    }

    private void CollectNests(ReadOnlySpan<byte> bytes, string path, HashSet<string> nests, HashSet<string> strings)
    {
        while (bytes.Length >= 4)
        {
            (int length, ushort rawType) = (MemoryMarshal.Read<ushort>(bytes), MemoryMarshal.Read<ushort>(bytes[2..]));
            string here = $"{path}/{rawType & 0x3fff}";
            if ((rawType & Nested) != 0)
            {
                nests.Add(here);
                CollectNests(bytes[(4 + nestedHeaders.GetValueOrDefault(here))..length], here, nests, strings);
            }
            else if (length > 5 && bytes[length - 1] == 0
                && bytes[4..(length - 1)].IndexOfAnyExceptInRange((byte)' ', (byte)'~') < 0)
            {
                strings.Add(here);
            }
            bytes = bytes[Math.Min((length + 3) & ~3, bytes.Length)..];
        }
    }

    private void Flatten(
        ReadOnlySpan<byte> bytes, string path, HashSet<string> nests, HashSet<string> strings, List<string> lines)
    {
        var attributes = new NetlinkAttributes(bytes);
        while (attributes.MoveNext())
        {
            NetlinkAttribute attribute = attributes.Current;
            string here = $"{path}/{attribute.Type}";
            if (ignored.Contains(here))
                continue;
            ReadOnlySpan<byte> value = attribute.Value;
            if (strings.Contains(here) && !value.IsEmpty && value[^1] == 0)
                value = value[..^1];
            int header = nests.Contains(here) ? nestedHeaders.GetValueOrDefault(here) : value.Length;
            lines.Add($"{here}={Golden.Hex(value[..header])}");
            if (nests.Contains(here))
                Flatten(value[header..], here, nests, strings, lines);
        }
        Assert.False(attributes.Malformed, $"malformed attributes at '{path}'");
    }
}
