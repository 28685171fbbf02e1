// The kernel bridge, made with ip(8): what every ratio is against.
using XenFastPath.Netlink;
using XenFastPath.Rig.Lab;

namespace XenFastPath.Rig.Arms;

internal sealed class BridgeArm : Arm
{
    public const string ArmName = "bridge";
    public const string Device = "xenbr0";

    public override string Name => ArmName;

    public override bool FinishesChecksums => true;

    public override string Describe() => "the kernel bridge, made with `ip`; bridge-nf-call-* are 0";

    public override string? WhyNot() => null;

    public override IDisposable Start(Site site, Learning learning)
    {
        Make(site, learning);
        return new Parts();
    }

    /// <summary>The bridge with both ports, and with the addresses learned from frames.</summary>
    public static void Make(Site site, Learning learning)
    {
        site.Dom0.Run("ip", "link", "add", Device, "type", "bridge", "mcast_snooping", "0");
        site.Dom0.Run("ip", "link", "set", Device, "up");
        foreach (Station station in site.Stations)
            site.Dom0.Run("ip", "link", "set", station.Near, "master", Device);
        learning.Until(() => site.Dom0.Inside(Learned));
    }

    private static int Learned()
    {
        using Rtnl rtnl = new();
        int bridge = Station.IfindexOf(Device);
        return rtnl.GetFdb(bridge).Count(e => e.MasterIndex == bridge && e.State is not FdbState.Permanent);
    }
}
