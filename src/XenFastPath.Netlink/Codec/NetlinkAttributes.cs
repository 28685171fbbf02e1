// Decodes netlink attributes (struct nlattr) without allocating. The same promise as NetlinkMessages: nothing throws,
// nothing reads past the end, unknown types are the caller's to skip.
using System.Buffers.Binary;
using System.Net;
using System.Runtime.InteropServices;
using System.Text;
using XenFastPath.Interop;
using static XenFastPath.Interop.Netlink;

namespace XenFastPath.Netlink;

/// <summary>A row of attributes; its own enumerator.</summary>
public ref struct NetlinkAttributes(ReadOnlySpan<byte> bytes)
{
    private ReadOnlySpan<byte> _rest = bytes;

    /// <summary>The attribute that the latest <see cref="MoveNext"/> found.</summary>
    public NetlinkAttribute Current { get; private set; }

    /// <summary>The enumeration ended before the bytes did.</summary>
    public bool Malformed { get; private set; }

    public readonly NetlinkAttributes GetEnumerator() => this;

    public bool MoveNext()
    {
        if (_rest.IsEmpty)
            return false;
        if (!MemoryMarshal.TryRead(_rest, out nlattr header) || header.nla_len < NLA_HDRLEN
            || header.nla_len > _rest.Length)
        {
            Malformed = true;
            _rest = default;
            return false;
        }
        Current = new NetlinkAttribute(header.nla_type, _rest[NLA_HDRLEN..header.nla_len]);
        _rest = _rest[Math.Min(NetlinkWriter.Align(header.nla_len), _rest.Length)..];
        return true;
    }

    /// <summary>
    /// The first attribute of a type; one that is not present (and reads as zero) when there is none.
    /// </summary>
    public readonly NetlinkAttribute Find(ushort type)
    {
        foreach (NetlinkAttribute attribute in this)
        {
            if (attribute.Type == type)
                return attribute;
        }
        return default;
    }
}

/// <summary>
/// One attribute; a view into a message. A value shorter than the integer asked for reads as if zeros followed it (on a
/// big-endian machine: preceded it), one that is longer is cut.
/// </summary>
public readonly ref struct NetlinkAttribute(ushort rawType, ReadOnlySpan<byte> value)
{
    /// <summary>The type without the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER.</summary>
    public ushort Type => (ushort)(rawType & NLA_TYPE_MASK);

    /// <summary>The type with them, as it stands in the message.</summary>
    internal ushort RawType => rawType;

    /// <summary>False for what <see cref="NetlinkAttributes.Find"/> returns when there is none.</summary>
    public bool IsPresent => rawType != 0;

    /// <summary>The payload without padding.</summary>
    public ReadOnlySpan<byte> Value { get; } = value;

    /// <summary>The payload read as attributes.</summary>
    public NetlinkAttributes Nested => new(Value);

    public byte U8 => (byte)Integer(sizeof(byte));

    public ushort U16 => (ushort)Integer(sizeof(ushort));

    public uint U32 => (uint)Integer(sizeof(uint));

    public int S32 => (int)Integer(sizeof(int));

    public ulong U64 => Integer(sizeof(ulong));

    public ushort U16BigEndian => BitConverter.IsLittleEndian ? BinaryPrimitives.ReverseEndianness(U16) : U16;

    public uint U32BigEndian => BitConverter.IsLittleEndian ? BinaryPrimitives.ReverseEndianness(U32) : U32;

    public bool Bool => U8 != 0;

    /// <summary>Text up to the first NUL.</summary>
    public string Text
    {
        get
        {
            int end = Value.IndexOf((byte)0);
            return Encoding.UTF8.GetString(end < 0 ? Value : Value[..end]);
        }
    }

    public string? TextOrNull => IsPresent ? Text : null;

    /// <summary>Six bytes; null for any other length (an InfiniBand address, none).</summary>
    public MacAddress? Mac => Value.Length == MacAddress.Size ? MacAddress.Read(Value) : null;

    /// <summary>Four or sixteen bytes; null for any other length.</summary>
    public IPAddress? Address => Value.Length is 4 or 16 ? new IPAddress(Value) : null;

    private ulong Integer(int size)
    {
        Span<byte> whole = stackalloc byte[sizeof(ulong)];
        ReadOnlySpan<byte> part = Value[..Math.Min(size, Value.Length)];
        whole.Clear();
        part.CopyTo(BitConverter.IsLittleEndian ? whole : whole[(sizeof(ulong) - part.Length)..]);
        return MemoryMarshal.Read<ulong>(whole);
    }
}
