using Tmds.Linux;
using XenFastPath.Dataplane;
using static Tmds.Linux.LibC;

namespace XenFastPath.Tests.Dataplane;

/// <summary>A pipe whose write end is sent about: when all its copies are closed, the read end says so.</summary>
internal sealed unsafe class TracedFd : IDisposable
{
    private readonly int _read;
    private int _write;

    public TracedFd()
    {
        int* ends = stackalloc int[2];
        Assert.Equal(0, pipe2(ends, O_CLOEXEC));
        (_read, _write) = (ends[0], ends[1]);
    }

    /// <summary>A number to send, or a duplicate to give away.</summary>
    public int Value => _write;

    public void AssertAllClosed()
    {
        close(_write);
        _write = -1;
        // A process that some other test starts meanwhile may hold a copy until its exec.
        pollfd polled = new() { fd = _read };
        Assert.Equal(1, poll(&polled, 1, 2000));
    }

    public void Dispose()
    {
        close(_read);
        if (_write >= 0)
            close(_write);
    }
}

public sealed unsafe class ForwarderChannelTests : IDisposable
{
    private readonly int[] _ends = new int[2];

    public ForwarderChannelTests()
    {
        fixed (int* ends = _ends)
            Assert.Equal(0, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
    }

    public void Dispose()
    {
        close(_ends[0]);
        close(_ends[1]);
    }

    [Fact]
    public void A_message_arrives_with_its_descriptors()
    {
        using TracedFd first = new(), second = new();
        int[] fds = [-1, -1, -1, -1];
        Assert.True(ForwarderChannel.Send(_ends[0], new ForwarderMessage { Verb = ForwarderVerb.SetTable, Bytes = 77 }, [first.Value, second.Value]));
        Assert.True(ForwarderChannel.Receive(_ends[1], out ForwarderMessage message, fds, out int count));
        Assert.Equal(ForwarderVerb.SetTable, message.Verb);
        Assert.Equal(77ul, message.Bytes);
        Assert.Equal(2, count);
        close(fds[0]);
        close(fds[1]);
        first.AssertAllClosed();
        second.AssertAllClosed();
    }

    [Fact]
    public void Descriptors_beyond_what_the_caller_expects_are_closed()
    {
        using TracedFd first = new(), second = new();
        int[] fds = [-1];
        Assert.True(ForwarderChannel.Send(_ends[0], default, [first.Value, second.Value]));
        Assert.True(ForwarderChannel.Receive(_ends[1], out _, fds, out int count));
        Assert.Equal(1, count);
        second.AssertAllClosed();
        close(fds[0]);
        first.AssertAllClosed();
    }

    [Fact]
    public void Descriptors_of_a_message_that_is_too_short_are_closed()
    {
        using TracedFd traced = new();
        SendShort(_ends[0], traced.Value);
        int[] fds = [-1, -1, -1, -1];
        Assert.False(ForwarderChannel.Receive(_ends[1], out _, fds, out int count));
        Assert.Equal(0, count);
        traced.AssertAllClosed();
    }

    [Fact]
    public void A_peer_that_is_gone_ends_a_receive()
    {
        close(_ends[0]);
        _ends[0] = -1;      // its number may be another's now
        Assert.False(ForwarderChannel.Receive(_ends[1], out _, new int[4], out int count));
        Assert.Equal(0, count);
        Assert.False(ForwarderChannel.Send(_ends[1], default));
    }

    private static void SendShort(int socket, int fd)
    {
        byte* control = stackalloc byte[64];
        int four = 4;
        iovec vector = new() { iov_base = &four, iov_len = sizeof(int) };
        msghdr header = new() { msg_iov = &vector, msg_iovlen = 1, msg_control = control, msg_controllen = CMSG_SPACE(sizeof(int)) };
        cmsghdr* rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(0) + sizeof(int);
        *(int*)CMSG_DATA(rights) = fd;
        Assert.Equal(sizeof(int), (int)sendmsg(socket, &header, 0));
    }
}
