// Whatever bytes arrive, no decoder throws, hangs or reads outside: captured answers cut at every length and with
// random bits flipped (fixed seed).
using XenFastPath.Netlink;

namespace XenFastPath.Tests.Netlink;

public sealed class RobustnessTests
{
    private const int Seed = 20251122;
    private const int FlipsPerMessage = 100;
    private const int CutsPerMessageMax = 500;

    private static readonly byte[] s_ethtool = Golden.Load("genl-ethtool").Replies[0];

    public static TheoryData<string> Names => [.. Golden.Names];

    [Theory]
    [MemberData(nameof(Names))]
    public void Cut_anywhere(string name)
    {
        foreach (byte[] datagram in Datagrams(name))
        {
            int step = Math.Max(1, datagram.Length / CutsPerMessageMax);
            for (int length = 0; length <= datagram.Length; length += step)
            {
                byte[] cut = datagram[..length];
                DecodeEverything(cut);
                if (length < 4)
                    continue;
                // The header agrees with the cut, so that the attributes are reached.
                BitConverter.TryWriteBytes(cut, length);
                DecodeEverything(cut);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Flip_bits(string name)
    {
        var random = new Random(Seed);
        foreach (byte[] datagram in Datagrams(name))
        {
            for (int i = 0; i < FlipsPerMessage; i++)
            {
                byte[] bad = [.. datagram];
                for (int flips = random.Next(1, 9); flips > 0; flips--)
                    bad[random.Next(bad.Length)] ^= (byte)(1 << random.Next(8));
                DecodeEverything(bad);
            }
        }
    }

    [Fact]
    public void Random_bytes()
    {
        var random = new Random(Seed);
        for (int i = 0; i < 3_000; i++)
        {
            var bytes = new byte[random.Next(200)];
            random.NextBytes(bytes);
            if (bytes.Length >= 16)
                BitConverter.TryWriteBytes(bytes, bytes.Length);
            DecodeEverything(bytes);
        }
    }

    // Long dumps are decoded message by message, so that a cut does not repeat the same prefix thousands of times.
    private static IEnumerable<byte[]> Datagrams(string name)
    {
        foreach (byte[] datagram in Golden.Load(name).Replies)
        {
            var parts = new List<byte[]>();
            foreach (NetlinkMessage message in new NetlinkMessages(datagram))
                parts.Add(message.Raw.ToArray());
            foreach (byte[] part in parts.Take(12))
                yield return part;
        }
    }

    private static void DecodeEverything(byte[] datagram)
    {
        foreach (NetlinkMessage message in new NetlinkMessages(datagram))
        {
            _ = NetlinkError.Read(message);
            _ = LinkInfo.TryDecode(message, out _);
            _ = FdbEntry.TryDecode(message, out _);
            _ = AddressInfo.TryDecode(message, out _);
            _ = RouteInfo.TryDecode(message, out _);
            _ = RuleInfo.TryDecode(message, out _);
            _ = QdiscInfo.TryDecode(message, out _);
            _ = FilterInfo.TryDecode(message, out _);
            _ = NftChain.TryDecode(message, out _);
            _ = NetdevInfo.TryDecode(message, out _);
        }
        // The decoders that are not public are reached through the client: GENL_ID_CTRL (16) and families' messages.
        if (datagram.Length < 6 || BitConverter.ToUInt16(datagram, 4) is not (16 or 20 or 21))
            return;
        Ask(datagram, g => g.GetFamily("netdev"));
        Ask(datagram, g => g.GetFeatures(5));
        Ask(datagram, g => g.GetChannels(5));
        Ask(datagram, g => g.GetLinkModes(5));
    }

    // A kernel that knows ethtool but answers everything else with the datagram.
    private static void Ask(byte[] datagram, Action<GenericNetlink> question)
    {
        var kernel = new FakeKernel(request =>
        {
            bool asksForEthtool = request.AsSpan().IndexOf("ethtool"u8) >= 0;
            return [FakeKernel.Replay(request, asksForEthtool ? s_ethtool : datagram), FakeKernel.Ack(request)];
        });
        using var generic = new GenericNetlink(new NetlinkSocket(kernel));
        try
        {
            question(generic);
        }
        catch (NetlinkException)
        {
            // It may refuse, in its own words.
        }
    }
}
