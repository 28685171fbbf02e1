// An Ethernet address as a number: aa:bb:cc:dd:ee:ff is 0x0000aabbccddeeff.
using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace XenFastPath.Netlink;

/// <summary>
/// A 48-bit Ethernet address. <paramref name="Value"/> has the first octet in bits 40-47, so it sorts as it prints.
/// </summary>
public readonly record struct MacAddress(ulong Value)
{
    /// <summary>Bytes on the wire.</summary>
    public const int Size = 6;

    public bool IsZero => Value == 0;

    /// <summary>A group address, broadcast included.</summary>
    public bool IsMulticast => (Value & 0x01_00_00_00_00_00) != 0;

    public bool IsBroadcast => Value == 0xff_ff_ff_ff_ff_ff;

    /// <summary>Not assigned by the manufacturer but by somebody's choice.</summary>
    public bool IsLocallyAdministered => (Value & 0x02_00_00_00_00_00) != 0;

    /// <summary>Reads the first six bytes.</summary>
    public static MacAddress Read(ReadOnlySpan<byte> bytes)
    {
        ulong high = BinaryPrimitives.ReadUInt16BigEndian(bytes);
        uint low = BinaryPrimitives.ReadUInt32BigEndian(bytes[2..]);
        return new MacAddress(high << 32 | low);
    }

    /// <summary>Writes six bytes.</summary>
    public void CopyTo(Span<byte> bytes)
    {
        BinaryPrimitives.WriteUInt16BigEndian(bytes, (ushort)(Value >> 32));
        BinaryPrimitives.WriteUInt32BigEndian(bytes[2..], (uint)Value);
    }

    /// <summary>Six pairs of hexadecimal digits, separated by colons or by hyphens.</summary>
    public static bool TryParse([NotNullWhen(true)] string? text, out MacAddress address)
    {
        address = default;
        if (text is not { Length: 3 * Size - 1 } || text[2] is not (':' or '-'))
            return false;
        ulong value = 0;
        for (int i = 0; i < text.Length; i += 3)
        {
            if (!byte.TryParse(text.AsSpan(i, 2), NumberStyles.AllowHexSpecifier, null, out byte octet)
                || (i > 0 && text[i - 1] != text[2]))
                return false;
            value = value << 8 | octet;
        }
        address = new MacAddress(value);
        return true;
    }

    /// <summary>As <see cref="TryParse"/>, throwing <see cref="FormatException"/>.</summary>
    public static MacAddress Parse(string text) =>
        TryParse(text, out MacAddress address) ? address : throw new FormatException($"'{text}' is not a MAC address.");

    /// <summary>Lower case with colons.</summary>
    public override string ToString() => string.Create(3 * Size - 1, Value, static (text, value) =>
    {
        for (int i = 0; i < Size; i++)
        {
            ((byte)(value >> (8 * (Size - 1 - i)))).TryFormat(text[(3 * i)..], out _, "x2");
            if (i < Size - 1)
                text[3 * i + 2] = ':';
        }
    });
}
