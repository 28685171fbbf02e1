// What Tmds.LibC lacks, and the calls of the packet loop, whose cost per call counts.
// Everything else of libc is called through Tmds.LibC.
using System.Runtime.InteropServices;

namespace XenFastPath.Interop;

/// <summary>Our own imports from libc.</summary>
public static unsafe partial class Libc
{
    private const string Library = "libc";

    public const int MSG_DONTWAIT = 0x40;

    /// <summary>ssize_t sendto(int, const void *, size_t, int, const struct sockaddr *, socklen_t); the TX kick of AF_XDP.</summary>
    [LibraryImport(Library, SetLastError = true)]
    public static partial nint sendto(int fd, void* buffer, nuint length, int flags, void* address, uint addressLength);

    /// <summary>ssize_t recvfrom(int, void *, size_t, int, struct sockaddr *, socklen_t *); the RX wake-up of AF_XDP.</summary>
    [LibraryImport(Library, SetLastError = true)]
    public static partial nint recvfrom(int fd, void* buffer, nuint length, int flags, void* address, uint* addressLength);

    /// <summary>
    /// int epoll_wait(int, struct epoll_event *, int, int). The events are untyped: struct epoll_event is packed on x86-64 only,
    /// and the packet loop scans its ports anyway. Give it 16 bytes for each event.
    /// </summary>
    [LibraryImport(Library, SetLastError = true)]
    public static partial int epoll_wait(int epfd, void* events, int eventsMax, int timeoutMs);

    /// <summary>int setrlimit(int, const struct rlimit *): two unsigned longs, soft and hard.</summary>
    [LibraryImport(Library, SetLastError = true)]
    public static partial int setrlimit(int resource, void* limit);

    /// <summary>int setpriority(int, id_t, int); who = 0 is the calling thread, and threads that it makes inherit its nice value.</summary>
    [LibraryImport(Library, SetLastError = true)]
    public static partial int setpriority(int which, uint who, int nice);

    /// <summary>int sched_setscheduler(pid_t, int, const struct sched_param *); 0 is the calling thread, the parameter one int: its priority.</summary>
    [LibraryImport(Library, SetLastError = true)]
    public static partial int sched_setscheduler(int pid, int policy, void* parameter);

    /// <summary>int statfs(const char *, struct statfs *); give it 120 bytes.</summary>
    [LibraryImport(Library, SetLastError = true)]
    public static partial int statfs(void* path, void* buffer);

    /// <summary>
    /// membarrier(2) with MEMBARRIER_CMD_GLOBAL: returns after an RCU grace period, when no run of a BPF program that began before
    /// the call still goes on. Returns 0, or -1 (as on nohz_full kernels).
    /// </summary>
    public static int MembarrierGlobal()
    {
        const int membarrierX64 = 324, membarrierArm64 = 283, commandGlobal = 1;
        int number = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? membarrierArm64 : membarrierX64;
        return (int)syscall(number, commandGlobal, 0, 0);
    }

    [LibraryImport(Library, SetLastError = true)]
    private static partial nint syscall(nint number, nint a, nint b, nint c);

    /// <summary>ssize_t write(int, const void *, size_t); the packet loop wakes its manager's eventfd with it.</summary>
    [LibraryImport(Library, SetLastError = true)]
    public static partial nint write(int fd, void* buffer, nuint length);
}

/// <summary>errno values that mean something to us; the kernel's numbers (asm-generic/errno.h).</summary>
public static class Errno
{
    public const int EPERM = 1, ENOENT = 2, ESRCH = 3, EINTR = 4, ENXIO = 6, EBADF = 9, EAGAIN = 11, ENOMEM = 12, EACCES = 13,
        EBUSY = 16, EEXIST = 17, ENODEV = 19, EINVAL = 22, ENOSPC = 28, ERANGE = 34, ENOTEMPTY = 39, ELOOP = 40, ENOLINK = 67,
        EPROTO = 71, EMSGSIZE = 90, EPROTONOSUPPORT = 93, EOPNOTSUPP = 95, EAFNOSUPPORT = 97, EADDRNOTAVAIL = 99,
        ENETDOWN = 100, ENOBUFS = 105, ETIMEDOUT = 110, EOWNERDEAD = 130, ENOTSUPP = 524;

    private static readonly Dictionary<int, string> s_names = new()
    {
        [EPERM] = nameof(EPERM), [ENOENT] = nameof(ENOENT), [ESRCH] = nameof(ESRCH), [EINTR] = nameof(EINTR),
        [ENXIO] = nameof(ENXIO), [EBADF] = nameof(EBADF), [EAGAIN] = nameof(EAGAIN), [ENOMEM] = nameof(ENOMEM), [EACCES] = nameof(EACCES),
        [EBUSY] = nameof(EBUSY), [EEXIST] = nameof(EEXIST), [ENODEV] = nameof(ENODEV), [EINVAL] = nameof(EINVAL),
        [ENOSPC] = nameof(ENOSPC), [ERANGE] = nameof(ERANGE), [ENOTEMPTY] = nameof(ENOTEMPTY), [ELOOP] = nameof(ELOOP), [ENOLINK] = nameof(ENOLINK),
        [EPROTO] = nameof(EPROTO), [EMSGSIZE] = nameof(EMSGSIZE), [EPROTONOSUPPORT] = nameof(EPROTONOSUPPORT),
        [EOPNOTSUPP] = nameof(EOPNOTSUPP), [EAFNOSUPPORT] = nameof(EAFNOSUPPORT),
        [EADDRNOTAVAIL] = nameof(EADDRNOTAVAIL), [ENETDOWN] = nameof(ENETDOWN), [ENOBUFS] = nameof(ENOBUFS),
        [ETIMEDOUT] = nameof(ETIMEDOUT), [EOWNERDEAD] = nameof(EOWNERDEAD), [ENOTSUPP] = nameof(ENOTSUPP),
    };

    /// <summary>errno of this thread's latest call that was imported with SetLastError; read it before anything else runs.</summary>
    public static int Last => Marshal.GetLastPInvokeError();

    /// <summary>For people: "EBUSY (Device or resource busy)".</summary>
    public static string Describe(int errno) =>
        $"{(s_names.TryGetValue(errno, out string? name) ? name : "errno " + errno)} ({Marshal.GetPInvokeErrorMessage(errno)})";
}

/// <summary>A system call failed. <see cref="Exception.Message"/> names the step, the object and the reason.</summary>
public sealed class SystemCallException(string step, int code) : Exception($"{step}: {Errno.Describe(code)}")
{
    /// <summary>The errno of the call.</summary>
    public int Code { get; } = code;
}
