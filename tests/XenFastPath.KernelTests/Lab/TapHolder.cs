// Holds a tap device open, so that it has carrier: a guest that never reads, and writes what it likes.
using System.Text;
using static Tmds.Linux.LibC;

namespace XenFastPath.KernelTests.Lab;

internal sealed unsafe class TapHolder : IDisposable
{
    private const int TUNSETIFF = 0x400454ca, IFF_TAP = 2, IFF_NO_PI = 0x1000;
    private int _fd;

    private TapHolder(int fd) => _fd = fd;

    public static TapHolder Open(Netns netns, string device) => netns.Inside(() =>
    {
        fixed (byte* path = "/dev/net/tun\0"u8)
        {
            int fd = open(path, O_RDWR | O_CLOEXEC);
            Assert.True(fd >= 0, "open /dev/net/tun");
            byte* request = stackalloc byte[40];
            new Span<byte>(request, 40).Clear();
            Encoding.ASCII.GetBytes(device, new Span<byte>(request, 16));
            *(short*)(request + 16) = IFF_TAP | IFF_NO_PI;
            Assert.Equal(0, ioctl(fd, TUNSETIFF, request));
            return new TapHolder(fd);
        }
    });

    /// <summary>The guest sends a frame of any length; false if the kernel refuses it.</summary>
    public bool Write(ReadOnlySpan<byte> frame)
    {
        fixed (byte* data = frame)
            return (long)write(_fd, data, frame.Length) == frame.Length;
    }

    public void Dispose()
    {
        int fd = Interlocked.Exchange(ref _fd, -1);
        if (fd >= 0)
            close(fd);
    }
}
