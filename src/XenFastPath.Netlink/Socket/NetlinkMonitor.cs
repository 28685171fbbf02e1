// Notifications: a socket that joined multicast groups, drained without blocking and without allocating.
using System.Runtime.InteropServices;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;
using static XenFastPath.Interop.Netlink;
using Errno = XenFastPath.Interop.Errno;

namespace XenFastPath.Netlink;

/// <summary>
/// Takes notifications. A struct, so that the call costs nothing; the message is gone when the call returns.
/// </summary>
public interface INetlinkHandler
{
    void Handle(NetlinkMessage message);
}

/// <summary>
/// What <see cref="NetlinkMonitor.Drain"/> found. <paramref name="Overrun"/>: the kernel had to drop notifications, so
/// what the caller knows is out of date until it dumps again. <paramref name="More"/>: the limit was reached before the
/// queue was empty.
/// </summary>
public readonly record struct NetlinkDrain(int Messages, bool Overrun, bool More);

/// <summary>A socket for notifications. Not thread-safe: one thread polls and drains it.</summary>
public sealed class NetlinkMonitor : IDisposable
{
    /// <summary>How many interfaces <see cref="MuteNeighbours"/> takes.</summary>
    public const int MutedMax = NeighbourFilter.IfindexesMax;

    private readonly INetlinkTransport _transport;

    /// <summary>
    /// Listens in this thread's network namespace to groups of a NETLINK_ protocol, given by number (RTNLGRP_LINK,
    /// ...). The kernel doubles the buffer's size and charges about 830 bytes for a small message: 8 MiB hold some 20
    /// 000 FDB notifications.
    /// </summary>
    public NetlinkMonitor(int protocol, ReadOnlySpan<uint> groups, int receiveBufferBytes = 8 << 20)
        : this(new KernelTransport(protocol, blocking: false), groups, receiveBufferBytes)
    {
    }

    /// <summary>A monitor over any transport, which it then owns.</summary>
    public NetlinkMonitor(INetlinkTransport transport, ReadOnlySpan<uint> groups, int receiveBufferBytes = 8 << 20)
    {
        _transport = transport;
        ReadOnlySpan<byte> size = MemoryMarshal.AsBytes([receiveBufferBytes]);
        // Without CAP_NET_ADMIN the buffer stays within net.core.rmem_max: overruns come sooner, that is all.
        if (transport.SetOption(SOL_SOCKET, SO_RCVBUFFORCE, size) != 0)
            _ = transport.SetOption(SOL_SOCKET, SO_RCVBUF, size);
        foreach (uint group in groups)
            Join(group);
    }

    /// <summary>To poll for POLLIN (and POLLERR: an overrun).</summary>
    public int Fd => _transport.Fd;

    public void Join(uint group) => Membership(NETLINK_ADD_MEMBERSHIP, "join", group);

    public void Leave(uint group) => Membership(NETLINK_DROP_MEMBERSHIP, "leave", group);

    /// <summary>
    /// Hands every waiting message to <paramref name="handler"/>; stops after about <paramref name="messagesMax"/>.
    /// </summary>
    public NetlinkDrain Drain<THandler>(ref THandler handler, int messagesMax = int.MaxValue)
        where THandler : struct, INetlinkHandler, allows ref struct
    {
        int count = 0;
        bool overrun = false;
        while (count < messagesMax)
        {
            int errno = _transport.Receive(out ReadOnlySpan<byte> datagram);
            if (errno == Errno.EAGAIN)
                return new NetlinkDrain(count, overrun, More: false);
            if (errno == Errno.ENOBUFS || errno == EMSGSIZE)
                overrun = true;
            else if (errno != 0)
                throw new NetlinkException("receive on", "a netlink monitor", errno);
            NetlinkTrace.Write("notify", _transport.PortId, datagram);
            var messages = new NetlinkMessages(datagram);
            while (messages.MoveNext())
            {
                handler.Handle(messages.Current);
                count++;
            }
            overrun |= messages.Malformed;
        }
        return new NetlinkDrain(count, overrun, More: true);
    }

    /// <summary>
    /// From now on the kernel drops neighbour (FDB) notifications of exactly these interfaces before they are queued;
    /// none: nothing is dropped. What was dropped is not reported: dump when an interface is no longer muted.
    /// </summary>
    public unsafe void MuteNeighbours(ReadOnlySpan<int> ifindexes)
    {
        int errno;
        if (ifindexes.IsEmpty)
        {
            errno = _transport.SetOption(SOL_SOCKET, SO_DETACH_FILTER, MemoryMarshal.AsBytes([0]));
            if (errno == Errno.ENOENT)
                return;     // none was attached
        }
        else
        {
            sock_filter[] program = NeighbourFilter.Build(ifindexes);
            // Safety: pinned for the call; the kernel copies the program.
            fixed (sock_filter* first = program)
            {
                var filter = new sock_fprog { len = (ushort)program.Length, filter = first };
                errno = _transport.SetOption(
                    SOL_SOCKET, SO_ATTACH_FILTER, new ReadOnlySpan<byte>(&filter, sizeof(sock_fprog)));
            }
        }
        if (errno != 0)
            throw new NetlinkException("set the filter of", "a netlink monitor", errno);
    }

    /// <summary>Closes the socket.</summary>
    public void Dispose() => _transport.Dispose();

    private void Membership(int option, string verb, uint group)
    {
        if (_transport.SetOption(SOL_NETLINK, option, MemoryMarshal.AsBytes([group])) is var errno and not 0)
            throw new NetlinkException(verb, $"netlink group {group}", errno);
    }
}
