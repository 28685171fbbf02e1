// sys/inotify.h: see inotify(7).
using System.Runtime.InteropServices;
using System.Text;

namespace XenFastPath.Interop;

/// <summary>Tells when a file is removed or replaced.</summary>
public static unsafe partial class Inotify
{
    private const int IN_CLOEXEC = 0x80000, IN_NONBLOCK = 0x800;

    /// <summary>The file's attributes change: its count of names among them, so that this is seen while somebody has it open.</summary>
    private const uint IN_ATTRIB = 4;

    /// <summary>A descriptor that becomes readable when this file loses a name. The caller closes it.</summary>
    /// <exception cref="SystemCallException">The file is not there, or watches are used up.</exception>
    public static int WatchNames(string path)
    {
        int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (fd < 0)
            throw new SystemCallException("inotify_init1", Errno.Last);
        fixed (byte* name = Encoding.UTF8.GetBytes(path + '\0'))
        {
            if (inotify_add_watch(fd, name, IN_ATTRIB) >= 0)
                return fd;
        }

        int error = Errno.Last;
        Tmds.Linux.LibC.close(fd);
        throw new SystemCallException("inotify_add_watch " + path, error);
    }

    /// <summary>Takes what waits, so that the descriptor is readable at the next change only.</summary>
    public static void Drain(int fd)
    {
        const int bytes = 4096;
        byte* events = stackalloc byte[bytes];
        while (Tmds.Linux.LibC.read(fd, events, bytes) > 0)
        {
        }
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int inotify_init1(int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int inotify_add_watch(int fd, byte* path, uint mask);
}
