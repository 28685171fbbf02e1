// epoll_ctl(2): what a packet thread's epoll waits for.
using XenFastPath.Interop;
using Tmds.Linux;
using static Tmds.Linux.LibC;

namespace XenFastPath.Dataplane;

/// <summary>Entries of an epoll. May be called from any thread.</summary>
public static unsafe class EpollSet
{
    /// <summary>Enters a file with the events it shall be watched for. False: errno says why; that it is there already is no failure.</summary>
    public static bool Add(int epoll, int fd, int events)
    {
        epoll_event e = default;
        e.events = events;
        return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0 || Errno.Last == Errno.EEXIST;
    }

    /// <summary>Takes a file out. False: it was not there.</summary>
    public static bool Remove(int epoll, int fd)
    {
        epoll_event unused = default;
        return epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &unused) == 0;
    }
}
