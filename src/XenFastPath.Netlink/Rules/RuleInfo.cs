// A policy routing rule as RTM_NEWRULE carries it. As with routes, the message is kept, so that a rule can be made again exactly
// as it was, only for another link.
using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Runtime.InteropServices;
using System.Text;
using XenFastPath.Interop;
using static XenFastPath.Interop.FibRules;
using static XenFastPath.Interop.RtNetlink;

namespace XenFastPath.Netlink;

/// <summary>A rule (man 8 ip-rule). Two are equal if the kernel would be asked for the same.</summary>
public sealed class RuleInfo : IEquatable<RuleInfo>
{
    private readonly fib_rule_hdr _header;
    private readonly byte[] _attributes;

    private RuleInfo(fib_rule_hdr header, byte[] attributes)
    {
        (_header, _attributes) = (header, attributes);
        NetlinkAttributes all = new(attributes);
        NetlinkAttribute table = all.Find(FRA_TABLE);
        Table = table.IsPresent ? table.U32 : header.table;
        Priority = all.Find(FRA_PRIORITY).U32;
        InputDevice = all.Find(FRA_IIFNAME).TextOrNull;
        OutputDevice = all.Find(FRA_OIFNAME).TextOrNull;
        Source = all.Find(FRA_SRC).Address;
        Destination = all.Find(FRA_DST).Address;
    }

    public bool IsIpv6 => _header.family == AF_INET6;

    public uint Priority { get; }

    public uint Table { get; }

    /// <summary>Name of the link by which packets come in; null for any. Rules name links, which need not exist.</summary>
    public string? InputDevice { get; }

    /// <summary>Name of the link to which a socket is bound; null for any.</summary>
    public string? OutputDevice { get; }

    public IPAddress? Source { get; }

    public IPAddress? Destination { get; }

    /// <summary>Does it name this link?</summary>
    public bool Names(string device) => InputDevice == device || OutputDevice == device;

    /// <summary>Takes RTM_NEWRULE and RTM_DELRULE of IPv4 and IPv6; false for other messages.</summary>
    public static bool TryDecode(NetlinkMessage message, [MaybeNullWhen(false)] out RuleInfo rule)
    {
        rule = null;
        if (message.Type is not (RTM_NEWRULE or RTM_DELRULE) || !message.TryReadHeader(out fib_rule_hdr header, out NetlinkAttributes attributes)
            || header.family is not (AF_INET or AF_INET6))
        {
            return false;
        }

        header.flags &= FIB_RULE_PERMANENT | FIB_RULE_INVERT;     // the rest the kernel only reports
        rule = new RuleInfo(header, Copy(attributes, message.Raw.Length, "", ""));
        return true;
    }

    /// <summary>The same rule with <paramref name="to"/> wherever it names <paramref name="from"/>.</summary>
    public RuleInfo For(string from, string to) => new(_header, Copy(new NetlinkAttributes(_attributes), _attributes.Length, from, to));

    /// <summary>"100: from 192.0.2.1 iif eth0 lookup 100".</summary>
    public override string ToString()
    {
        StringBuilder text = new($"{Priority}:");
        if (Source is not null)
            text.Append($" from {Source}/{_header.src_len}");
        if (Destination is not null)
            text.Append($" to {Destination}/{_header.dst_len}");
        if (InputDevice is not null)
            text.Append($" iif {InputDevice}");
        if (OutputDevice is not null)
            text.Append($" oif {OutputDevice}");
        return text.Append($" lookup {Table}").ToString();
    }

    public bool Equals(RuleInfo? other) => other is not null
        && MemoryMarshal.AsBytes([_header]).SequenceEqual(MemoryMarshal.AsBytes([other._header])) && _attributes.AsSpan().SequenceEqual(other._attributes);

    public override bool Equals(object? obj) => Equals(obj as RuleInfo);

    public override int GetHashCode() => HashCode.Combine(Priority, Table, InputDevice, OutputDevice);

    internal fib_rule_hdr Header => _header;

    internal ReadOnlySpan<byte> RawAttributes => _attributes;

    private static byte[] Copy(NetlinkAttributes attributes, int size, string from, string to)
    {
        NetlinkWriter copy = new(new byte[size + 256]);
        copy.Begin(RTM_NEWRULE, 0);
        foreach (NetlinkAttribute attribute in attributes)
        {
            if (attribute.Type is FRA_IIFNAME or FRA_OIFNAME && attribute.Text == from)
                copy.String(attribute.Type, to);
            else
                copy.Bytes(attribute.RawType, attribute.Value);
        }

        return copy.Written[Interop.Netlink.NLMSG_HDRLEN..].ToArray();
    }
}
