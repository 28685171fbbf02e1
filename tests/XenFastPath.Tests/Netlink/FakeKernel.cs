// A kernel that is one function: a request in, datagrams out. An errno stands for a failing recvfrom(2).
using System.Runtime.InteropServices;
using XenFastPath.Interop;
using XenFastPath.Netlink;
using static XenFastPath.Interop.Netlink;

namespace XenFastPath.Tests.Netlink;

/// <summary>What a receive finds.</summary>
internal readonly record struct Datagram(byte[] Bytes, int Errno = 0)
{
    public static implicit operator Datagram(byte[] bytes) => new(bytes);

    public static Datagram Failure(int errno) => new([], errno);
}

internal sealed class FakeKernel(Func<byte[], IEnumerable<Datagram>> answer) : INetlinkTransport
{
    public const uint Port = 4711;

    private readonly Queue<Datagram> _waiting = new();
    private byte[] _current = [];

    /// <summary>Acknowledges everything.</summary>
    public FakeKernel() : this(request => [Ack(request)])
    {
    }

    public int Fd => -1;

    public uint PortId => Port;

    public List<byte[]> Requests { get; } = [];

    public List<(int Level, int Option, byte[] Value)> Options { get; } = [];

    public Func<int, int, int> OptionResult { get; set; } = (_, _) => 0;

    public int Send(ReadOnlySpan<byte> messages)
    {
        Requests.Add(messages.ToArray());
        Push(answer(messages.ToArray()));
        return 0;
    }

    public void Push(IEnumerable<Datagram> datagrams)
    {
        foreach (Datagram datagram in datagrams)
            _waiting.Enqueue(datagram);
    }

    public int Receive(out ReadOnlySpan<byte> datagram)
    {
        (_current, int errno) = _waiting.Count > 0 ? _waiting.Dequeue() : Datagram.Failure(Errno.EAGAIN);
        datagram = _current;
        return errno;
    }

    public int SetOption(int level, int option, ReadOnlySpan<byte> value)
    {
        Options.Add((level, option, value.ToArray()));
        return OptionResult(level, option);
    }

    public void Dispose()
    {
    }

    /// <summary>
    /// Runs what a client does against a kernel that agrees to everything, and returns the first request.
    /// </summary>
    public static byte[] Capture(Action<NetlinkSocket> client)
    {
        var kernel = new FakeKernel();
        using var socket = new NetlinkSocket(kernel);
        client(socket);
        return kernel.Requests[0];
    }

    public static byte[] CaptureRtnl(Action<Rtnl> client) => Capture(socket => client(new Rtnl(socket)));

    /// <summary>The header of a request.</summary>
    public static nlmsghdr Header(byte[] request) => MemoryMarshal.Read<nlmsghdr>(request);

    /// <summary>A message as an answer to a request.</summary>
    public static byte[] Reply(byte[] request, ushort type, ReadOnlySpan<byte> payload, ushort flags = 0,
        uint? sequence = null, uint? port = null)
    {
        var message = new byte[NLMSG_HDRLEN + payload.Length];
        var header = new nlmsghdr
        {
            nlmsg_len = (uint)message.Length,
            nlmsg_type = type,
            nlmsg_flags = flags,
            nlmsg_seq = sequence ?? Header(request).nlmsg_seq,
            nlmsg_pid = port ?? Port,
        };
        MemoryMarshal.Write(message, in header);
        payload.CopyTo(message.AsSpan(NLMSG_HDRLEN));
        return message;
    }

    /// <summary>
    /// A captured datagram with every message's sequence number and port id made those of this exchange.
    /// </summary>
    public static Datagram Replay(byte[] request, byte[] datagram)
    {
        byte[] copy = [.. datagram];
        for (Span<byte> rest = copy; NetlinkMessage.TryRead(rest, out NetlinkMessage message);)
        {
            ref nlmsghdr header = ref MemoryMarshal.AsRef<nlmsghdr>(rest);
            header.nlmsg_seq = Header(request).nlmsg_seq;
            header.nlmsg_pid = Port;
            rest = rest[Math.Min((message.Raw.Length + 3) & ~3, rest.Length)..];
        }
        return copy;
    }

    /// <summary>NLMSG_ERROR as a kernel with capped acks sends it; errno 0 acknowledges.</summary>
    public static byte[] Ack(byte[] request, int errno = 0, string? text = null, uint? offset = null)
    {
        var buffer = new byte[512];
        var writer = new NetlinkWriter(buffer);
        writer.Begin(NLMSG_ERROR, 0);
        writer.Header(-errno);
        writer.Header(Header(request));
        writer.String(NLMSGERR_ATTR_MSG, text);
        writer.U32(NLMSGERR_ATTR_OFFS, offset);
        ushort flags = (ushort)(NLM_F_CAPPED | (text is null && offset is null ? 0 : NLM_F_ACK_TLVS));
        return Reply(request, NLMSG_ERROR, writer.Written[NLMSG_HDRLEN..], flags);
    }

    /// <summary>The end of a dump.</summary>
    public static byte[] Done(byte[] request, ushort flags = 0, int errno = 0) =>
        Reply(request, NLMSG_DONE, BitConverter.GetBytes(-errno), (ushort)(NLM_F_MULTI | flags));
}
