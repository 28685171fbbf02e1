// The thread that runs a packet loop: sleeps when there is nothing to do, wakes on frames or on the manager's word.
using Tmds.Linux;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;

namespace XenFastPath.Dataplane;

/// <summary>
/// One packet thread. Its sleep is an epoll wait on the RX side of every socket, never longer than the heartbeat allows. The
/// manager's half (Watch, <see cref="Complete"/>) may be called from one other thread.
/// </summary>
public sealed unsafe class LoopThread : IDisposable
{
    private const int EventsMax = 64;
    private const int EpollEventBytesMax = 16;

    private readonly ulong* _counters;
    private readonly Thread _thread;
    private readonly int _epoll;
    private readonly int _wake;
    private readonly int _done;
    private readonly int _cpu;
    private readonly ulong _pollNs;
    private bool _stop;

    /// <summary>
    /// Prepares a thread for the loop; <paramref name="counters"/> as the loop's. <paramref name="cpu"/> &lt; 0: any CPU. After its last
    /// frame it looks for more for <paramref name="busyPollUs"/> before it sleeps.
    /// </summary>
    public LoopThread(PacketLoop loop, ulong* counters, int number, int cpu, int busyPollUs)
    {
        Loop = loop;
        _counters = counters;
        _cpu = cpu;
        _pollNs = (ulong)busyPollUs * 1000;
        _epoll = epoll_create1(EPOLL_CLOEXEC);
        _wake = _epoll < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        _done = _wake < 0 ? -1 : eventfd(0, EFD_CLOEXEC);
        if (_done < 0)
            throw Closing(_epoll < 0 ? "epoll_create1 for the packet thread" : "eventfd for the packet thread");
        loop.CommandDone = &Signal;
        loop.CommandDoneArgument = _done;
        loop.Wake = &Signal;
        loop.WakeArgument = _wake;
        loop.Epoll = _epoll;
        // Edge triggered: the loop need not read it, and an idle round costs one system call.
        if (!EpollSet.Add(_epoll, _wake, EPOLLIN | EPOLLET))
            throw Closing("epoll_ctl: add the packet thread's eventfd");
        _thread = new Thread(Run, maxStackSize: 256 * 1024) { IsBackground = true, Name = $"packet-loop-{number}" };
    }

    /// <summary>What it runs.</summary>
    public PacketLoop Loop { get; }

    /// <summary>Starts the thread.</summary>
    public void Start() => _thread.Start();

    /// <summary>Manager: wakes the loop when frames arrive on this socket.</summary>
    public bool Watch(int fd) => EpollSet.Add(_epoll, fd, EPOLLIN);

    /// <summary>Manager: the socket is about to be closed; the loop does not serve it any more, and so does not watch it again.</summary>
    public void Unwatch(int fd) => EpollSet.Remove(_epoll, fd);

    /// <summary>Manager: has the loop look at the command just posted, and does not wait for it.</summary>
    public void Begin() => Signal(_wake);

    /// <summary>Manager: waits until the command just posted to the loop is done; returns its result.</summary>
    public long Complete()
    {
        Signal(_wake);
        ulong count;
        while (!Loop.IsIdle)
            read(_done, &count, sizeof(ulong));
        return Loop.Result;
    }

    /// <summary>Ends the thread and waits for it.</summary>
    public void Dispose()
    {
        Volatile.Write(ref _stop, true);
        Signal(_wake);
        if (_thread.IsAlive)
            _thread.Join();
        Close();
    }

    private void Close()
    {
        foreach (int fd in (ReadOnlySpan<int>)[_epoll, _wake, _done])
        {
            if (fd >= 0)
                close(fd);
        }
    }

    private SystemCallException Closing(string step)
    {
        SystemCallException error = new(step, Errno.Last);
        Close();
        return error;
    }

    private void Run()
    {
        if (_cpu >= 0)
            PinToCpu();
        byte* events = stackalloc byte[EventsMax * EpollEventBytesMax];
        ulong nowNs = Clock.NowNs(), workNs = nowNs;
        while (!Volatile.Read(ref _stop))
        {
            uint work = Loop.Round(nowNs);
            if (_pollNs != 0)
                Loop.Poll();
            if (work == 0)
            {
                if (nowNs - workNs < _pollNs)
                {
                    nowNs = Clock.NowNs();
                    continue;
                }

                _counters[(int)LoopCounter.IdleWaits]++;
                Wait(events);
                nowNs = Clock.NowNs();
                continue;
            }

            ulong startNs = nowNs;
            workNs = nowNs = Clock.NowNs();
            if (nowNs - startNs > _counters[(int)LoopCounter.RoundGapNsMax])
                _counters[(int)LoopCounter.RoundGapNsMax] = nowNs - startNs;
        }
    }

    private void Wait(byte* events)
    {
        int timeoutMs = Loop.IsBacklogged ? Limits.BackloggedWaitMsMax : Limits.IdleWaitMsMax;
        if (!Loop.TrySleep())
            return;
        Loop.WatchAll();
        // The loop scans all its queues anyway, so which of them woke it does not matter. A signal (EINTR) is as good as a timeout.
        Libc.epoll_wait(_epoll, events, EventsMax, timeoutMs);
        Loop.WakeUp();
    }

    /// <summary>Thread id 0 is the calling thread; a process id would move the main thread.</summary>
    private void PinToCpu()
    {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(_cpu, &set);
        sched_setaffinity(0, sizeof(cpu_set_t), &set);
    }

    private static void Signal(nint fd)
    {
        ulong one = 1;
        Libc.write((int)fd, &one, sizeof(ulong));
    }
}
