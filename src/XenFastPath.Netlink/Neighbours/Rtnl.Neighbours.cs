// Neighbours, which ARP and neighbour discovery have found: RTM_GETNEIGH and RTM_NEWNEIGH of IPv4 and IPv6.
using System.Diagnostics.CodeAnalysis;
using System.Net;
using XenFastPath.Interop;
using static XenFastPath.Interop.Neighbour;
using static XenFastPath.Interop.Netlink;
using static XenFastPath.Interop.RtNetlink;

namespace XenFastPath.Netlink;

/// <summary>A neighbour whose MAC is known, on a link.</summary>
public sealed record NeighbourInfo(int Ifindex, IPAddress Address, MacAddress Mac, bool IsPermanent)
{
    /// <summary>Takes RTM_NEWNEIGH of IPv4 and IPv6 with a MAC; false for others and for those that are being looked for.</summary>
    public static bool TryDecode(NetlinkMessage message, [MaybeNullWhen(false)] out NeighbourInfo neighbour)
    {
        const ushort known = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT;
        neighbour = null;
        if (message.Type != RTM_NEWNEIGH || !message.TryReadHeader(out ndmsg header, out NetlinkAttributes attributes)
            || header.ndm_family is not (AF_INET or AF_INET6) || (header.ndm_state & known) == 0
            || attributes.Find(NDA_DST).Address is not { } address || attributes.Find(NDA_LLADDR).Mac is not { } mac)
        {
            return false;
        }

        neighbour = new NeighbourInfo(header.ndm_ifindex, address, mac, (header.ndm_state & NUD_PERMANENT) != 0);
        return true;
    }
}

public sealed partial class Rtnl
{
    /// <summary>The neighbours of both families that a link knows.</summary>
    public List<NeighbourInfo> GetNeighbours(int ifindex)
    {
        NetlinkWriter request = Request(stackalloc byte[RequestBytes], RTM_GETNEIGH, 0, default(ndmsg));
        request.S32(NDA_IFINDEX, ifindex);
        List<NeighbourInfo> all = _socket.Dump<NeighbourInfo>(request.Written, NeighbourInfo.TryDecode, "dump neighbours");
        return all.FindAll(n => n.Ifindex == ifindex);
    }

    /// <summary>Makes a neighbour known on a link: for good if it is permanent, else to be asked again after its first use.</summary>
    public void SetNeighbour(NeighbourInfo neighbour)
    {
        byte[] address = neighbour.Address.GetAddressBytes();
        NetlinkWriter request = Request(stackalloc byte[RequestBytes], RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, new ndmsg
        {
            ndm_family = address.Length == 4 ? AF_INET : AF_INET6,
            ndm_ifindex = neighbour.Ifindex,
            ndm_state = neighbour.IsPermanent ? NUD_PERMANENT : NUD_STALE,
        });
        request.Bytes(NDA_DST, address);
        request.Mac(NDA_LLADDR, neighbour.Mac);
        Execute(request, $"set neighbour {neighbour.Address} of", neighbour.Ifindex);
    }
}
