// Links: RTM_GETLINK, RTM_NEWLINK (create, and change without NLM_F_CREATE), RTM_DELLINK, RTM_NEWLINKPROP,
// RTM_DELLINKPROP.
using XenFastPath.Interop;
using static XenFastPath.Interop.IfLink;
using static XenFastPath.Interop.Netlink;
using static XenFastPath.Interop.RtNetlink;
using Errno = XenFastPath.Interop.Errno;

namespace XenFastPath.Netlink;

/// <summary>XDP_FLAGS_ of linux/if_link.h.</summary>
[Flags]
public enum XdpFlags : uint
{
    None = 0,

    /// <summary>Fail with EBUSY if there is a program already.</summary>
    OnlyIfNone = XDP_FLAGS_UPDATE_IF_NOEXIST,
    Generic = XDP_FLAGS_SKB_MODE,
    Driver = XDP_FLAGS_DRV_MODE,
    Hardware = XDP_FLAGS_HW_MODE,
}

public sealed partial class Rtnl
{
    /// <summary>All links. Without counters, of which IPv6 has dozens for each link, the kernel's answer is half as long.</summary>
    public List<LinkInfo> GetLinks(bool withCounters = true)
    {
        NetlinkWriter request = LinkRequest(stackalloc byte[RequestBytes], RTM_GETLINK);
        request.U32(IFLA_EXT_MASK, withCounters ? null : RTEXT_FILTER_SKIP_STATS);
        return _socket.Dump<LinkInfo>(request.Written, LinkInfo.TryDecode, "dump links");
    }

    /// <summary>One link, or null if there is none.</summary>
    public LinkInfo? GetLink(int index) =>
        GetLink(LinkRequest(stackalloc byte[RequestBytes], RTM_GETLINK, index), $"ifindex {index}");

    /// <summary>The link that has this name or alternative name, or null.</summary>
    public LinkInfo? GetLink(string name)
    {
        NetlinkWriter request = LinkRequest(stackalloc byte[RequestBytes], RTM_GETLINK);
        request.String(name.Length < IFNAMSIZ ? IFLA_IFNAME : IFLA_ALT_IFNAME, name);
        return GetLink(request, name);
    }

    /// <summary>
    /// Has the kernel conclude now what it would otherwise find out later of the carrier of a link that is new (linkwatch_sync_dev(),
    /// kernel 6.8): it takes in 100 such links a second, and until then goes over all that wait, with every link that gets a carrier,
    /// under its lock for all network configuration. To ask for one link does that; a dump does not.
    /// </summary>
    public void SettleCarrier(int index)
    {
        NetlinkWriter request = LinkRequest(stackalloc byte[RequestBytes], RTM_GETLINK, index);
        request.U32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        _ = _socket.TryExecute(request.Written);
    }

    /// <summary>Creates a link; it is not there if anything of it fails.</summary>
    public void CreateLink(string name, LinkKindSettings kind, LinkSettings? settings = null)
    {
        LinkSettings link = (settings ?? LinkSettings.None) with { Name = name };
        if (link.NeedsLink && link.NamespaceFd is not null)
            throw new ArgumentException(
                "Alias and Ipv6LinkLocal are set after creation, when the link is in the other namespace.");
        NetlinkWriter request = Request(
            stackalloc byte[RequestBytes], RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL,
            link.Header(index: 0, withUp: !link.NeedsLink));
        link.WriteBasics(request);
        request.S32(IFLA_LINK, kind.LowerLink);
        WriteKind(request, kind);
        Execute(request, $"create {kind.Kind}", name);
        if (link.NeedsLink)
            Complete(name, kind, link);
    }

    /// <summary>Deletes a link.</summary>
    public void DeleteLink(int index) =>
        Execute(LinkRequest(stackalloc byte[RequestBytes], RTM_DELLINK, index), "delete", index);

    /// <summary>
    /// Changes several settings with one request; the kernel may have applied a part of them when it fails.
    /// </summary>
    public void ChangeLink(int index, LinkSettings settings) => ChangeLink(index, settings, "change");

    /// <summary>Changes settings of its kind, such as a bridge's.</summary>
    public void ChangeLink(int index, LinkKindSettings kind)
    {
        NetlinkWriter request = LinkRequest(stackalloc byte[RequestBytes], RTM_NEWLINK, index);
        WriteKind(request, kind);
        Execute(request, $"change {kind.Kind} settings of", index);
    }

    public void SetUp(int index, bool up) =>
        ChangeLink(index, new LinkSettings { Up = up }, up ? "set up" : "set down");

    public void SetMtu(int index, int mtu) => ChangeLink(index, new LinkSettings { Mtu = mtu }, $"set mtu {mtu} of");

    public void SetAddress(int index, MacAddress mac) =>
        ChangeLink(index, new LinkSettings { Address = mac }, $"set address {mac} of");

    /// <summary>Renames; on kernels before 6.2 the link has to be down.</summary>
    public void SetName(int index, string name) =>
        ChangeLink(index, new LinkSettings { Name = name }, $"set name {name} of");

    /// <summary>Sets the alias; empty removes it.</summary>
    public void SetAlias(int index, string alias) =>
        ChangeLink(index, new LinkSettings { Alias = alias }, "set alias of");

    /// <summary>
    /// Puts a link into a bridge or bond; 0 takes it out. It has left its old master even if the new one refuses it.
    /// </summary>
    public void SetMaster(int index, int masterIndex) =>
        ChangeLink(index, new LinkSettings { MasterIndex = masterIndex }, "set master of");

    /// <summary>
    /// As <see cref="SetMaster"/>, and the kernel makes no IPv6 link-local address, in one request. False: refused, for instance by a
    /// device without IPv6; the kernel checks all of it before it changes anything, but a master may refuse later.
    /// </summary>
    public bool TryEnslaveWithoutLinkLocal(int index, int masterIndex)
    {
        var settings = new LinkSettings { MasterIndex = masterIndex, Ipv6LinkLocal = false };
        NetlinkWriter request = Request(stackalloc byte[RequestBytes], RTM_NEWLINK, 0, settings.Header(index));
        settings.WriteBasics(request);
        settings.WriteExtras(request);
        return !_socket.TryExecute(request.Written).IsFailure;
    }

    /// <summary>Moves a link to the network namespace of an open file; it may get another index there.</summary>
    public void SetNamespace(int index, int namespaceFd) =>
        ChangeLink(index, new LinkSettings { NamespaceFd = namespaceFd }, "set namespace of");

    /// <summary>Whether the kernel makes an IPv6 link-local address.</summary>
    public void SetIpv6LinkLocal(int index, bool enabled) =>
        ChangeLink(index, new LinkSettings { Ipv6LinkLocal = enabled }, "set addr_gen_mode of");

    public void AddAltName(int index, string name) =>
        ChangeAltName(index, name, RTM_NEWLINKPROP, $"add altname {name} to");

    public void RemoveAltName(int index, string name) =>
        ChangeAltName(index, name, RTM_DELLINKPROP, $"remove altname {name} from");

    /// <summary>
    /// Attaches an XDP program; fd -1 detaches. With <paramref name="expectedFd"/> only if that program (-1: none) is
    /// attached now.
    /// </summary>
    public void SetXdp(int index, int programFd, XdpFlags flags, int? expectedFd = null)
    {
        NetlinkWriter request = LinkRequest(stackalloc byte[RequestBytes], RTM_SETLINK, index);
        using (request.Nest(IFLA_XDP))
        {
            request.S32(IFLA_XDP_FD, programFd);
            request.U32(IFLA_XDP_FLAGS, (uint)flags | (expectedFd is null ? 0 : XDP_FLAGS_REPLACE));
            request.S32(IFLA_XDP_EXPECTED_FD, expectedFd);
        }
        Execute(request, programFd < 0 ? "detach XDP program from" : "attach XDP program to", index);
    }

    /// <summary>Changes settings of a bridge port.</summary>
    public void SetBridgePort(int index, BridgePortSettings settings)
    {
        var header = new ifinfomsg { ifi_family = AF_BRIDGE, ifi_index = index };
        NetlinkWriter request = Request(stackalloc byte[RequestBytes], RTM_SETLINK, 0, in header);
        using (request.Nest(IFLA_PROTINFO))
            settings.Write(request);
        Execute(request, "change bridge port settings of", index);
    }

    private LinkInfo? GetLink(NetlinkWriter request, string objectName)
    {
        NetlinkError error = _socket.TryGet<LinkInfo>(request.Written, LinkInfo.TryDecode, out LinkInfo? link);
        return error.Errno switch
        {
            0 => link,
            Errno.ENODEV => null,
            _ => throw new NetlinkException("get link", objectName, error),
        };
    }

    // The second step of creating a link; the first is taken back if this one fails.
    private void Complete(string name, LinkKindSettings kind, LinkSettings link)
    {
        NetlinkWriter request = Request(stackalloc byte[RequestBytes], RTM_NEWLINK, 0, link.Header(index: 0));
        request.String(IFLA_IFNAME, name);
        link.WriteExtras(request);
        NetlinkError error = _socket.TryExecute(request.Written);
        if (!error.IsFailure)
            return;
        NetlinkWriter undo = LinkRequest(stackalloc byte[RequestBytes], RTM_DELLINK);
        undo.String(IFLA_IFNAME, name);
        _ = _socket.TryExecute(undo.Written);
        throw new NetlinkException($"create {kind.Kind}", name, error);
    }

    private void ChangeLink(int index, LinkSettings settings, string operation)
    {
        NetlinkWriter request = Request(stackalloc byte[RequestBytes], RTM_NEWLINK, 0, settings.Header(index));
        settings.WriteBasics(request);
        settings.WriteExtras(request);
        Execute(request, operation, index);
    }

    private void ChangeAltName(int index, string name, ushort type, string operation)
    {
        var header = new ifinfomsg { ifi_index = index };
        ushort flags = type == RTM_NEWLINKPROP ? (ushort)(NLM_F_CREATE | NLM_F_EXCL | NLM_F_APPEND) : (ushort)0;
        NetlinkWriter request = Request(stackalloc byte[RequestBytes], type, flags, in header);
        using (request.Nest(IFLA_PROP_LIST))
            request.String(IFLA_ALT_IFNAME, name);
        Execute(request, operation, index);
    }

    private static NetlinkWriter LinkRequest(Span<byte> buffer, ushort type, int index = 0) =>
        Request(buffer, type, 0, new ifinfomsg { ifi_index = index });

    private static void WriteKind(NetlinkWriter request, LinkKindSettings kind)
    {
        using NetlinkNest info = request.Nest(IFLA_LINKINFO);
        request.String(IFLA_INFO_KIND, kind.Kind);
        using NetlinkNest data = request.Nest(IFLA_INFO_DATA);
        kind.WriteData(request);
    }
}
