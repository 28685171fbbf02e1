// A route as RTM_NEWROUTE carries it. The message itself is kept, so that a route of any kind can be made again exactly as it
// was, only through another link: what this program does not know of a route is not lost.
using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using XenFastPath.Interop;
using static XenFastPath.Interop.RtNetlink;

namespace XenFastPath.Netlink;

/// <summary>One way of a route that has several.</summary>
public sealed record RouteHop(int Ifindex, IPAddress? Gateway, int Weight, bool IsOnLink);

/// <summary>
/// A route of any table. Two are equal if the kernel would be asked for the same; what it only reports (age, a link that is down)
/// does not count.
/// </summary>
public sealed class RouteInfo : IEquatable<RouteInfo>
{
    // Flags that the kernel reports and does not take.
    private const uint ReportedFlags = RTNH_F_DEAD | RTNH_F_LINKDOWN | RTNH_F_OFFLOAD | RTNH_F_UNRESOLVED | RTNH_F_TRAP | 0xffffff00;

    private readonly rtmsg _header;
    private readonly byte[] _attributes;

    private RouteInfo(rtmsg header, byte[] attributes, uint? expiresSeconds = null)
    {
        (_header, _attributes, ExpiresSeconds) = (header, attributes, expiresSeconds);
        NetlinkAttributes all = new(attributes);
        NetlinkAttribute table = all.Find(RTA_TABLE), via = all.Find(RTA_VIA);
        Table = table.IsPresent ? table.U32 : header.rtm_table;
        Destination = all.Find(RTA_DST).Address;
        Gateway = all.Find(RTA_GATEWAY).Address ?? (via.Value.Length > sizeof(ushort) ? AddressOf(via.Value[sizeof(ushort)..]) : null);
        Ifindex = all.Find(RTA_OIF).S32;
        Metric = all.Find(RTA_PRIORITY).U32;
        PreferredSource = all.Find(RTA_PREFSRC).Address;
        MtuBytes = (int)all.Find(RTA_METRICS).Nested.Find(RTAX_MTU).U32;
        NexthopId = all.Find(RTA_NH_ID).U32;
        Hops = HopsOf(all.Find(RTA_MULTIPATH).Value);
    }

    public bool IsIpv6 => _header.rtm_family == AF_INET6;

    /// <summary>Null for a default route.</summary>
    public IPAddress? Destination { get; }

    public int PrefixLength => _header.rtm_dst_len;

    public uint Table { get; }

    /// <summary>RTPROT_: who made it.</summary>
    public byte Protocol => _header.rtm_protocol;

    /// <summary>RTN_: unicast, local, blackhole, ...</summary>
    public byte Type => _header.rtm_type;

    public AddressScope Scope => (AddressScope)_header.rtm_scope;

    /// <summary>The gateway is taken to be on the link without a route that says so.</summary>
    public bool IsOnLink => (_header.rtm_flags & RTNH_F_ONLINK) != 0;

    /// <summary>The link; 0 for a route of several hops or none.</summary>
    public int Ifindex { get; }

    /// <summary>RTA_GATEWAY, or RTA_VIA, which may be of the other family; null if the destination is on the link.</summary>
    public IPAddress? Gateway { get; }

    public uint Metric { get; }

    public IPAddress? PreferredSource { get; }

    /// <summary>MTU of the route, bytes; 0 for the link's.</summary>
    public int MtuBytes { get; }

    /// <summary>The next-hop object (ip nexthop) that it goes by; 0 for none.</summary>
    public uint NexthopId { get; }

    /// <summary>How long it stays, seconds from when it was read; null for ever. A router's advertisement makes such routes.</summary>
    public uint? ExpiresSeconds { get; }

    /// <summary>The ways of a route that has several; else empty.</summary>
    public IReadOnlyList<RouteHop> Hops { get; }

    /// <summary>Does it lead through this link, by one of its ways at least?</summary>
    public bool Uses(int ifindex) => Ifindex == ifindex || Hops.Any(h => h.Ifindex == ifindex);

    /// <summary>Takes RTM_NEWROUTE and RTM_DELROUTE of IPv4 and IPv6; false for other messages and for cached routes.</summary>
    public static bool TryDecode(NetlinkMessage message, [MaybeNullWhen(false)] out RouteInfo route)
    {
        route = null;
        if (message.Type is not (RTM_NEWROUTE or RTM_DELROUTE) || !message.TryReadHeader(out rtmsg header, out NetlinkAttributes attributes)
            || header.rtm_family is not (AF_INET or AF_INET6) || (header.rtm_flags & RTM_F_CLONED) != 0)
        {
            return false;
        }

        header.rtm_flags &= ~ReportedFlags;
        NetlinkWriter kept = Scratch(message.Raw.Length);
        uint? expiresSeconds = null;
        foreach (NetlinkAttribute attribute in attributes)
        {
            if (attribute.Type == RTA_CACHEINFO)
                expiresSeconds ??= Expiry(attribute);    // the rest of the cache's data is a report
            else if (attribute.Type == RTA_EXPIRES)
                expiresSeconds = attribute.U32;
            else if (attribute.Type == RTA_MULTIPATH)
                kept.Bytes(RTA_MULTIPATH, Rewrite(attribute.Value, 0, 0));
            else
                kept.Bytes(attribute.RawType, attribute.Value);
        }

        route = new RouteInfo(header, Attributes(kept), expiresSeconds);
        return true;
    }

    /// <summary>A route of table main, of the kind that `ip route add` makes; <paramref name="destination"/> null is the default route.</summary>
    public static RouteInfo To(bool isIpv6, IPAddress? destination, int prefixLength, IPAddress? gateway, int ifindex, byte protocol, uint metric = 0)
    {
        rtmsg header = new()
        {
            rtm_family = isIpv6 ? AF_INET6 : AF_INET,
            rtm_dst_len = (byte)prefixLength,
            rtm_table = (byte)RT_TABLE_MAIN,
            rtm_protocol = protocol,
            rtm_scope = gateway is null && !isIpv6 ? IfAddr.RT_SCOPE_LINK : IfAddr.RT_SCOPE_UNIVERSE,
            rtm_type = RTN_UNICAST,
        };
        NetlinkWriter kept = Scratch(0);
        kept.Address(RTA_DST, prefixLength == 0 ? null : destination);
        kept.Address(RTA_GATEWAY, gateway);
        kept.S32(RTA_OIF, ifindex);
        kept.U32(RTA_PRIORITY, metric == 0 ? null : metric);
        return new RouteInfo(header, Attributes(kept));
    }

    /// <summary>The same route with <paramref name="to"/> wherever it went through <paramref name="from"/>.</summary>
    public RouteInfo Through(int from, int to)
    {
        NetlinkWriter kept = Scratch(_attributes.Length);
        foreach (NetlinkAttribute attribute in new NetlinkAttributes(_attributes))
        {
            if (attribute.Type == RTA_OIF && attribute.S32 == from)
                kept.S32(RTA_OIF, to);
            else if (attribute.Type == RTA_MULTIPATH)
                kept.Bytes(RTA_MULTIPATH, Rewrite(attribute.Value, from, to));
            else
                kept.Bytes(attribute.RawType, attribute.Value);
        }

        return new RouteInfo(_header, Attributes(kept), ExpiresSeconds);
    }

    /// <summary>"default via 192.0.2.1", "10.0.0.0/8 table 100".</summary>
    public override string ToString()
    {
        StringBuilder text = new(PrefixLength == 0 ? IsIpv6 ? "::/0" : "default" : $"{Destination}/{PrefixLength}");
        if (Gateway is not null)
            text.Append($" via {Gateway}");
        foreach (RouteHop hop in Hops)
            text.Append($" nexthop {(hop.Gateway is null ? "" : "via " + hop.Gateway + " ")}weight {hop.Weight}");
        if (Table != RT_TABLE_MAIN)
            text.Append($" table {Table}");
        if (Metric != 0)
            text.Append($" metric {Metric}");
        return text.ToString();
    }

    public bool Equals(RouteInfo? other) => other is not null
        && MemoryMarshal.AsBytes([_header]).SequenceEqual(MemoryMarshal.AsBytes([other._header])) && _attributes.AsSpan().SequenceEqual(other._attributes);

    public override bool Equals(object? obj) => Equals(obj as RouteInfo);

    public override int GetHashCode() => HashCode.Combine(Destination, PrefixLength, Table, Ifindex, Metric);

    internal rtmsg Header => _header;

    internal ReadOnlySpan<byte> RawAttributes => _attributes;

    // A message to collect attributes in; the largest part of a route is given, the rest is what a route may gain.
    private static NetlinkWriter Scratch(int size)
    {
        NetlinkWriter writer = new(new byte[size + 256]);
        writer.Begin(RTM_NEWROUTE, 0);
        return writer;
    }

    private static byte[] Attributes(NetlinkWriter kept) => kept.Written[Interop.Netlink.NLMSG_HDRLEN..].ToArray();

    private static uint? Expiry(NetlinkAttribute attribute) =>
        MemoryMarshal.TryRead(attribute.Value, out rta_cacheinfo cache) && cache.rta_expires > 0
            ? (uint)cache.rta_expires / Neighbour.USER_HZ + 1 : null;

    private static byte[] Rewrite(ReadOnlySpan<byte> multipath, int from, int to)
    {
        byte[] copy = multipath.ToArray();
        for (Span<byte> rest = copy; MemoryMarshal.TryRead(rest, out rtnexthop hop) && IsWhole(hop, rest.Length); rest = rest[Step(hop, rest.Length)..])
        {
            ref rtnexthop mine = ref MemoryMarshal.AsRef<rtnexthop>(rest);
            mine.rtnh_flags &= unchecked((byte)~ReportedFlags);
            if (mine.rtnh_ifindex == from)
                mine.rtnh_ifindex = to;
        }

        return copy;
    }

    private static List<RouteHop> HopsOf(ReadOnlySpan<byte> multipath)
    {
        List<RouteHop> hops = [];
        while (MemoryMarshal.TryRead(multipath, out rtnexthop hop) && IsWhole(hop, multipath.Length))
        {
            NetlinkAttributes own = new(multipath[Unsafe.SizeOf<rtnexthop>()..hop.rtnh_len]);
            NetlinkAttribute via = own.Find(RTA_VIA);
            IPAddress? gateway = own.Find(RTA_GATEWAY).Address ?? (via.Value.Length > sizeof(ushort) ? AddressOf(via.Value[sizeof(ushort)..]) : null);
            hops.Add(new RouteHop(hop.rtnh_ifindex, gateway, hop.rtnh_hops + 1, (hop.rtnh_flags & RTNH_F_ONLINK) != 0));
            multipath = multipath[Step(hop, multipath.Length)..];
        }

        return hops;
    }

    private static bool IsWhole(rtnexthop hop, int length) => hop.rtnh_len >= Unsafe.SizeOf<rtnexthop>() && hop.rtnh_len <= length;

    private static int Step(rtnexthop hop, int length) => Math.Min(NetlinkWriter.Align(hop.rtnh_len), length);

    private static IPAddress? AddressOf(ReadOnlySpan<byte> bytes) => bytes.Length is 4 or 16 ? new IPAddress(bytes) : null;
}
