// sys/file.h: see flock(2).
using System.Runtime.InteropServices;

namespace XenFastPath.Interop;

/// <summary>Advisory locks of whole files; the kernel lets go when the descriptor is closed, however its process ends.</summary>
public static partial class FileLock
{
    private const int LOCK_SH = 1, LOCK_EX = 2, LOCK_NB = 4;

    /// <summary>Takes the lock for one holder if nobody has it; returns false if somebody does.</summary>
    public static bool TryExclusive(int fd) => Try(fd, LOCK_EX);

    /// <summary>Shares the lock, which this descriptor may have had for itself: others may then read a file, but not own it.</summary>
    public static bool TryShared(int fd) => Try(fd, LOCK_SH);

    private static bool Try(int fd, int kind)
    {
        if (flock(fd, kind | LOCK_NB) == 0)
            return true;
        return Errno.Last == Errno.EAGAIN ? false : throw new SystemCallException("flock", Errno.Last);
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int flock(int fd, int operation);
}
