// RUN_DIR/forwarder.sock: one listener, one control process at a time.
using System.Text;
using Tmds.Linux;
using XenFastPath.Dataplane;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;

namespace XenFastPath.Forwarder;

/// <summary>The listening socket. A lock file beside it makes sure that only one forwarder serves a run-dir.</summary>
internal sealed unsafe class ControlSocket : IDisposable
{
    private const int LockWaitMsMax = 5000, LockRetryMs = 10;
    private readonly FileStream _lock;

    private ControlSocket(string path, int fd, FileStream lockFile)
    {
        Path = path;
        Fd = fd;
        _lock = lockFile;
    }

    public string Path { get; }

    public int Fd { get; }

    public static ControlSocket Listen(string runDir)
    {
        Directory.CreateDirectory(runDir);
        string path = System.IO.Path.Combine(runDir, ForwarderChannel.SocketName);
        FileStream lockFile = TakeLock(path + ".lock");
        File.Delete(path);
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0)
            throw new SystemCallException("socket for " + path, Errno.Last);
        sockaddr_un address = default;
        address.sun_family = AF_UNIX;
        byte[] name = Encoding.UTF8.GetBytes(path);
        const int pathBytesMax = 107;
        if (name.Length > pathBytesMax)
            throw new SystemCallException("bind " + path, Errno.EINVAL);
        name.CopyTo(new Span<byte>(address.sun_path, pathBytesMax));
        // 0600 from the first moment on: who can talk to this socket owns the data path.
        mode_t old = umask(0x3f);
        int error = bind(fd, (sockaddr*)&address, sizeof(sockaddr_un)) == 0 && listen(fd, 4) == 0 ? 0 : Errno.Last;
        umask(old);
        return error == 0 ? new ControlSocket(path, fd, lockFile) : throw new SystemCallException("bind " + path, error);
    }

    /// <summary>Takes the next control process; -1 if it has gone already.</summary>
    public int Accept() => accept4(Fd, null, null, SOCK_CLOEXEC);

    public void Dispose()
    {
        File.Delete(Path);
        close(Fd);
        _lock.Dispose();
    }

    /// <summary>
    /// The runtime maps FileShare.None to flock(2); the kernel drops the lock when its holder is gone. A forwarder that was told to
    /// exit, or killed, needs a moment for its sockets: flock offers no wait with a limit, so this asks again and again.
    /// </summary>
    private static FileStream TakeLock(string path)
    {
        for (int waitedMs = 0; ; waitedMs += LockRetryMs)
        {
            try
            {
                return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException) when (waitedMs < LockWaitMsMax)
            {
                poll(null, 0, LockRetryMs);
            }
            catch (IOException)
            {
                throw new SystemCallException($"lock {path} (does another forwarder serve this run-dir?)", Errno.EBUSY);
            }
        }
    }
}
