// Which sockets wake the loop's thread when frames arrive: all of them while it sleeps; while it runs, none that sends many frames.
//
// In copy mode the kernel tells whoever waits on a socket of each frame that has been sent by it (sock_wfree(), net/core/sock.c). An epoll
// waits all the time, also for what it was not asked for, and that is a tenth of what a frame costs. So a socket under load is taken
// out of the epoll, and put back before the thread sleeps.
using static Tmds.Linux.LibC;

namespace XenFastPath.Dataplane;

public sealed unsafe partial class PacketLoop
{
    private readonly PortQueue** _unwatched;
    private int _unwatchedCount;

    /// <summary>The epoll that the loop's thread sleeps on, in which the manager enters each socket; -1: there is none.</summary>
    public int Epoll { get; set; } = -1;

    /// <summary>Before the thread sleeps: every socket wakes it. One that has frames by now does so at once.</summary>
    public void WatchAll()
    {
        int kept = 0;
        for (int i = 0; i < _unwatchedCount; i++)
        {
            PortQueue* q = _unwatched[i];
            q->IsUnwatched = !EpollSet.Add(Epoll, q->Fd, EPOLLIN);
            if (!q->IsUnwatched)
                continue;
            // Out of memory, say. The sleep ends after Limits.IdleWaitMsMax anyway, and the next one tries again.
            _counters[(int)LoopCounter.WatchFailures]++;
            _unwatched[kept++] = q;
        }

        _unwatchedCount = kept;
    }

    /// <summary>Is it worth two system calls to send what waits in this output without an epoll looking on?</summary>
    private bool IsWorthUnwatching(PortQueue* q) =>
        Epoll >= 0 && q->Fd >= 0 && !q->IsUnwatched && (q->Flags & QueueFlags.ZeroCopy) == 0 && q->Tx.Pending() >= Limits.UnwatchFramesMin;

    private void Unwatch(PortQueue* q)
    {
        if (!EpollSet.Remove(Epoll, q->Fd))
            return;     // not entered yet
        q->IsUnwatched = true;
        _unwatched[_unwatchedCount++] = q;
    }
}
