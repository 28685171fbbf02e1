// A device that was to join a Network, and may not after all, is what it was.
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Tests.Reconcile;

public sealed class GiveBackTests
{
    [Theory]
    [InlineData(true, false)]       // a bond sets down what leaves it
    [InlineData(false, true)]
    [InlineData(true, true)]
    public void A_device_is_what_it_was(bool wasUp, bool isUp)
    {
        Host host = new();
        LinkInfo was = host.AddNic("eth0", 1) with { Flags = wasUp ? LinkFlags.Up : 0 };
        host.Kernel.Edit(was.Index, l => l with { Mtu = 9000, Flags = isUp ? LinkFlags.Up : 0 });
        new Applier(host.Kernel.Rtnl, host.Kernel.Generic, host.FastPath).GiveBack(was, host.Kernel.Find("eth0")!);
        Assert.Equal((1500, wasUp), (host.Kernel.Find("eth0")!.Mtu, host.Kernel.Find("eth0")!.IsUp));
    }
}
