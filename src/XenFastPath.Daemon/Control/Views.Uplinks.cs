// What the API shows of VLANs, of bonds, and of what a card can do.
using XenFastPath.Api;
using XenFastPath.Daemon.FastPath;
using XenFastPath.Dataplane;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.Control;

internal static partial class Views
{
    public static VlanInfo Of(Vlan vlan, HostState state, Observed observed, FastPathManager fastPath)
    {
        Network network = state.NetworkOf(vlan.Network);
        string pif = state.PifOf(vlan.Pif).Device;
        return observed.DeviceOf(vlan, state) is not { } device
            ? new VlanInfo(vlan.Uuid, vlan.Device, null, pif, vlan.Tag, network.Label, 0, false, "missing", null, null)
            : new VlanInfo(vlan.Uuid, device.Name, device.Index, pif, vlan.Tag, network.Label, device.Mtu, device.IsLowerUp, StateOf(device),
                PathOf(network, device, true, observed, fastPath), CountersOf(device, fastPath));
    }

    public static BondInfo Of(Bond bond, HostState state, Observed observed, ISlb slb)
    {
        Pif master = state.MasterOf(bond);
        LinkInfo? device = observed.DeviceOf(master);
        SlbReport? report = device is null ? null : slb.ReportOf(device.Index);
        BondMemberInfo[] members = [.. bond.Members.Select((m, i) => MemberOf(state.PifOf(m), i == 0, device, observed, report))];
        MacAddress? partner = device?.Bond?.Aggregator?.PartnerAddress;
        return new BondInfo(bond.Uuid, device?.Name ?? bond.Device, device?.Index, BondWords.Word(bond.Mode),
            master.Network is { } network ? state.NetworkOf(network).Label : null, device?.Address?.ToString() ?? master.Mac,
            BondWords.All(bond.Mode, bond.Properties), device is null ? "missing" : StateOf(device), members,
            partner is { } mac && mac != default ? mac.ToString() : null, report?.Counters);
    }

    private static BondMemberInfo MemberOf(Pif member, bool isPrimary, LinkInfo? bond, Observed observed, SlbReport? report)
    {
        if (observed.DeviceOf(member) is not { } device)
            return new BondMemberInfo(member.Device, isPrimary, "missing", false, null, 0);
        if (bond is null || device.MasterIndex != bond.Index || device.BondSlave is not { } slave)
            return new BondMemberInfo(device.Name, isPrimary, "down", device.IsLowerUp, SpeedOf(device), 0);
        string state = slave.MiiStatus switch
        {
            BondMiiStatus.Fail => "going-down",
            BondMiiStatus.Down => "down",
            BondMiiStatus.Back => "coming-up",
            _ => slave.State == BondSlaveState.Active ? "active" : "backup",
        };
        BondShareInfo? share = report?.Members.FirstOrDefault(m => m.Ifindex == device.Index) is { } carries
            ? new BondShareInfo(carries.Buckets, SlbLayout.Buckets, carries.LoadBytes) : null;
        return new BondMemberInfo(device.Name, isPrimary, state, device.IsLowerUp, SpeedOf(device), slave.LinkFailures, share);
    }

    private static PifAbilitiesInfo AbilitiesOf(LinkInfo device)
    {
        NetdevInfo? netdev = Ask(g => g.GetNetdev(device.Index));
        return new PifAbilitiesInfo(device.RxQueues, device.TxQueues, device.Promiscuity, netdev is null ? null : Names(netdev.Features),
            netdev is { ZeroCopySegmentsMax: > 0 } ? netdev.ZeroCopySegmentsMax : null, netdev?.XskFeatures is { } xsk ? Names(xsk) : []);
    }

    private static int? SpeedOf(LinkInfo device) => Ask(g => g.GetLinkModes(device.Index))?.SpeedMbps;

    /// <summary>One driver's odd answer must not hide everything else.</summary>
    private static T? Ask<T>(Func<GenericNetlink, T?> question) where T : class
    {
        try
        {
            using GenericNetlink generic = new();
            return question(generic);
        }
        catch (NetlinkException)
        {
            return null;
        }
    }

    /// <summary>The flags that are set, as "transmit-checksum".</summary>
    private static string[] Names<T>(T flags) where T : struct, Enum =>
        [.. Enum.GetValues<T>().Where(f => Convert.ToUInt64(f) != 0 && flags.HasFlag(f)).Select(f => CounterMemory.SnakeCase(f.ToString()).Replace('_', '-'))];
}
