// The one seam of this library: bytes to the kernel, datagrams back. A test's fake kernel implements it.
namespace XenFastPath.Netlink;

/// <summary>A netlink socket reduced to what the layers above need.</summary>
public interface INetlinkTransport : IDisposable
{
    /// <summary>To poll for input; -1 where there is none.</summary>
    int Fd { get; }

    /// <summary>Our address; the kernel puts it into every message that answers us.</summary>
    uint PortId { get; }

    /// <summary>Sends one or more messages as one datagram. Returns 0 or an errno.</summary>
    int Send(ReadOnlySpan<byte> messages);

    /// <summary>
    /// Takes the next whole datagram, which stays valid until the next call. Returns 0 or an errno: EAGAIN when none
    /// came in time, ENOBUFS when the kernel had to drop some, EMSGSIZE when this one was longer than the buffer, which
    /// has grown.
    /// </summary>
    int Receive(out ReadOnlySpan<byte> datagram);

    /// <summary>setsockopt(2). Returns 0 or an errno.</summary>
    int SetOption(int level, int option, ReadOnlySpan<byte> value);
}
