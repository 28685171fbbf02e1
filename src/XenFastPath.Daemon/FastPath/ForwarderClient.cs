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

    /// <summary>Worker threads that it has.</summary>
    public int Workers => (int)Status->Workers;

    /// <summary>What all workers together counted for a port.</summary>
    public long Count(ushort port, PortCounter counter)
    {
        ulong sum = 0;
        for (int worker = 0; worker < Workers; worker++)
            sum += CounterMemory.Row(_counters.Address, worker, port)[(int)counter];
        return (long)sum;
    }

    /// <summary>What all workers' loops counted together; of a longest time, the longest.</summary>
    public long Count(LoopCounter counter)
    {
        ulong sum = 0;
        for (int worker = 0; worker < Workers; worker++)
        {
            ulong one = CounterMemory.Loop(_counters.Address, worker)[(int)counter];
            sum = counter == LoopCounter.RoundGapNsMax ? Math.Max(sum, one) : sum + one;
        }

        return (long)sum;
    }

    public bool IsConnected => Volatile.Read(ref _fd) >= 0;

    /// <summary>
    /// Connects and says hello. Null if no forwarder serves the run-dir; or if one does that speaks another version, which is told
    /// to exit; or if a process accepts but gives no whole answer in time. That one, <paramref name="silentPid"/>, is stopped or
    /// hangs, and must be killed before another can serve the run-dir; 0: there is none.
    /// </summary>
    /// <exception cref="FastPathException">The run-dir's path is too long for a socket.</exception>
    /// <exception cref="SystemCallException">The forwarder's memory cannot be mapped.</exception>
    public static ForwarderClient? TryConnect(string runDir, out bool isOtherVersion, out int silentPid)
    {
        isOtherVersion = false;
        silentPid = 0;
        int fd = Connect(Path.Combine(runDir, ForwarderChannel.SocketName));
        if (fd < 0)
            return null;
        ForwarderClient? client = null;
        try
        {
            client = Greet(fd, out isOtherVersion);
            if (client is null && !isOtherVersion && !HasEnded(fd))
                silentPid = PeerPid(fd);
            return client;
        }
        finally
        {
            if (client is null)
                close(fd);
        }
    }

    /// <summary>Says hello and takes what comes back; null if that is of another version, or not all of it comes.</summary>
    private static ForwarderClient? Greet(int fd, out bool isOtherVersion)
    {
        isOtherVersion = false;
        Span<int> fds = stackalloc int[ForwarderChannel.FdsMax];
        if (!ForwarderChannel.Send(fd, Message(ForwarderVerb.Hello)) || !ForwarderChannel.Receive(fd, out ForwarderMessage hello, fds, out int count))
            return null;
        isOtherVersion = hello.Protocol != ForwarderMessage.CurrentProtocol || hello.LayoutVersion != Layout.Version || count != 2;
        if (isOtherVersion)
        {
            CloseAll(fds[..count]);
            ForwarderChannel.Send(fd, Message(ForwarderVerb.Shutdown));
            return null;
        }

        Map(fds, hello, out SharedMemory counters, out SharedMemory lifeline);
        if (TryReceivePorts(fd, hello.Count, out List<ForwarderMessage> ports))
            return new ForwarderClient(fd, counters, lifeline, hello, ports);
        counters.Dispose();
        lifeline.Dispose();
        return null;
    }

    /// <summary>Maps what came with Hello. A descriptor is the mapping's from the call on, also if that fails.</summary>
    private static void Map(ReadOnlySpan<int> fds, in ForwarderMessage hello, out SharedMemory counters, out SharedMemory lifeline)
    {
        try
        {
            counters = SharedMemory.OpenReadOnly(fds[0], (long)hello.Bytes, "counters");
        }
        catch (SystemCallException)
        {
            close(fds[1]);
            throw;
        }

        try
        {
            lifeline = SharedMemory.OpenReadWrite(fds[1], Environment.SystemPageSize, "lifeline");
        }
        catch (SystemCallException)
        {
            counters.Dispose();
            throw;
        }
    }

    private static bool TryReceivePorts(int fd, uint count, out List<ForwarderMessage> ports)
    {
        ports = [];
        Span<int> fds = stackalloc int[ForwarderChannel.FdsMax];
        while (ports.Count < count)
        {
            if (!ForwarderChannel.Receive(fd, out ForwarderMessage port, fds, out int fdCount))
                return false;
            CloseAll(fds[..fdCount]);       // none is expected with these
            ports.Add(port);
        }

        return true;
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

    /// <summary>
    /// Has a bond taken in or changed; the reply says which step failed with which errno. <paramref name="slbTables"/>: the map of the
    /// balance-slb bonds; -1: the bond is none.
    /// </summary>
    public ForwarderMessage SetBond(in ForwarderMessage bond, int slbTables)
    {
        ForwarderMessage message = bond;
        message.Verb = ForwarderVerb.SetBond;
        message.Protocol = ForwarderMessage.CurrentProtocol;
        return Request(message, slbTables < 0 ? [] : [slbTables]);
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
            if (_fd >= 0 && ForwarderChannel.Send(_fd, message, fds) && ForwarderChannel.Receive(_fd, out ForwarderMessage reply, received, out int count))
            {
                CloseAll(received[..count]);        // no reply but Hello's carries any
                if (reply.Verb == message.Verb)
                    return reply;
            }

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

    private static void CloseAll(ReadOnlySpan<int> fds)
    {
        foreach (int fd in fds)
            close(fd);
    }

    /// <summary>A connected socket, or -1 if nobody listens.</summary>
    private static int Connect(string path)
    {
        const int pathBytesMax = 107;
        byte[] name = Encoding.UTF8.GetBytes(path);
        if (name.Length > pathBytesMax)
            throw new FastPathException($"{path}: a socket's path may have {pathBytesMax} bytes, this one has {name.Length}");
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0)
            return -1;
        sockaddr_un address = default;
        address.sun_family = AF_UNIX;
        name.CopyTo(new Span<byte>(address.sun_path, pathBytesMax));
        long* timeout = stackalloc long[2] { AnswerSecondsMax, 0 };     // struct timeval
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, timeout, 2 * sizeof(long));
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, timeout, 2 * sizeof(long));
        if (connect(fd, (sockaddr*)&address, sizeof(sockaddr_un)) == 0)
            return fd;
        close(fd);
        return -1;
    }

    /// <summary>Has the other end hung up, by its own will or because it died?</summary>
    private static bool HasEnded(int fd)
    {
        pollfd polled = new() { fd = fd };
        return poll(&polled, 1, 0) != 0;
    }

    /// <summary>The process that listens at the other end (SO_PEERCRED: the one that called listen); 0 if it is not in our pid namespace.</summary>
    private static int PeerPid(int fd)
    {
        int* credentials = stackalloc int[3];       // struct ucred: pid, uid, gid
        socklen_t length = 3 * sizeof(int);
        return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, &length) == 0 ? credentials[0] : 0;
    }
}
