// An IP address of a link, as RTM_NEWADDR and RTM_DELADDR carry it.
using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Runtime.InteropServices;
using XenFastPath.Interop;
using static XenFastPath.Interop.IfAddr;
using static XenFastPath.Interop.RtNetlink;

namespace XenFastPath.Netlink;

public enum AddressScope : byte
{
    Universe = RT_SCOPE_UNIVERSE,
    Site = RT_SCOPE_SITE,
    Link = RT_SCOPE_LINK,
    Host = RT_SCOPE_HOST,
}

/// <summary>IFA_F_ flags.</summary>
[Flags]
public enum AddressFlags : uint
{
    None = 0,
    Secondary = IFA_F_SECONDARY,
    NoDuplicateDetection = IFA_F_NODAD,
    DuplicateDetectionFailed = IFA_F_DADFAILED,
    Deprecated = IFA_F_DEPRECATED,
    Tentative = IFA_F_TENTATIVE,
    Permanent = IFA_F_PERMANENT,
    ManagesTemporary = IFA_F_MANAGETEMPADDR,
    NoPrefixRoute = IFA_F_NOPREFIXROUTE,
}

/// <summary>An address of a link.</summary>
public sealed record AddressInfo(int Ifindex, IPAddress Local, int PrefixLength)
{
    /// <summary>The other end of a point-to-point link; else null.</summary>
    public IPAddress? Peer { get; init; }

    public IPAddress? Broadcast { get; init; }

    public AddressScope Scope { get; init; }

    public AddressFlags Flags { get; init; }

    /// <summary>IPv4 only: the name under which ifconfig shows it.</summary>
    public string? Label { get; init; }

    /// <summary>Metric of the prefix route that the kernel makes for it; 0 for the kernel's own choice.</summary>
    public uint Metric { get; init; }

    /// <summary>IFA_PROTO: who made it, as a program chooses to say; 0 if nobody said.</summary>
    public byte Protocol { get; init; }

    /// <summary>Seconds that it is valid and preferred from now on; null for ever.</summary>
    public uint? ValidSeconds { get; init; }

    /// <inheritdoc cref="ValidSeconds"/>
    public uint? PreferredSeconds { get; init; }

    public bool IsIpv6 => Local.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6;

    /// <summary>Takes RTM_NEWADDR and RTM_DELADDR; false for other messages.</summary>
    public static bool TryDecode(NetlinkMessage message, [MaybeNullWhen(false)] out AddressInfo address)
    {
        address = null;
        if (message.Type is not (RTM_NEWADDR or RTM_DELADDR)
            || !message.TryReadHeader(out ifaddrmsg header, out NetlinkAttributes attributes))
        {
            return false;
        }
        // Without a peer IPv4 has both the same, and IPv6 has only IFA_ADDRESS.
        IPAddress? prefix = attributes.Find(IFA_ADDRESS).Address, local = attributes.Find(IFA_LOCAL).Address ?? prefix;
        if (local is null)
            return false;
        NetlinkAttribute flags = attributes.Find(IFA_FLAGS), cache = attributes.Find(IFA_CACHEINFO);
        bool isTimed = MemoryMarshal.TryRead(cache.Value, out ifa_cacheinfo times);
        address = new AddressInfo((int)header.ifa_index, local, header.ifa_prefixlen)
        {
            Peer = local.Equals(prefix) ? null : prefix,
            Broadcast = attributes.Find(IFA_BROADCAST).Address,
            Scope = (AddressScope)header.ifa_scope,
            Flags = (AddressFlags)(flags.IsPresent ? flags.U32 : header.ifa_flags),
            Label = attributes.Find(IFA_LABEL).TextOrNull,
            Metric = attributes.Find(IFA_RT_PRIORITY).U32,
            Protocol = attributes.Find(IFA_PROTO).U8,
            ValidSeconds = isTimed ? Seconds(times.ifa_valid) : null,
            PreferredSeconds = isTimed ? Seconds(times.ifa_prefered) : null,
        };
        return true;
    }

    internal void Write(NetlinkWriter request)
    {
        request.Address(IFA_LOCAL, Local);
        request.Address(IFA_ADDRESS, Peer ?? Local);
        request.Address(IFA_BROADCAST, Broadcast);
        request.String(IFA_LABEL, Label);
        request.U32(IFA_FLAGS, (uint)Flags > byte.MaxValue ? (uint)Flags : null);     // else they fit the header
        request.U32(IFA_RT_PRIORITY, Metric == 0 ? null : Metric);
        request.U8(IFA_PROTO, Protocol == 0 ? null : Protocol);
        if (ValidSeconds is not null || PreferredSeconds is not null)
        {
            request.Value<ifa_cacheinfo>(IFA_CACHEINFO, new ifa_cacheinfo
            {
                ifa_valid = ValidSeconds ?? INFINITY_LIFE_TIME,
                ifa_prefered = PreferredSeconds ?? INFINITY_LIFE_TIME,
            });
        }
    }

    internal ifaddrmsg Header => new()
    {
        ifa_family = IsIpv6 ? AF_INET6 : AF_INET,
        ifa_prefixlen = (byte)PrefixLength,
        ifa_flags = (byte)Flags,
        ifa_scope = (byte)Scope,
        ifa_index = (uint)Ifindex,
    };

    /// <summary>"192.0.2.1/24".</summary>
    public override string ToString() => $"{Local}/{PrefixLength}";

    private static uint? Seconds(uint lifetime) => lifetime == INFINITY_LIFE_TIME ? null : lifetime;
}
