// Listens to the kernel's notifications about links, qdiscs, filters and nftables: each means that the controller looks again.
using Tmds.Linux;
using XenFastPath.Interop;
using XenFastPath.Netlink;
using static Tmds.Linux.LibC;

namespace XenFastPath.Daemon.Control;

/// <summary>A thread that sleeps until something changes. What changed it does not say: the next look shows it.</summary>
internal sealed unsafe class LinkWatch : IDisposable
{
    private const uint NFNLGRP_NFTABLES = 7;

    private readonly NetlinkMonitor _route = new(Interop.Netlink.NETLINK_ROUTE, [RtNetlink.RTNLGRP_LINK, RtNetlink.RTNLGRP_TC]);
    private readonly NetlinkMonitor? _nftables;
    private readonly Action _changed;
    private readonly int _wake = eventfd(0, EFD_CLOEXEC);
    private readonly Thread _thread;
    private bool _stop;

    public LinkWatch(Action changed)
    {
        _changed = changed;
        try
        {
            _nftables = new NetlinkMonitor(Interop.Netlink.NETLINK_NETFILTER, [NFNLGRP_NFTABLES]);
        }
        catch (NetlinkException)
        {
            // A kernel without nf_tables has none that could change.
        }

        _thread = new Thread(Loop) { IsBackground = true, Name = "link-watch" };
    }

    public void Start() => _thread.Start();

    public void Dispose()
    {
        Volatile.Write(ref _stop, true);
        ulong one = 1;
        Libc.write(_wake, &one, sizeof(ulong));
        _thread.Join();
        _route.Dispose();
        _nftables?.Dispose();
        close(_wake);
    }

    private void Loop()
    {
        pollfd* polled = stackalloc pollfd[3];
        polled[0] = new pollfd { fd = _route.Fd, events = POLLIN };
        polled[1] = new pollfd { fd = _nftables?.Fd ?? -1, events = POLLIN };
        polled[2] = new pollfd { fd = _wake, events = POLLIN };
        while (!Volatile.Read(ref _stop))
        {
            poll(polled, 3, -1);
            Ignore ignore = default;
            // The queue is emptied first: what comes in after it makes another poke.
            if (polled[0].revents != 0)
                _route.Drain(ref ignore);
            if (polled[1].revents != 0)
                _nftables!.Drain(ref ignore);
            if (polled[0].revents != 0 || polled[1].revents != 0)
                _changed();
        }
    }

    private readonly struct Ignore : INetlinkHandler
    {
        public void Handle(NetlinkMessage message)
        {
        }
    }
}
