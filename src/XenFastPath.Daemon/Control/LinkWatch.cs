// Listens to the kernel's notifications about links, addresses, qdiscs, filters, nftables and XDP features: each means that the
// controller looks again.
using Tmds.Linux;
using XenFastPath.Interop;
using XenFastPath.Netlink;
using static Tmds.Linux.LibC;

namespace XenFastPath.Daemon.Control;

/// <summary>A thread that sleeps until something changes. What changed it does not say: the next look shows it.</summary>
internal sealed unsafe class LinkWatch : IDisposable
{
    private const uint NFNLGRP_NFTABLES = 7;

    /// <summary>
    /// After an event the next ones are collected for so long. Who changes thousands of links sends one every 100 us, often the
    /// controller itself; to be woken for each costs the sender as much as its change.
    /// </summary>
    private const int CollectMs = 2;

    private readonly NetlinkMonitor _route = new(Interop.Netlink.NETLINK_ROUTE, 
        [RtNetlink.RTNLGRP_LINK, RtNetlink.RTNLGRP_TC, RtNetlink.RTNLGRP_IPV4_IFADDR, RtNetlink.RTNLGRP_IPV6_IFADDR]);
    private readonly NetlinkMonitor? _nftables, _netdev;
    private Action _changed = () => { };
    private readonly int _wake = eventfd(0, EFD_CLOEXEC);
    private readonly Thread _thread;
    private bool _stop;

    /// <summary>Listens; what it hears before <see cref="Start"/> it tells then.</summary>
    public LinkWatch(GenericNetlink generic)
    {
        try
        {
            _nftables = new NetlinkMonitor(Interop.Netlink.NETLINK_NETFILTER, [NFNLGRP_NFTABLES]);
        }
        catch (NetlinkException)
        {
            // A kernel without nf_tables has none that could change.
        }

        // Which devices take XDP frames changes without any event of the link. Not before kernel 6.3.
        if (generic.GetFamily(NetdevNetlink.NETDEV_FAMILY_NAME)?.Groups.GetValueOrDefault(NetdevNetlink.NETDEV_MCGRP_MGMT) is { } group and not 0)
            _netdev = new NetlinkMonitor(Interop.Netlink.NETLINK_GENERIC, [group]);
        _thread = new Thread(Loop) { IsBackground = true, Name = "link-watch" };
    }

    /// <summary>Calls <paramref name="changed"/> on its own thread from now on.</summary>
    public void Start(Action changed)
    {
        _changed = changed;
        _thread.Start();
    }

    public void Dispose()
    {
        Volatile.Write(ref _stop, true);
        ulong one = 1;
        Libc.write(_wake, &one, sizeof(ulong));
        if (_thread.IsAlive)
            _thread.Join();
        _route.Dispose();
        _nftables?.Dispose();
        _netdev?.Dispose();
        close(_wake);
    }

    private void Loop()
    {
        pollfd* polled = stackalloc pollfd[4];
        polled[0] = new pollfd { fd = _route.Fd, events = POLLIN };
        polled[1] = new pollfd { fd = _nftables?.Fd ?? -1, events = POLLIN };
        polled[2] = new pollfd { fd = _netdev?.Fd ?? -1, events = POLLIN };
        polled[3] = new pollfd { fd = _wake, events = POLLIN };
        while (!Volatile.Read(ref _stop))
        {
            poll(polled, 4, -1);
            Ignore ignore = default;
            // The queue is emptied first: what comes in after it makes another poke.
            if (polled[0].revents != 0)
                _route.Drain(ref ignore);
            if (polled[1].revents != 0)
                _nftables!.Drain(ref ignore);
            if (polled[2].revents != 0)
                _netdev!.Drain(ref ignore);
            if (polled[0].revents == 0 && polled[1].revents == 0 && polled[2].revents == 0)
                continue;
            _changed();
            poll(polled + 3, 1, CollectMs);
        }
    }

    private readonly struct Ignore : INetlinkHandler
    {
        public void Handle(NetlinkMessage message)
        {
        }
    }
}
