// Encodes netlink messages (linux/netlink.h) into a caller's buffer; several in a row make a batch.
// The nlmsg_len of the message being written is also the write position. So a message is complete after every call,
// a nested attribute needs to know nothing but its message and where it began, and a writer may be passed by value.
using System.Buffers.Binary;
using System.Net;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using XenFastPath.Interop;
using static XenFastPath.Interop.Netlink;

namespace XenFastPath.Netlink;

/// <summary>
/// Writes netlink messages into a buffer that the caller owns. Integers are in the host's byte order unless the name
/// says otherwise. An attribute whose value is null is not written: that is how optional settings are left alone.
/// </summary>
public ref struct NetlinkWriter
{
    private readonly Span<byte> _buffer;
    private Span<byte> _message;    // from the current message's first byte to the buffer's end

    /// <summary>A writer that has no message yet.</summary>
    public NetlinkWriter(Span<byte> buffer)
    {
        if (buffer.Length < NLMSG_HDRLEN)
            throw TooSmall(buffer.Length);
        _buffer = _message = buffer;
        SetLength(buffer, 0);
    }

    /// <summary>All messages written so far.</summary>
    public readonly Span<byte> Written => _buffer[..(_buffer.Length - Free)];

    /// <summary>Bytes that still fit.</summary>
    public readonly int Free => _message.Length - Length(_message);

    /// <summary>
    /// Starts a message; what is written next belongs to it. The socket fills in sequence number and port id.
    /// </summary>
    public void Begin(ushort type, ushort flags)
    {
        if (Free < NLMSG_HDRLEN)
            throw TooSmall(_buffer.Length);
        _message = _message[Length(_message)..];
        var header = new nlmsghdr { nlmsg_len = NLMSG_HDRLEN, nlmsg_type = type, nlmsg_flags = flags };
        MemoryMarshal.Write(_message, in header);
    }

    /// <summary>The family's fixed header, such as <see cref="ifinfomsg"/>.</summary>
    public readonly void Header<T>(in T header) where T : unmanaged =>
        MemoryMarshal.Write(Append(Unsafe.SizeOf<T>()), in header);

    public readonly void U8(ushort type, byte? value) => Value(type, value);

    public readonly void U16(ushort type, ushort? value) => Value(type, value);

    public readonly void U32(ushort type, uint? value) => Value(type, value);

    public readonly void S32(ushort type, int? value) => Value(type, value);

    public readonly void U64(ushort type, ulong? value) => Value(type, value);

    public readonly void U16BigEndian(ushort type, ushort? value) =>
        Value(type, BitConverter.IsLittleEndian && value is { } v ? BinaryPrimitives.ReverseEndianness(v) : value);

    public readonly void U32BigEndian(ushort type, uint? value) =>
        Value(type, BitConverter.IsLittleEndian && value is { } v ? BinaryPrimitives.ReverseEndianness(v) : value);

    /// <summary>A u8 of 0 or 1.</summary>
    public readonly void Bool(ushort type, bool? value) =>
        Value(type, value is { } v ? (byte)(v ? 1 : 0) : (byte?)null);

    /// <summary>An attribute that says yes by being there.</summary>
    public readonly void Flag(ushort type) => Attribute(type, 0);

    /// <summary>A fixed-size value, such as a struct of the kernel.</summary>
    public readonly void Value<T>(ushort type, T? value) where T : unmanaged
    {
        if (value is { } v)
            MemoryMarshal.Write(Attribute(type, Unsafe.SizeOf<T>()), in v);
    }

    public readonly void Bytes(ushort type, scoped ReadOnlySpan<byte> value) =>
        value.CopyTo(Attribute(type, value.Length));

    /// <summary>UTF-8 with a NUL at its end.</summary>
    public readonly void String(ushort type, string? value)
    {
        if (value is not null)
            Encoding.UTF8.GetBytes(value, Attribute(type, Encoding.UTF8.GetByteCount(value) + 1));
    }

    /// <summary>Six bytes.</summary>
    public readonly void Mac(ushort type, MacAddress? value) => value?.CopyTo(Attribute(type, MacAddress.Size));

    /// <summary>Four or sixteen bytes.</summary>
    public readonly void Address(ushort type, IPAddress? value)
    {
        if (value is not null)
            Bytes(type, value.GetAddressBytes());
    }

    /// <summary>Opens a nested attribute: what is written until the scope is disposed goes into it.</summary>
    public readonly NetlinkNest Nest(ushort type)
    {
        var nest = new NetlinkNest(_message, Length(_message));
        Attribute((ushort)(type | NLA_F_NESTED), 0);
        return nest;
    }

    internal static int Align(int length) => (length + (NLMSG_ALIGNTO - 1)) & ~(NLMSG_ALIGNTO - 1);

    internal static int Length(ReadOnlySpan<byte> message) => MemoryMarshal.Read<int>(message);

    private static void SetLength(Span<byte> message, int length) => MemoryMarshal.Write(message, in length);

    private readonly Span<byte> Attribute(ushort type, int size)
    {
        if (size > ushort.MaxValue - NLA_HDRLEN)
            throw new ArgumentOutOfRangeException(nameof(size), size, "A netlink attribute holds at most 65531 bytes.");
        Span<byte> attribute = Append(NLA_HDRLEN + size);
        var header = new nlattr { nla_len = (ushort)attribute.Length, nla_type = type };
        MemoryMarshal.Write(attribute, in header);
        return attribute[NLA_HDRLEN..];
    }

    private readonly Span<byte> Append(int size)
    {
        int start = Length(_message), padded = Align(size);
        if (start < NLMSG_HDRLEN)
            throw new InvalidOperationException("A netlink message starts with Begin.");
        if (_message.Length - start < padded)
            throw TooSmall(_buffer.Length);
        SetLength(_message, start + padded);
        _message.Slice(start, padded).Clear();
        return _message.Slice(start, size);
    }

    private static InvalidOperationException TooSmall(int size) =>
        new($"The netlink message does not fit its buffer of {size} bytes.");
}

/// <summary>A nested attribute being written; disposing it sets its length.</summary>
public readonly ref struct NetlinkNest
{
    private readonly Span<byte> _message;
    private readonly int _start;

    internal NetlinkNest(Span<byte> message, int start)
    {
        _message = message;
        _start = start;
    }

    /// <summary>Closes the attribute.</summary>
    public void Dispose()
    {
        ushort length = checked((ushort)(NetlinkWriter.Length(_message) - _start));
        MemoryMarshal.Write(_message[_start..], in length);
    }
}
