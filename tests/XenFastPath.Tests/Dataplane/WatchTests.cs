// Which sockets are in the epoll of the loop's thread, as /proc tells.
using Tmds.Linux;
using XenFastPath.Dataplane;
using static Tmds.Linux.LibC;

namespace XenFastPath.Tests.Dataplane;

public sealed unsafe class WatchTests : IDisposable
{
    private const string A = "02:00:00:00:00:0a", B = "02:00:00:00:00:0b";

    private readonly LoopFixture _loop = new();
    private readonly int _epoll = epoll_create1(EPOLL_CLOEXEC);
    private readonly int _fd = eventfd(0, EFD_CLOEXEC);
    private readonly SimulatedPort _a, _b;

    public WatchTests()
    {
        _a = _loop.AddPort();
        _b = _loop.AddPort();
        _loop.Learn(B, _b);
        _loop.Loop.Epoll = _epoll;
        // Not a socket: each kick fails and is counted, and what waits in the ring the test takes out.
        _b.Queue->Fd = _fd;
    }

    private string Watched => string.Join(' ', File.ReadAllLines($"/proc/self/fdinfo/{_epoll}").Where(l => l.StartsWith("tfd:", StringComparison.Ordinal))
        .Select(l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1]));

    public void Dispose()
    {
        _b.Queue->Fd = -1;
        _loop.Dispose();
        close(_fd);
        close(_epoll);
    }

    [Theory]
    [InlineData(Limits.UnwatchFramesMin - 1, true)]
    [InlineData(Limits.UnwatchFramesMin, false)]
    public void A_socket_that_sends_many_frames_in_a_round_is_not_watched_until_the_thread_sleeps(int frames, bool isWatched)
    {
        Assert.True(EpollSet.Add(_epoll, _fd, EPOLLIN));
        Send(frames);
        Assert.Equal(isWatched ? $"{_fd}" : "", Watched);
        Send(frames);       // once more changes nothing
        Assert.Equal(isWatched ? $"{_fd}" : "", Watched);
        _loop.Loop.WatchAll();
        Assert.Equal($"{_fd}", Watched);
        _loop.Loop.WatchAll();
        Assert.Equal($"{_fd}", Watched);
        Send(frames);
        Assert.Equal(isWatched ? $"{_fd}" : "", Watched);
        Assert.Equal(0ul, _loop[LoopCounter.WatchFailures]);
    }

    [Fact]
    public void What_arrived_while_a_socket_was_not_watched_ends_the_sleep()
    {
        Assert.True(EpollSet.Add(_epoll, _fd, EPOLLIN));
        Send(Limits.UnwatchFramesMin);
        ulong one = 1;
        Assert.Equal(sizeof(ulong), (long)write(_fd, &one, sizeof(ulong)));
        epoll_event events = default;
        Assert.Equal(0, epoll_wait(_epoll, &events, 1, 0));
        _loop.Loop.WatchAll();
        Assert.Equal(1, epoll_wait(_epoll, &events, 1, 0));
    }

    [Fact]
    public void A_port_that_left_is_not_watched_again()
    {
        Assert.True(EpollSet.Add(_epoll, _fd, EPOLLIN));
        Send(Limits.UnwatchFramesMin);
        _loop.Command(l => l.PostForget(_b.Id));
        _loop.Command(l => l.PostDetach(_b.Id));
        _loop.Loop.WatchAll();
        Assert.Equal("", Watched);
    }

    [Fact]
    public void A_zero_copy_socket_stays_watched()
    {
        // Its driver frees no skb, and tells nobody.
        Assert.True(EpollSet.Add(_epoll, _fd, EPOLLIN));
        _b.Queue->Flags = QueueFlags.ZeroCopy;
        Send(Limits.UnwatchFramesMin);
        Assert.Equal($"{_fd}", Watched);
    }

    [Fact]
    public void A_socket_that_the_manager_has_not_entered_yet_is_left_to_it()
    {
        Send(Limits.UnwatchFramesMin);
        Assert.False(_b.Queue->IsUnwatched);
        _loop.Loop.WatchAll();
        Assert.Equal("", Watched);
    }

    [Fact]
    public void One_that_cannot_be_watched_is_counted_and_tried_again()
    {
        Assert.True(EpollSet.Add(_epoll, _fd, EPOLLIN));
        Send(Limits.UnwatchFramesMin);
        _b.Queue->Fd = int.MaxValue;
        _loop.Loop.WatchAll();
        Assert.Equal(1ul, _loop[LoopCounter.WatchFailures]);
        Assert.Equal("", Watched);
        _b.Queue->Fd = _fd;
        _loop.Loop.WatchAll();
        Assert.Equal(1ul, _loop[LoopCounter.WatchFailures]);
        Assert.Equal($"{_fd}", Watched);
    }

    private void Send(int frames)
    {
        for (int i = 0; i < frames; i++)
            Assert.True(_a.Deliver(Frames.Ethernet(B, A, 0x88b5, new byte[100])));
        _loop.Round();
        int sent = _b.TakeSent().Count;
        _loop.Round();      // a batch ends where the ring does
        Assert.Equal(frames, sent + _b.TakeSent().Count);
        _b.Complete();
        _loop.Round();
    }
}
