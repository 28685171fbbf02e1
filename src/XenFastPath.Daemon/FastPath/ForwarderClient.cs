// Control's end of RUN_DIR/forwarder.sock.
using System.Text;
using Tmds.Linux;
using XenFastPath.Dataplane;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;

namespace XenFastPath.Daemon.FastPath;

/// <summary>The forwarder does not answer, or has gone.</summary>
internal sealed class ForwarderGoneException(string what) : FastPathException(what);

/// <summary>
/// A connection to one forwarder. Requests are answered one by one; the lock makes it usable from several threads. A forwarder
/// that does not answer within <see cref="AnswerSecondsMax"/> is given up: the connection is closed.
/// </summary>
internal sealed unsafe class ForwarderClient : IDisposable
{
    private const int AnswerSecondsMax = 5;

    private readonly Lock _lock = new();
    private readonly SharedMemory _counters;
    private int _fd;

    private ForwarderClient(int fd, SharedMemory counters, SharedMemory lifeline, in ForwarderMessage hello, List<ForwarderMessage> ports)
    {
        _fd = fd;
        _counters = counters;
        Lifeline = lifeline;
        Pid = hello.Pid;
        MapId = hello.MapId;
        NetnsInode = hello.NetnsInode;
        Ports = ports;
    }

    public int Pid { get; }

    /// <summary>Id of the XSKMAP it works with; 0 if it has none yet.</summary>
    public uint MapId { get; }

    /// <summary>The network namespace it lives in.</summary>
    public ulong NetnsInode { get; }

    /// <summary>The ports that it served when we connected.</summary>
    public IReadOnlyList<ForwarderMessage> Ports { get; }

    /// <summary>The lifeline mutex; it stays mapped as long as the process lives, because a thread waits in it.</summary>
    public SharedMemory Lifeline { get; }

    public ForwarderStatus* Status => (ForwarderStatus*)_counters.Address;

    /// <summary>A port's row, indexed by <see cref="PortCounter"/>.</summary>
    public ulong* Row(ushort port) => CounterMemory.Row(_counters.Address, port);

    public bool IsConnected => Volatile.Read(ref _fd) >= 0;

    /// <summary>Connects and says hello; null if no forwarder serves the run-dir, or one that speaks another version.</summary>
    public static ForwarderClient? TryConnect(string runDir, out bool isOtherVersion)
    {
        isOtherVersion = false;
        int fd = Connect(Path.Combine(runDir, ForwarderChannel.SocketName));
        if (fd < 0)
            return null;
        Span<int> fds = stackalloc int[ForwarderChannel.FdsMax];
        ForwarderMessage request = Message(ForwarderVerb.Hello);
        if (!ForwarderChannel.Send(fd, request) || !ForwarderChannel.Receive(fd, out ForwarderMessage hello, fds, out int count))
        {
            close(fd);
            return null;
        }

        isOtherVersion = hello.Protocol != ForwarderMessage.CurrentProtocol || hello.LayoutVersion != Layout.Version || count != 2;
        if (isOtherVersion)
        {
            foreach (int received in fds[..count])
                close(received);
            ForwarderChannel.Send(fd, Message(ForwarderVerb.Shutdown));
            close(fd);
            return null;
        }

        SharedMemory counters = SharedMemory.OpenReadOnly(fds[0], (long)hello.Bytes, "counters");
        SharedMemory lifeline = SharedMemory.OpenReadWrite(fds[1], Environment.SystemPageSize, "lifeline");
        List<ForwarderMessage> ports = [];
        while (ports.Count < hello.Count && ForwarderChannel.Receive(fd, out ForwarderMessage port, fds, out _))
            ports.Add(port);
        return new ForwarderClient(fd, counters, lifeline, hello, ports);
    }

    public void SetMaps(BpfMaps maps) => Succeed(Request(Message(ForwarderVerb.SetMaps), [maps.Xsks, maps.PortsFd, maps.HeartbeatsFd]), "take the maps");

    public void SetTable(MacTableWriter table)
    {
        ForwarderMessage message = Message(ForwarderVerb.SetTable);
        message.Bytes = (ulong)table.Bytes;
        Succeed(Request(message, [table.Fd]), "take the MAC table");
    }

    /// <summary>Has a port opened; the reply says which mode, or which step failed with which errno.</summary>
    public ForwarderMessage AddPort(in ForwarderMessage port)
    {
        ForwarderMessage message = port;
        message.Verb = ForwarderVerb.AddPort;
        message.Protocol = ForwarderMessage.CurrentProtocol;
        return Request(message, []);
    }

    public void RemovePort(ushort port)
    {
        ForwarderMessage message = Message(ForwarderVerb.RemovePort);
        message.Port = port;
        Request(message, []);
    }

    /// <summary>Waits until every frame that waits in an RX ring now is through.</summary>
    public void Barrier() => Request(Message(ForwarderVerb.Barrier), []);

    /// <summary>Does every frame have exactly one owner?</summary>
    public bool Audit() => Request(Message(ForwarderVerb.Audit), []).Error == 0;

    public void Shutdown() => Request(Message(ForwarderVerb.Shutdown), []);

    public void Dispose()
    {
        lock (_lock)
            Close();
        // Counters stay mapped: a reader of statistics may still look at them. One forwarder's life leaves 2 MiB of address space.
    }

    private ForwarderMessage Request(in ForwarderMessage message, ReadOnlySpan<int> fds)
    {
        lock (_lock)
        {
            Span<int> received = stackalloc int[ForwarderChannel.FdsMax];
            if (_fd >= 0 && ForwarderChannel.Send(_fd, message, fds)
                && ForwarderChannel.Receive(_fd, out ForwarderMessage reply, received, out _) && reply.Verb == message.Verb)
                return reply;
            Close();
            throw new ForwarderGoneException($"the forwarder (pid {Pid}) does not answer");
        }
    }

    private void Close()
    {
        if (_fd >= 0)
            close(_fd);
        _fd = -1;
    }

    private static void Succeed(in ForwarderMessage reply, string what)
    {
        if (reply.Error != 0)
            throw new ForwarderGoneException($"the forwarder cannot {what}: {Errno.Describe(reply.Error)}");
    }

    private static ForwarderMessage Message(ForwarderVerb verb) =>
        new() { Verb = verb, Protocol = ForwarderMessage.CurrentProtocol, LayoutVersion = Layout.Version };

    private static int Connect(string path)
    {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0)
            return -1;
        sockaddr_un address = default;
        address.sun_family = AF_UNIX;
        Encoding.UTF8.GetBytes(path, new Span<byte>(address.sun_path, 107));
        long* timeout = stackalloc long[2] { AnswerSecondsMax, 0 };     // struct timeval
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, timeout, 2 * sizeof(long));
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, timeout, 2 * sizeof(long));
        if (connect(fd, (sockaddr*)&address, sizeof(sockaddr_un)) == 0)
            return fd;
        close(fd);
        return -1;
    }
}
