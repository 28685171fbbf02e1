// The transport that talks to the kernel: socket(2), bind(2), sendto(2), recvfrom(2) of AF_NETLINK (man 7 netlink).
// The socket belongs to the network namespace of the thread that opens it, for as long as it lives.
using System.Numerics;
using Tmds.Linux;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;
using Errno = XenFastPath.Interop.Errno;

namespace XenFastPath.Netlink;

/// <summary>A netlink socket of the kernel. Not thread-safe.</summary>
public sealed unsafe class KernelTransport : INetlinkTransport
{
    // Dumps come in datagrams of at most 32 KiB; one link with many VFs may be longer.
    private const int BufferBytes = 64 * 1024;

    private byte[] _buffer = GC.AllocateUninitializedArray<byte>(BufferBytes);
    private int _fd;

    /// <summary>Opens and binds a socket of a NETLINK_ protocol.</summary>
    public KernelTransport(int protocol, bool blocking)
    {
        _fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK), protocol);
        if (_fd < 0)
            throw new NetlinkException("open a netlink socket of protocol", $"{protocol}", Errno.Last);
        // Safety: the address is on the stack and outlives both calls.
        var address = new sockaddr_nl { nl_family = (ushort)AF_NETLINK };
        socklen_t size = sizeof(sockaddr_nl);
        if (bind(_fd, (sockaddr*)&address, size) < 0 || getsockname(_fd, (sockaddr*)&address, &size) < 0)
        {
            int errno = Errno.Last;
            Dispose();
            throw new NetlinkException("bind a netlink socket of protocol", $"{protocol}", errno);
        }
        PortId = address.nl_pid;
    }

    public int Fd => _fd;

    public uint PortId { get; }

    public int Send(ReadOnlySpan<byte> messages)
    {
        var kernel = new sockaddr_nl { nl_family = (ushort)AF_NETLINK };
        // Safety: the span is pinned and the address is on the stack for the call; the kernel keeps neither.
        fixed (byte* bytes = messages)
        {
            while (sendto(_fd, bytes, messages.Length, 0, (sockaddr*)&kernel, sizeof(sockaddr_nl)) < 0)
            {
                if (Errno.Last is var errno and not Errno.EINTR)
                    return errno;
            }
        }
        return 0;
    }

    public int Receive(out ReadOnlySpan<byte> datagram)
    {
        datagram = default;
        sockaddr_nl sender;
        long length;
        do
        {
            socklen_t size = sizeof(sockaddr_nl);
            // Safety: the buffer is pinned for the call and its length is passed.
            fixed (byte* bytes = _buffer)
                length = recvfrom(_fd, bytes, _buffer.Length, MSG_TRUNC, (sockaddr*)&sender, &size);
            if (length < 0 && Errno.Last is var errno and not Errno.EINTR)
                return errno;
        }
        while (length < 0 || sender.nl_pid != 0);   // not 0: some process sent it, not the kernel
        if (length > _buffer.Length)
        {
            _buffer = GC.AllocateUninitializedArray<byte>((int)BitOperations.RoundUpToPowerOf2((uint)length));
            return EMSGSIZE;
        }
        datagram = _buffer.AsSpan(0, (int)length);
        return 0;
    }

    public int SetOption(int level, int option, ReadOnlySpan<byte> value)
    {
        // Safety: pinned for the call; setsockopt copies.
        fixed (byte* bytes = value)
            return setsockopt(_fd, level, option, bytes, value.Length) < 0 ? Errno.Last : 0;
    }

    public void Dispose()
    {
        int fd = Interlocked.Exchange(ref _fd, -1);
        if (fd >= 0)
            _ = close(fd);
    }
}
