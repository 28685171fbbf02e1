// Persistent tun and tap devices: TUNSETIFF and TUNSETPERSIST on /dev/net/tun (Documentation/networking/tuntap.rst).
// Once made they are links like others; Rtnl deletes them.
using System.Text;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;
using static XenFastPath.Interop.IfLink;
using Errno = XenFastPath.Interop.Errno;

namespace XenFastPath.Netlink;

/// <summary>Makes tun and tap devices.</summary>
public static unsafe class TunDevice
{
    /// <summary>
    /// Creates a device that stays when nobody has it open; frames have no packet information header.
    /// </summary>
    public static void Create(string name, TunType type = TunType.Tap, bool vnetHeader = false, bool multiQueue = false)
    {
        string operation = type == TunType.Tap ? "create tap" : "create tun";
        ifreq request = Request(name);
        request.ifr_flags = (short)((type == TunType.Tap ? IFF_TAP : IFF_TUN) | IFF_NO_PI
            | (vnetHeader ? IFF_VNET_HDR : 0) | (multiQueue ? IFF_MULTI_QUEUE : 0));
        // Safety: the path is a NUL-terminated literal; the request is on the stack and outlives the calls.
        int fd;
        fixed (byte* path = "/dev/net/tun\0"u8)
            fd = open(path, O_RDWR | O_CLOEXEC, 0);
        if (fd < 0)
            throw new NetlinkException(operation, name, Errno.Last, "cannot open /dev/net/tun");
        try
        {
            if (ioctl(fd, (int)TUNSETIFF, &request) < 0 || ioctl(fd, (int)TUNSETPERSIST, 1) < 0)
                throw new NetlinkException(operation, name, Errno.Last);
        }
        finally
        {
            _ = close(fd);
        }
    }

    internal static ifreq Request(string name)
    {
        if (Encoding.UTF8.GetByteCount(name) >= IFNAMSIZ)
            throw new ArgumentException($"'{name}' is too long for the name of a link.", nameof(name));
        ifreq request = default;
        Encoding.UTF8.GetBytes(name, new Span<byte>(request.ifr_name, IFNAMSIZ));
        return request;
    }
}
