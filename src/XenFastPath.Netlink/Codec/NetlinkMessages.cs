// Decodes datagrams into netlink messages without allocating. What the kernel sends is not trusted to be well-formed:
// a bad length ends the enumeration and sets Malformed; nothing throws and nothing reads past the datagram.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using XenFastPath.Interop;
using static XenFastPath.Interop.Netlink;

namespace XenFastPath.Netlink;

/// <summary>The messages of one datagram; its own enumerator.</summary>
public ref struct NetlinkMessages(ReadOnlySpan<byte> datagram)
{
    private ReadOnlySpan<byte> _rest = datagram;

    /// <summary>The message that the latest <see cref="MoveNext"/> found.</summary>
    public NetlinkMessage Current { get; private set; }

    /// <summary>The enumeration ended before the datagram did.</summary>
    public bool Malformed { get; private set; }

    public readonly NetlinkMessages GetEnumerator() => this;

    public bool MoveNext()
    {
        if (_rest.IsEmpty)
            return false;
        if (!NetlinkMessage.TryRead(_rest, out NetlinkMessage message))
        {
            Malformed = true;
            _rest = default;
            return false;
        }
        Current = message;
        _rest = _rest[Math.Min(NetlinkWriter.Align(message.Raw.Length), _rest.Length)..];
        return true;
    }
}

/// <summary>One netlink message; a view into a datagram.</summary>
public readonly ref struct NetlinkMessage
{
    private readonly nlmsghdr _header;

    private NetlinkMessage(ReadOnlySpan<byte> raw, nlmsghdr header)
    {
        Raw = raw;
        _header = header;
    }

    /// <summary>The message with its header, without padding.</summary>
    public ReadOnlySpan<byte> Raw { get; }

    public ushort Type => _header.nlmsg_type;

    public ushort Flags => _header.nlmsg_flags;

    public uint Sequence => _header.nlmsg_seq;

    public uint PortId => _header.nlmsg_pid;

    /// <summary>What follows the netlink header.</summary>
    public ReadOnlySpan<byte> Payload => Raw[NLMSG_HDRLEN..];

    /// <summary>Takes the first message of <paramref name="bytes"/>.</summary>
    public static bool TryRead(ReadOnlySpan<byte> bytes, out NetlinkMessage message)
    {
        message = default;
        if (!MemoryMarshal.TryRead(bytes, out nlmsghdr header) || header.nlmsg_len < NLMSG_HDRLEN
            || header.nlmsg_len > bytes.Length)
            return false;
        message = new NetlinkMessage(bytes[..(int)header.nlmsg_len], header);
        return true;
    }

    /// <summary>Takes the family's fixed header and what follows it.</summary>
    public bool TryReadHeader<T>(out T header, out NetlinkAttributes attributes) where T : unmanaged
    {
        ReadOnlySpan<byte> payload = Payload;
        bool read = MemoryMarshal.TryRead(payload, out header);
        attributes = new NetlinkAttributes(
            read ? payload[Math.Min(NetlinkWriter.Align(Unsafe.SizeOf<T>()), payload.Length)..] : default);
        return read;
    }
}
