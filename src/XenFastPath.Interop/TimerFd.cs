// sys/timerfd.h and time.h: see timerfd_create(2), clock_gettime(2), time_namespaces(7).
using System.Runtime.InteropServices;

namespace XenFastPath.Interop;

/// <summary>CLOCK_BOOTTIME: nanoseconds since the boot, suspend included; nobody can set it.</summary>
public static unsafe partial class BootClock
{
    private const int CLOCK_BOOTTIME = 7, TFD_CLOEXEC = 0x80000, TFD_TIMER_ABSTIME = 1;

    private const long NsPerSecond = 1_000_000_000;

    /// <summary>The identity of this boot.</summary>
    public static string BootId { get; } = File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim();

    /// <summary>Now, ns.</summary>
    public static long NowNs()
    {
        long* time = stackalloc long[2];
        if (clock_gettime(CLOCK_BOOTTIME, time) != 0)
            throw new SystemCallException("clock_gettime CLOCK_BOOTTIME", Errno.Last);
        return (time[0] * NsPerSecond) + time[1];
    }

    /// <summary>A descriptor that becomes readable at that moment, at once if it has passed. The caller closes it.</summary>
    /// <exception cref="SystemCallException">There is none to be had.</exception>
    public static int TimerAt(long deadlineNs)
    {
        int fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC);
        if (fd < 0)
            throw new SystemCallException("timerfd_create CLOCK_BOOTTIME", Errno.Last);
        // struct itimerspec { interval, value }; a value of zero would disarm it.
        long ns = Math.Max(1, deadlineNs);
        long* timer = stackalloc long[] { 0, 0, ns / NsPerSecond, ns % NsPerSecond };
        if (timerfd_settime(fd, TFD_TIMER_ABSTIME, timer, null) == 0)
            return fd;
        int error = Errno.Last;
        Tmds.Linux.LibC.close(fd);
        throw new SystemCallException("timerfd_settime", error);
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int clock_gettime(int clock, long* time);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int timerfd_create(int clock, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int timerfd_settime(int fd, int flags, long* timer, void* old);
}
