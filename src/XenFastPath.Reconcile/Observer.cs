// Looks at the machine: dumps the links, asks the drivers of ports that want a fast path, finds the filters.
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

/// <summary>Reads what <see cref="Plan.Diff"/> compares with. Not thread-safe.</summary>
public sealed class Observer(Rtnl rtnl, GenericNetlink generic, Bypass bypass, IFastPath fastPath, ulong netnsInode)
{
    private readonly string _bootId = File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim();

    /// <summary>One look. What cannot be read of a device that vanishes meanwhile is missing; its event brings the next look.</summary>
    public Observed Look(HostState desired)
    {
        List<LinkInfo> links = rtnl.GetLinks();
        Observed bare = new(links, _bootId, netnsInode, new Dictionary<int, PortFacts>(), new Dictionary<string, IReadOnlyList<string>>(), fastPath);
        Dictionary<int, PortFacts> facts = [];
        List<LinkInfo> bridges = [];
        foreach (Network network in desired.Networks.Where(n => n.Datapath != Datapath.Bridge))
        {
            if (bare.BridgeOf(network) is { } bridge)
                bridges.Add(bridge);
            if (network.Datapath == Datapath.Auto)
                continue;
            LinkInfo? uplink = desired.PifOf(network) is { } pif ? bare.DeviceOf(pif) : null;
            IEnumerable<LinkInfo?> devices = desired.VifsOf(network).Select(bare.DeviceOf).Append(uplink);
            foreach (LinkInfo device in devices.OfType<LinkInfo>())
                facts[device.Index] = FactsOf(device);
        }

        IReadOnlyDictionary<string, IReadOnlyList<string>> filters = bridges.Count == 0 ? bare.Bypassed : bypass.Find(bridges, links);
        return new Observed(links, _bootId, netnsInode, facts, filters, fastPath);
    }

    private PortFacts FactsOf(LinkInfo device)
    {
        EthtoolChannels? channels = generic.GetChannels(device.Index);
        bool strips = false, fixedOn = false;
        if (PathRule.IsHardware(device) && generic.GetFeatures(device.Index) is { } features)
        {
            strips = features.IsActive(EthtoolFeature.RxVlan);
            // On although somebody asked for off: the driver will not.
            fixedOn = strips && (!features.IsChangeable(EthtoolFeature.RxVlan) || !features.Wanted.Contains(EthtoolFeature.RxVlan));
        }

        int queues = channels is null ? 0 : channels.Combined + channels.Rx;
        return new PortFacts(generic.GetNetdev(device.Index), queues > 0 ? queues : 1, fixedOn, strips && !fixedOn);
    }
}
