// memfd regions shared between the processes by passing the fd (memfd_create(2), mmap(2)).
using System.Text;
using Tmds.Linux;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;

namespace XenFastPath.Dataplane;

/// <summary>
/// A mapped file descriptor. Owns both the mapping and the fd; <see cref="Dispose"/> releases them. There is no finalizer: the
/// kernel may hold the pages (UMEM) and only the owner knows when nobody uses them any more.
/// </summary>
public sealed unsafe class SharedMemory : IDisposable
{
    private const nuint HugePageBytes = 2 << 20, PageBytes = 4096;

    private readonly string _name;

    private SharedMemory(string name, int fd, byte* address, nuint bytes)
    {
        _name = name;
        Fd = fd;
        Address = address;
        Bytes = bytes;
    }

    /// <summary>The descriptor to pass on.</summary>
    public int Fd { get; }

    /// <summary>Start of the mapping, page aligned.</summary>
    public byte* Address { get; private set; }

    /// <summary>Length of the mapping in bytes.</summary>
    public nuint Bytes { get; }

    /// <summary>
    /// Creates a zeroed region that cannot be shrunk or grown, mapped read-write. From 2 MiB on it lies in huge pages where the kernel
    /// gives them: the data path reads it at random, and 512 times fewer pages is the difference between a TLB hit and a walk.
    /// </summary>
    /// <exception cref="SystemCallException">Out of memory or descriptors.</exception>
    public static SharedMemory Create(string name, long bytes)
    {
        int fd;
        fixed (byte* text = Encoding.ASCII.GetBytes(name + '\0'))
            fd = memfd_create(text, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
            throw new SystemCallException("memfd_create " + name, Errno.Last);
        if (ftruncate(fd, bytes) < 0)
            throw Closing(fd, "ftruncate " + name);
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
            throw Closing(fd, "seal " + name);
        SharedMemory memory = Map(fd, (nuint)bytes, PROT_READ | PROT_WRITE, name);
        memory.AskForHugePages();
        return memory;
    }

    /// <summary>Another descriptor of the same, which no child process inherits; negative if there is none left.</summary>
    public static int Duplicate(int fd) => fcntl(fd, F_DUPFD_CLOEXEC, 0);

    /// <summary>Maps a received region read-only; takes ownership of <paramref name="fd"/>.</summary>
    /// <exception cref="SystemCallException">The descriptor cannot be mapped.</exception>
    public static SharedMemory OpenReadOnly(int fd, long bytes, string name) => Map(fd, (nuint)bytes, PROT_READ, name);

    /// <summary>Maps a received region read-write; takes ownership of <paramref name="fd"/>.</summary>
    /// <exception cref="SystemCallException">The descriptor cannot be mapped.</exception>
    public static SharedMemory OpenReadWrite(int fd, long bytes, string name) => Map(fd, (nuint)bytes, PROT_READ | PROT_WRITE, name);

    /// <summary>
    /// From now on nobody can make another writable mapping of the region; this one stays writable (F_SEAL_FUTURE_WRITE,
    /// Linux 5.1).
    /// </summary>
    /// <exception cref="SystemCallException">The kernel does not know the seal.</exception>
    public void SealFutureWrites()
    {
        const int F_SEAL_FUTURE_WRITE = 0x10;
        if (fcntl(Fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) < 0)
            throw new SystemCallException("seal " + _name, Errno.Last);
    }

    /// <summary>Unmaps and closes. The caller guarantees that nobody uses the address any more.</summary>
    public void Dispose()
    {
        if (Address == null)
            return;
        munmap(Address, (size_t)Bytes);
        close(Fd);
        Address = null;
    }

    /// <summary>
    /// MADV_COLLAPSE (Linux 6.1; CONFIG_TRANSPARENT_HUGEPAGE) gathers what is already there and heeds no setting of the administrator's
    /// for shared memory, which is "never" by default. Refused: the pages stay small, and only speed is lost.
    /// </summary>
    private void AskForHugePages()
    {
        const int MADV_POPULATE_WRITE = 23, MADV_COLLAPSE = 25;
        nuint whole = Bytes & ~(HugePageBytes - 1);
        if (whole != 0 && madvise(Address, (size_t)whole, MADV_POPULATE_WRITE) == 0)
            madvise(Address, (size_t)whole, MADV_COLLAPSE);
    }

    /// <summary>A large region begins at a multiple of the huge page, or the kernel could not map it by those.</summary>
    private static SharedMemory Map(int fd, nuint bytes, int protection, string name)
    {
        void* address;
        if (bytes < HugePageBytes)
        {
            address = mmap(null, (size_t)bytes, protection, MAP_SHARED, fd, 0);
        }
        else
        {
            // A stretch of address space that has room for such a beginning; what is too much of it is given back.
            nuint reserved = bytes + HugePageBytes;
            byte* start = (byte*)mmap(null, (size_t)reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (start == MAP_FAILED)
                throw Closing(fd, "mmap " + name);
            byte* aligned = (byte*)(((nuint)start + HugePageBytes - 1) & ~(HugePageBytes - 1));
            address = mmap(aligned, (size_t)bytes, protection, MAP_SHARED | MAP_FIXED, fd, 0);
            if (aligned != start)
                munmap(start, (size_t)(nuint)(aligned - start));
            nuint pages = (bytes + PageBytes - 1) & ~(PageBytes - 1);
            munmap(aligned + pages, (size_t)(reserved - pages - (nuint)(aligned - start)));
        }

        if (address == MAP_FAILED)
            throw Closing(fd, "mmap " + name);
        return new SharedMemory(name, fd, (byte*)address, bytes);
    }

    private static SystemCallException Closing(int fd, string step)
    {
        SystemCallException error = new(step, Errno.Last);
        close(fd);
        return error;
    }
}
