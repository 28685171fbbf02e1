// What is shown of a bond.
using XenFastPath.Api;
using XenFastPath.Daemon.Control;
using XenFastPath.Model;
using XenFastPath.Tests.Reconcile;

namespace XenFastPath.Tests.Daemon;

public sealed class BondViewTests
{
    private readonly Host _host = new();

    [Fact]
    public void Balance_slb_shows_what_each_member_carries_and_what_became_of_frames()
    {
        BondInfo bond = Shown(BondingMode.BalanceSlb);
        int[] cards = [.. bond.Members.Select(m => _host.Kernel.Find(m.Device)!.Index)];
        Assert.Equal(cards.Select(c => new BondShareInfo(100 + c, 256, 1000 * c)), bond.Members.Select(m => m.Share!));
        Assert.Equal([KeyValuePair.Create("out_bucket", (long)bond.Ifindex!)], bond.Counters!);
    }

    [Fact]
    public void Other_modes_do_not()
    {
        BondInfo bond = Shown(BondingMode.ActiveBackup);
        Assert.Equal(2, bond.Members.Count);
        Assert.All(bond.Members, m => Assert.Null(m.Share));
        Assert.Null(bond.Counters);
    }

    private BondInfo Shown(BondingMode mode)
    {
        _host.AddNic("eth0", 1);
        _host.AddNic("eth1", 2);
        _host.Bond("bond0", mode, _host.Create("lan"), "eth0", "eth1");
        _host.Converge();
        return Views.Of(_host.State.BondOf("bond0"), _host.State, _host.Look(), _host.FastPath.Slb);
    }
}
