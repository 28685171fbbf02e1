// Requests and their answers: sequence numbers, acknowledgements, dumps in many parts, retries of interrupted dumps.
// One lock per socket: a request and its answers are one transaction.
using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;
using static XenFastPath.Interop.Netlink;
using Errno = XenFastPath.Interop.Errno;

namespace XenFastPath.Netlink;

/// <summary>Makes a value of a message, or says that the message is none of its business. Must not throw.</summary>
public delegate bool NetlinkDecoder<T>(NetlinkMessage message, [MaybeNullWhen(false)] out T value);

/// <summary>A netlink socket for requests. Thread-safe.</summary>
public sealed class NetlinkSocket : IDisposable
{
    /// <summary>How often a dump is started before the kernel's tables are declared too restless to read.</summary>
    public const int DumpAttemptsMax = 10;

    // The kernel answers while it takes the request: whoever waits longer waits for a lost answer.
    private const int ReceiveTimeoutSeconds = 5;
    private const int ReceiveBufferBytes = 1 << 20;

    private readonly Lock _lock = new();
    private readonly INetlinkTransport _transport;
    private uint _sequence;

    /// <summary>
    /// Opens a socket of NETLINK_ROUTE, NETLINK_GENERIC or NETLINK_NETFILTER in this thread's network namespace.
    /// </summary>
    public NetlinkSocket(int protocol) : this(new KernelTransport(protocol, blocking: true))
    {
    }

    /// <summary>A socket over any transport, which it then owns.</summary>
    public NetlinkSocket(INetlinkTransport transport)
    {
        _transport = transport;
        ReadOnlySpan<long> timeout = [ReceiveTimeoutSeconds, 0];
        int on = 1, size = ReceiveBufferBytes;
        // Each of these makes answers better; without it they still come.
        _ = transport.SetOption(SOL_NETLINK, NETLINK_EXT_ACK, AsBytes(ref on));
        _ = transport.SetOption(SOL_NETLINK, NETLINK_CAP_ACK, AsBytes(ref on));
        _ = transport.SetOption(SOL_NETLINK, NETLINK_GET_STRICT_CHK, AsBytes(ref on));
        _ = transport.SetOption(SOL_SOCKET, SO_RCVTIMEO, MemoryMarshal.AsBytes(timeout));
        if (transport.SetOption(SOL_SOCKET, SO_RCVBUFFORCE, AsBytes(ref size)) != 0)
            _ = transport.SetOption(SOL_SOCKET, SO_RCVBUF, AsBytes(ref size));
    }

    /// <summary>Sends one request and waits for its acknowledgement.</summary>
    public void Execute(Span<byte> request, string operation, string? objectName)
    {
        if (TryExecute(request) is { IsFailure: true } error)
            throw new NetlinkException(operation, objectName, error);
    }

    /// <summary>As <see cref="Execute"/>, with the kernel's refusal as a value.</summary>
    public NetlinkError TryExecute(Span<byte> request)
    {
        lock (_lock)
            return Transact<bool>(request, NLM_F_ACK, null, null, out _);
    }

    /// <summary>Sends one request and decodes the reply; the first that the decoder takes, if there are more.</summary>
    public NetlinkError TryGet<T>(Span<byte> request, NetlinkDecoder<T> decode, out T? value)
    {
        var values = new List<T>(1);
        NetlinkError error = Collect(request, NLM_F_ACK, decode, values);
        value = values.Count > 0 ? values[0] : default;
        return error;
    }

    /// <summary>
    /// Sends a dump request and decodes all parts of the answer; starts again when the kernel says that it changed
    /// meanwhile.
    /// </summary>
    public List<T> Dump<T>(Span<byte> request, NetlinkDecoder<T> decode, string operation, string? objectName = null)
    {
        var values = new List<T>();
        return Collect(request, NLM_F_DUMP, decode, values) is { IsFailure: true } error
            ? throw new NetlinkException(operation, objectName, error)
            : values;
    }

    /// <summary>
    /// Sends many requests as one datagram and waits until the kernel has done them all; one that it refuses does not
    /// stop the rest. Returns how many it refused.
    /// </summary>
    public int ExecuteBatch(Span<byte> requests, out NetlinkError firstFailure)
    {
        firstFailure = default;
        if (requests.IsEmpty)
            return 0;
        lock (_lock)
        {
            uint first = _sequence + 1;
            Span<byte> last = default;
            Span<byte> rest = requests;
            while (NetlinkMessage.TryRead(rest, out NetlinkMessage message))
            {
                last = rest;
                Stamp(rest, NLM_F_REQUEST);
                rest = rest[message.Raw.Length..];
            }
            Header(last).nlmsg_flags |= NLM_F_ACK;
            Send(requests);
            return AwaitBatch(first, _sequence, out firstFailure);
        }
    }

    /// <summary>Closes the socket.</summary>
    public void Dispose()
    {
        lock (_lock)
            _transport.Dispose();
    }

    private NetlinkError Collect<T>(Span<byte> request, ushort flags, NetlinkDecoder<T> decode, List<T> values)
    {
        lock (_lock)
        {
            for (int attempt = 0; attempt < DumpAttemptsMax; attempt++)
            {
                values.Clear();
                NetlinkError error = Transact(request, flags, decode, values, out bool incomplete);
                if (!incomplete)
                    return error;
            }
            return new NetlinkError(
                Errno.EINTR, $"the answer was interrupted by changes {DumpAttemptsMax} times in a row");
        }
    }

    // One request until its end. Incomplete: the kernel changed while it was dumping, or a part did not fit the receive
    // buffer.
    private NetlinkError Transact<T>(
        Span<byte> request, ushort flags, NetlinkDecoder<T>? decode, List<T>? values, out bool incomplete)
    {
        Stamp(request, (ushort)(NLM_F_REQUEST | flags));
        Send(request);
        incomplete = false;
        for (;;)
        {
            if (!Receive(out NetlinkMessages messages))
                incomplete = true;
            while (messages.MoveNext())
            {
                NetlinkMessage message = messages.Current;
                if (message.Sequence != _sequence || message.PortId != _transport.PortId)
                    continue;
                incomplete |= (message.Flags & NLM_F_DUMP_INTR) != 0;
                if (message.Type is NLMSG_ERROR or NLMSG_DONE)
                    return NetlinkError.Read(message);
                if (message.Type > NLMSG_OVERRUN && decode is not null && decode(message, out T? value))
                    values!.Add(value);
            }
            RejectMalformed(messages);
        }
    }

    private int AwaitBatch(uint first, uint last, out NetlinkError firstFailure)
    {
        int failures = 0;
        firstFailure = default;
        for (;;)
        {
            Receive(out NetlinkMessages messages);
            while (messages.MoveNext())
            {
                NetlinkMessage message = messages.Current;
                bool isOurs = message.PortId == _transport.PortId && message.Sequence - first <= last - first;
                if (!isOurs || message.Type != NLMSG_ERROR)
                    continue;
                if (NetlinkError.Read(message) is { IsFailure: true } error && failures++ == 0)
                    firstFailure = error;
                if (message.Sequence == last)
                    return failures;
            }
            RejectMalformed(messages);
        }
    }

    private void Stamp(Span<byte> message, ushort flags)
    {
        ref nlmsghdr header = ref Header(message);
        header.nlmsg_flags |= flags;
        header.nlmsg_seq = ++_sequence;
    }

    private void Send(ReadOnlySpan<byte> messages)
    {
        NetlinkTrace.Write("send", _transport.PortId, messages);
        if (_transport.Send(messages) is var errno and not 0)
            throw new NetlinkException("send on", "a netlink socket", errno);
    }

    // False: one datagram did not fit the buffer and is lost; the next of its size will fit.
    private bool Receive(out NetlinkMessages messages)
    {
        int errno = _transport.Receive(out ReadOnlySpan<byte> datagram);
        NetlinkTrace.Write("receive", _transport.PortId, datagram);
        messages = new NetlinkMessages(datagram);
        if (errno is not 0 && errno != EMSGSIZE)
            throw new NetlinkException(
                "receive on", "a netlink socket", errno == Errno.EAGAIN ? Errno.ETIMEDOUT : errno);
        return errno == 0;
    }

    private static void RejectMalformed(NetlinkMessages messages)
    {
        if (messages.Malformed)
            throw new NetlinkException(
                "receive on", "a netlink socket", EPROTO, "the kernel's datagram is truncated or malformed");
    }

    private static ref nlmsghdr Header(Span<byte> message) => ref MemoryMarshal.AsRef<nlmsghdr>(message);

    private static ReadOnlySpan<byte> AsBytes(ref int value) => MemoryMarshal.AsBytes(new ReadOnlySpan<int>(in value));
}
