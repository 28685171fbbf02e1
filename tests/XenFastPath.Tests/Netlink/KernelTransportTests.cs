// The transport against the kernel that runs the tests, with what needs no privileges: reading, and an empty monitor.
using XenFastPath.Interop;
using XenFastPath.Netlink;

namespace XenFastPath.Tests.Netlink;

public sealed class KernelTransportTests
{
    private struct Counter : INetlinkHandler
    {
        public int Messages;

        public void Handle(NetlinkMessage message) => Messages++;
    }

    [Fact]
    public void The_loopback_is_where_it_always_is()
    {
        using var rtnl = new Rtnl();
        LinkInfo lo = rtnl.GetLink(1)!;
        Assert.True(lo.Flags.HasFlag(LinkFlags.Loopback));
        Assert.Equal(1, rtnl.GetLink(lo.Name)!.Index);
        Assert.Contains(rtnl.GetLinks(), l => l.Index == 1 && l.Name == lo.Name);
        Assert.Null(rtnl.GetLink("no-such-link"));
    }

    [Fact]
    public void A_dump_may_be_empty_or_not()
    {
        using var rtnl = new Rtnl();
        Assert.NotNull(rtnl.GetAddresses());
        Assert.NotNull(rtnl.GetQdiscs());
        Assert.NotNull(rtnl.GetFdb());
    }

    [Fact]
    public void Generic_families_have_numbers()
    {
        using var generic = new GenericNetlink();
        Assert.Equal(16, generic.GetFamily("nlctrl")!.Id);
        Assert.Null(generic.GetFamily("no-such-family"));
    }

    [Fact]
    public void A_monitor_that_hears_nothing_does_not_block()
    {
        using var monitor = new NetlinkMonitor(XenFastPath.Interop.Netlink.NETLINK_ROUTE, [RtNetlink.RTNLGRP_NSID]);
        monitor.MuteNeighbours([1, 2, 3]);
        monitor.MuteNeighbours([4]);
        monitor.MuteNeighbours([]);
        var counter = default(Counter);
        Assert.Equal(default, monitor.Drain(ref counter));
        Assert.NotEqual(-1, monitor.Fd);
    }

    [Fact]
    public void An_unknown_protocol_is_named()
    {
        NetlinkException e = Assert.Throws<NetlinkException>(() => new NetlinkSocket(31));
        Assert.StartsWith("open a netlink socket of protocol 31: EPROTONOSUPPORT", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_name_of_a_tap_has_to_fit() =>
        Assert.Throws<ArgumentException>(() => TunDevice.Create("a-name-of-sixteen"));
}
