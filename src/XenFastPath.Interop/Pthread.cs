// pthread.h: the robust, process-shared mutex by which one process notices at once that another died.
using System.Runtime.InteropServices;

namespace XenFastPath.Interop;

/// <summary>
/// The few pthread calls behind a lifeline: a mutex in shared memory that its holder never releases. The kernel walks a dying
/// thread's robust list before it closes the process's files, so the waiter's lock returns EOWNERDEAD long before the
/// sockets are gone. See pthread_mutexattr_setrobust(3) and robust_futexes in the kernel's documentation.
/// </summary>
public static unsafe partial class Pthread
{
    private const string Library = "libc";

    /// <summary>Room for a pthread_mutex_t: 40 bytes on x86-64, 48 on arm64 (glibc).</summary>
    public const int MutexBytes = 64;

    private const int PTHREAD_PROCESS_SHARED = 1, PTHREAD_MUTEX_ROBUST = 1;
    private const int MutexAttrBytes = 16;

    [LibraryImport(Library)]
    private static partial int pthread_mutexattr_init(void* attributes);

    [LibraryImport(Library)]
    private static partial int pthread_mutexattr_setpshared(void* attributes, int shared);

    [LibraryImport(Library)]
    private static partial int pthread_mutexattr_setrobust(void* attributes, int robust);

    [LibraryImport(Library)]
    private static partial int pthread_mutex_init(void* mutex, void* attributes);

    [LibraryImport(Library)]
    private static partial int pthread_mutex_lock(void* mutex);

    /// <summary>Makes a robust, process-shared mutex in the <see cref="MutexBytes"/> bytes at <paramref name="mutex"/>.</summary>
    /// <exception cref="SystemCallException">The C library refused.</exception>
    public static void InitRobust(void* mutex)
    {
        byte* attributes = stackalloc byte[MutexAttrBytes];
        Check(pthread_mutexattr_init(attributes), "pthread_mutexattr_init");
        Check(pthread_mutexattr_setpshared(attributes, PTHREAD_PROCESS_SHARED), "pthread_mutexattr_setpshared");
        Check(pthread_mutexattr_setrobust(attributes, PTHREAD_MUTEX_ROBUST), "pthread_mutexattr_setrobust");
        Check(pthread_mutex_init(mutex, attributes), "pthread_mutex_init");
    }

    /// <summary>Locks; blocks until the mutex is free or its owner died. Returns 0 or <see cref="Errno.EOWNERDEAD"/>.</summary>
    /// <exception cref="SystemCallException">Any other outcome.</exception>
    public static int Lock(void* mutex)
    {
        int error = pthread_mutex_lock(mutex);
        return error is 0 or Errno.EOWNERDEAD ? error : throw new SystemCallException("pthread_mutex_lock of a lifeline", error);
    }

    private static void Check(int error, string call)
    {
        if (error != 0)
            throw new SystemCallException(call + " of a lifeline", error);
    }
}
