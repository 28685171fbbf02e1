using System.Text;
using Tmds.Linux;
using XenFastPath.Daemon.FastPath;
using XenFastPath.Dataplane;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;

namespace XenFastPath.Tests.Dataplane;

/// <summary>Control connects to what serves a run-dir: a forwarder, something that stands still, or nothing.</summary>
public sealed unsafe class ForwarderClientTests : IDisposable
{
    private readonly DirectoryInfo _runDir = Directory.CreateTempSubdirectory("xfp-");
    private readonly SharedMemory _counters = SharedMemory.Create("counters", CounterMemory.Bytes(1));
    private readonly SharedMemory _lifeline = SharedMemory.Create("lifeline", Environment.SystemPageSize);
    private int _listener;

    public ForwarderClientTests()
    {
        _listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        sockaddr_un address = default;
        address.sun_family = AF_UNIX;
        Encoding.UTF8.GetBytes(SocketPath, new Span<byte>(address.sun_path, 107));
        Assert.Equal(0, bind(_listener, (sockaddr*)&address, sizeof(sockaddr_un)));
        Assert.Equal(0, listen(_listener, 4));
    }

    public void Dispose()
    {
        close(_listener);
        _counters.Dispose();
        _lifeline.Dispose();
        _runDir.Delete(recursive: true);
    }

    [Fact]
    public void A_forwarder_that_answers_is_connected_to_with_its_ports()
    {
        using TracedFd stray = new();
        Thread server = Serve(fd =>
        {
            ForwarderChannel.Send(fd, Hello(ports: 2), [_counters.Fd, _lifeline.Fd]);
            ForwarderChannel.Send(fd, new ForwarderMessage { Verb = ForwarderVerb.PortInfo, Port = 5 }, [stray.Value]);
            ForwarderChannel.Send(fd, new ForwarderMessage { Verb = ForwarderVerb.PortInfo, Port = 6 });
            Receive(fd, out ForwarderMessage request);
            ForwarderChannel.Send(fd, new ForwarderMessage { Verb = request.Verb }, [stray.Value]);
            Receive(fd, out _);
        });
        using (ForwarderClient client = Connect(out bool isOtherVersion, out int silentPid)!)
        {
            Assert.False(isOtherVersion);
            Assert.Equal(0, silentPid);
            Assert.Equal(4711, client.Pid);
            Assert.Equal([5u, 6u], client.Ports.Select(p => p.Port));
            Assert.True(client.Audit());
            client.Lifeline.Dispose();
        }

        server.Join();
        stray.AssertAllClosed();
    }

    [Fact]
    public void Nobody_serves_the_run_dir()
    {
        close(_listener);
        _listener = -1;     // its number may be another's now
        Assert.Null(Connect(out bool isOtherVersion, out int silentPid));
        Assert.False(isOtherVersion);
        Assert.Equal(0, silentPid);
    }

    [Fact]
    public void Another_version_is_told_to_exit()
    {
        using TracedFd traced = new();
        ForwarderVerb said = default;
        Thread server = Serve(fd =>
        {
            ForwarderChannel.Send(fd, Hello(ports: 0) with { LayoutVersion = 99 }, [traced.Value]);
            Receive(fd, out ForwarderMessage message);
            said = message.Verb;
        });
        Assert.Null(Connect(out bool isOtherVersion, out int silentPid));
        Assert.True(isOtherVersion);
        Assert.Equal(0, silentPid);
        server.Join();
        Assert.Equal(ForwarderVerb.Shutdown, said);
        traced.AssertAllClosed();
    }

    [Fact]
    public void A_peer_that_hangs_up_is_not_silent()
    {
        Thread server = Serve(_ => { });
        Assert.Null(Connect(out bool isOtherVersion, out int silentPid));
        Assert.False(isOtherVersion);
        Assert.Equal(0, silentPid);
        server.Join();
    }

    [Theory]
    [InlineData("nothing")]
    [InlineData("short")]
    [InlineData("no ports")]
    public void Who_accepts_and_does_not_answer_in_full_is_named(string answer)
    {
        using ManualResetEventSlim done = new();
        Thread server = Serve(fd =>
        {
            int word = 0;
            if (answer == "short")
                Libc.write(fd, &word, sizeof(int));
            else if (answer == "no ports")
                ForwarderChannel.Send(fd, Hello(ports: 1), [_counters.Fd, _lifeline.Fd]);
            done.Wait();
        });
        Assert.Null(Connect(out bool isOtherVersion, out int silentPid));
        Assert.False(isOtherVersion);
        Assert.Equal(Environment.ProcessId, silentPid);
        done.Set();
        server.Join();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Memory_that_cannot_be_mapped_leaves_no_descriptor_behind(int bad)
    {
        using TracedFd traced = new();
        bool hungUp = false;
        Thread server = Serve(fd =>
        {
            // A pipe cannot be mapped.
            int[] fds = [_counters.Fd, _lifeline.Fd];
            fds[bad] = traced.Value;
            ForwarderChannel.Send(fd, Hello(ports: 0), fds);
            hungUp = !Receive(fd, out _);
        });
        SystemCallException e = Assert.Throws<SystemCallException>(() => Connect(out _, out _));
        Assert.Contains(bad == 0 ? "counters" : "lifeline", e.Message, StringComparison.Ordinal);
        server.Join();
        Assert.True(hungUp);
        traced.AssertAllClosed();
    }

    [Fact]
    public void A_run_dir_that_is_too_long_for_a_socket_is_named()
    {
        string runDir = "/run/" + new string('x', 100);
        FastPathException e = Assert.Throws<FastPathException>(() => ForwarderClient.TryConnect(runDir, out _, out _));
        Assert.Contains(runDir, e.Message, StringComparison.Ordinal);
    }

    private string SocketPath => Path.Combine(_runDir.FullName, ForwarderChannel.SocketName);

    private ForwarderClient? Connect(out bool isOtherVersion, out int silentPid) =>
        ForwarderClient.TryConnect(_runDir.FullName, out isOtherVersion, out silentPid);

    private static ForwarderMessage Hello(uint ports) => new()
    {
        Verb = ForwarderVerb.Hello,
        Protocol = ForwarderMessage.CurrentProtocol,
        LayoutVersion = Layout.Version,
        Pid = 4711,
        Count = ports,
        Bytes = (ulong)CounterMemory.Bytes(1),
    };

    private static bool Receive(int fd, out ForwarderMessage message) => ForwarderChannel.Receive(fd, out message, new int[ForwarderChannel.FdsMax], out _);

    /// <summary>Accepts one connection, takes its hello, does as told, hangs up.</summary>
    private Thread Serve(Action<int> answer)
    {
        Thread thread = new(() =>
        {
            int fd = accept4(_listener, null, null, SOCK_CLOEXEC);
            Receive(fd, out _);
            answer(fd);
            close(fd);
        });
        thread.Start();
        return thread;
    }
}
