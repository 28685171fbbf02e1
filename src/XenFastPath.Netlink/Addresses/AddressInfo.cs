// IP addresses of links: RTM_GETADDR, RTM_NEWADDR, RTM_DELADDR.
using System.Diagnostics.CodeAnalysis;
using System.Net;
using XenFastPath.Interop;
using static XenFastPath.Interop.IfAddr;
using static XenFastPath.Interop.Netlink;
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
        NetlinkAttribute flags = attributes.Find(IFA_FLAGS);
        address = new AddressInfo((int)header.ifa_index, local, header.ifa_prefixlen)
        {
            Peer = local.Equals(prefix) ? null : prefix,
            Broadcast = attributes.Find(IFA_BROADCAST).Address,
            Scope = (AddressScope)header.ifa_scope,
            Flags = (AddressFlags)(flags.IsPresent ? flags.U32 : header.ifa_flags),
            Label = attributes.Find(IFA_LABEL).TextOrNull,
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
    }

    internal ifaddrmsg Header => new()
    {
        ifa_family = IsIpv6 ? AF_INET6 : AF_INET,
        ifa_prefixlen = (byte)PrefixLength,
        ifa_flags = (byte)Flags,
        ifa_scope = (byte)Scope,
        ifa_index = (uint)Ifindex,
    };
}

public sealed partial class Rtnl
{
    /// <summary>All addresses of all links.</summary>
    public List<AddressInfo> GetAddresses()
    {
        NetlinkWriter request = Request(stackalloc byte[RequestBytes], RTM_GETADDR, 0, default(ifaddrmsg));
        return _socket.Dump<AddressInfo>(request.Written, AddressInfo.TryDecode, "dump addresses");
    }

    public void AddAddress(AddressInfo address) =>
        ChangeAddress(address, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, "add", "to");

    public void DeleteAddress(AddressInfo address) => ChangeAddress(address, RTM_DELADDR, 0, "delete", "from");

    private void ChangeAddress(AddressInfo address, ushort type, ushort flags, string verb, string preposition)
    {
        NetlinkWriter request = Request(stackalloc byte[RequestBytes], type, flags, address.Header);
        address.Write(request);
        Execute(request, $"{verb} address {address.Local}/{address.PrefixLength} {preposition}", address.Ifindex);
    }
}
