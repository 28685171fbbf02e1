// Generic netlink: families are known by name and get their number at run time (linux/genetlink.h). This part resolves
// them; the parts beside it speak the families "netdev" and "ethtool".
using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using XenFastPath.Interop;
using static XenFastPath.Interop.Genetlink;
using static XenFastPath.Interop.Netlink;
using Errno = XenFastPath.Interop.Errno;

namespace XenFastPath.Netlink;

/// <summary>
/// A generic netlink family: its message type, and its multicast groups for <see cref="NetlinkMonitor"/>.
/// </summary>
public sealed record GenericFamily(string Name, ushort Id, uint Version, IReadOnlyDictionary<string, uint> Groups)
{
    internal static bool TryDecode(NetlinkMessage message, [MaybeNullWhen(false)] out GenericFamily family)
    {
        family = null;
        if (message.Type != GENL_ID_CTRL || !message.TryReadHeader(out genlmsghdr _, out NetlinkAttributes attributes))
            return false;
        var groups = new Dictionary<string, uint>();
        foreach (NetlinkAttribute group in attributes.Find(CTRL_ATTR_MCAST_GROUPS).Nested)
            groups[group.Nested.Find(CTRL_ATTR_MCAST_GRP_NAME).Text] = group.Nested.Find(CTRL_ATTR_MCAST_GRP_ID).U32;
        family = new GenericFamily(
            attributes.Find(CTRL_ATTR_FAMILY_NAME).Text, attributes.Find(CTRL_ATTR_FAMILY_ID).U16,
            attributes.Find(CTRL_ATTR_VERSION).U32, groups);
        return true;
    }
}

/// <summary>Requests to generic netlink families. Thread-safe.</summary>
public sealed partial class GenericNetlink : IDisposable
{
    private const int RequestBytes = 1024;

    private readonly ConcurrentDictionary<string, GenericFamily?> _families = new();
    private readonly NetlinkSocket _socket;

    /// <summary>Opens a socket in this thread's network namespace.</summary>
    public GenericNetlink() : this(new NetlinkSocket(NETLINK_GENERIC))
    {
    }

    /// <summary>Uses a NETLINK_GENERIC socket, which it then owns.</summary>
    public GenericNetlink(NetlinkSocket socket) => _socket = socket;

    /// <summary>
    /// A family by name, or null if this kernel has none of that name. Asked once: for a family that it has not the kernel starts a
    /// modprobe each time, which nobody must wait for in the middle of a failover.
    /// </summary>
    public GenericFamily? GetFamily(string name)
    {
        if (_families.TryGetValue(name, out GenericFamily? known))
            return known;
        NetlinkWriter request = Request(stackalloc byte[RequestBytes], GENL_ID_CTRL, CTRL_CMD_GETFAMILY, version: 1);
        request.String(CTRL_ATTR_FAMILY_NAME, name);
        NetlinkError error =
            _socket.TryGet<GenericFamily>(request.Written, GenericFamily.TryDecode, out GenericFamily? family);
        if (error.IsFailure && error.Errno != Errno.ENOENT)
            throw new NetlinkException("resolve generic netlink family", name, error);
        return _families[name] = family;
    }

    /// <summary>Closes the socket.</summary>
    public void Dispose() => _socket.Dispose();

    private static NetlinkWriter Request(Span<byte> buffer, ushort family, byte command, byte version)
    {
        var request = new NetlinkWriter(buffer);
        request.Begin(family, 0);
        request.Header(new genlmsghdr { cmd = command, version = version });
        return request;
    }

    // One object about one device. Null where the device has no such thing, or is not there.
    private T? Get<T>(NetlinkWriter request, NetlinkDecoder<T> decode, string operation, int index) where T : class
    {
        NetlinkError error = _socket.TryGet(request.Written, decode, out T? value);
        return error.Errno switch
        {
            0 => value,
            Errno.EOPNOTSUPP or Errno.ENODEV => null,
            _ => throw new NetlinkException(operation, $"ifindex {index}", error),
        };
    }
}
