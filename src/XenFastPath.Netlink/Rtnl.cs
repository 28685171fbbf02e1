// rtnetlink (man 7 rtnetlink): links, bridge ports, FDB, addresses, routes, rules and tc of the network namespace in which it was
// opened. One part per kind of object, beside the record that describes it. Objects are changed by index, since a name
// may be another link's tomorrow; error messages name them all the same.
using static XenFastPath.Interop.Netlink;
using static XenFastPath.Interop.RtNetlink;

namespace XenFastPath.Netlink;

/// <summary>Requests to rtnetlink. Thread-safe. Failures are <see cref="NetlinkException"/>.</summary>
public sealed partial class Rtnl : IDisposable
{
    private const int RequestBytes = 1024;      // the longest requests carry an alias of 256 bytes

    private readonly NetlinkSocket _socket;

    /// <summary>Opens a socket in this thread's network namespace.</summary>
    public Rtnl() : this(new NetlinkSocket(NETLINK_ROUTE))
    {
    }

    /// <summary>Uses a NETLINK_ROUTE socket, which it then owns.</summary>
    public Rtnl(NetlinkSocket socket) => _socket = socket;

    /// <summary>Closes the socket.</summary>
    public void Dispose() => _socket.Dispose();

    private static NetlinkWriter Request<T>(Span<byte> buffer, ushort type, ushort flags, scoped in T header)
        where T : unmanaged
    {
        var request = new NetlinkWriter(buffer);
        request.Begin(type, flags);
        request.Header(in header);
        return request;
    }

    private void Execute(NetlinkWriter request, string operation, int index)
    {
        if (_socket.TryExecute(request.Written) is { IsFailure: true } error)
            throw new NetlinkException(operation, NameOf(index), error);
    }

    private void Execute(NetlinkWriter request, string operation, string name) =>
        _socket.Execute(request.Written, operation, name);

    // Asked for when a request has already failed, so it must not fail itself.
    private string NameOf(int index)
    {
        NetlinkWriter request = LinkRequest(stackalloc byte[RequestBytes], RTM_GETLINK, index);
        _ = _socket.TryGet<LinkInfo>(request.Written, LinkInfo.TryDecode, out LinkInfo? link);
        return link?.Name ?? $"ifindex {index}";
    }
}
