using System.Runtime.InteropServices;
using BenchmarkDotNet.Attributes;
using XenFastPath.Interop;
using XenFastPath.Netlink;
using static XenFastPath.Interop.Netlink;

namespace XenFastPath.Bench;

/// <summary>What the FDB mirror does for each notification.</summary>
[MemoryDiagnoser]
public class NetlinkBench
{
    // RTM_NEWNEIGH of a bridge port: lladdr, master, cacheinfo.
    private static readonly byte[] s_notification = Convert.FromHexString(
        "440000001c0000000000000000000000" + "070000000300000002000000"
        + "0a00020002000000010100000800090008000000" + "1400030000000000000000000000000000000000");

    [GlobalSetup]
    public void Check()
    {
        if (DecodeFdbNotification() != 3)
            throw new InvalidOperationException("the notification does not decode");
    }

    [Benchmark]
    public int DecodeFdbNotification() => FdbEntry.TryDecode(s_notification, out FdbEntry entry) ? entry.Ifindex : 0;
}

/// <summary>What the reconciler does for each device: one message of the dump of all links, and one request with its answer.</summary>
[MemoryDiagnoser]
[BenchmarkCategory(Categories.Control)]
public sealed class RequestBench : IDisposable
{
    private readonly Rtnl _rtnl = new(new NetlinkSocket(new YesMan()));
    private byte[] _link = [];

    [GlobalSetup]
    public void Setup()
    {
        // As `ip link show` had it from the kernel.
        using Stream stream = typeof(RequestBench).Assembly.GetManifestResourceStream("get-link.hex")!;
        using StreamReader reader = new(stream);
        string reply = reader.ReadToEnd().Split('\n').First(l => l.StartsWith('<'));
        _link = Convert.FromHexString(reply[2..].Trim());
        if (DecodeLink() == 0)
            throw new InvalidOperationException("the link does not decode");
    }

    [Benchmark]
    public int DecodeLink() =>
        NetlinkMessage.TryRead(_link, out NetlinkMessage message) && LinkInfo.TryDecode(message, out LinkInfo? link) ? link.Index : 0;

    [Benchmark]
    public void EncodeSetMtu() => _rtnl.SetMtu(7, 1500);

    public void Dispose() => _rtnl.Dispose();

    /// <summary>A kernel that acknowledges everything.</summary>
    private sealed class YesMan : INetlinkTransport
    {
        private readonly byte[] _answer = new byte[NLMSG_HDRLEN + sizeof(int) + NLMSG_HDRLEN];

        public int Fd => -1;

        public uint PortId => 1;

        public int Send(ReadOnlySpan<byte> messages)
        {
            nlmsghdr header = MemoryMarshal.Read<nlmsghdr>(messages) with { nlmsg_type = NLMSG_ERROR, nlmsg_len = (uint)_answer.Length, nlmsg_pid = PortId };
            MemoryMarshal.Write(_answer, in header);
            messages[..NLMSG_HDRLEN].CopyTo(_answer.AsSpan(NLMSG_HDRLEN + sizeof(int)));
            return 0;
        }

        public int Receive(out ReadOnlySpan<byte> datagram)
        {
            datagram = _answer;
            return 0;
        }

        public int SetOption(int level, int option, ReadOnlySpan<byte> value) => 0;

        public void Dispose()
        {
        }
    }
}
