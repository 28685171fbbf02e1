// Looks at the machine: dumps the links, asks the drivers of ports that want a fast path, finds the filters.
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

/// <summary>Reads what <see cref="Plan.Diff"/> compares with. Not thread-safe.</summary>
public sealed class Observer(
    Rtnl rtnl, GenericNetlink generic, Bypass bypass, IFastPath fastPath, ulong netnsInode, LookAhead? ahead = null)
{
    private LookAhead? _ahead = ahead;
    private readonly string _bootId = File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim();

    /// <summary>
    /// One look. What cannot be read of a device that vanishes meanwhile is missing; its event brings the next look. Links and
    /// addresses are those of <paramref name="known"/>, if that was looked at for the same request. Only who shows the links' counters
    /// to somebody needs them.
    /// </summary>
    public Observed Look(HostState desired, Observed? known = null, bool withCounters = false)
    {
        Dumps? dumps = known is null ? Interlocked.Exchange(ref _ahead, null)?.Take() ?? Dumps.Read(rtnl, generic, withCounters) : null;
        Observed bare = known ?? new(dumps!.Links, _bootId, netnsInode, new Dictionary<int, PortFacts>(),
            new Dictionary<string, IReadOnlyList<string>>(), fastPath) { Addresses = dumps.Addresses };
        FactFinder finder = dumps?.Facts ?? new(generic);
        Dictionary<int, PortFacts> facts = [];
        Dictionary<int, IReadOnlyList<string>> orders = [];
        List<LinkInfo> bridges = [];
        foreach (Network network in desired.Networks.Where(n => n.Datapath != Datapath.Bridge))
        {
            if (bare.BridgeOf(network) is { } bridge)
                bridges.Add(bridge);
            LinkInfo? uplink = desired.PifOf(network) is { } pif ? bare.DeviceOf(pif) : null;
            LinkInfo? trunk = desired.VlanOf(network) is { } vlan ? bare.DeviceOf(desired.PifOf(vlan.Pif)) : null;
            IEnumerable<LinkInfo?> devices = desired.VifsOf(network).Select(bare.DeviceOf).Append(uplink).Append(trunk);
            foreach (LinkInfo device in devices.OfType<LinkInfo>())
            {
                facts[device.Index] = finder.FactsOf(device);
                if (device.Bond is null)
                    continue;
                orders[device.Index] = MemberOrderOf(device);
                foreach (LinkInfo member in bare.PortsOf(device))
                    facts[member.Index] = finder.FactsOf(member);
            }
        }

        Lazy<IReadOnlyDictionary<string, IReadOnlyList<string>>> filters =
            new(() => bridges.Count == 0 ? new Dictionary<string, IReadOnlyList<string>>()
                : dumps?.Filters?.GetAwaiter().GetResult() ?? bypass.Find(bridges, [.. bare.Links]));
        return LookAtHost(desired, bare.With(facts, filters, orders));
    }

    /// <summary>
    /// The order in which members came into a bond, which netlink does not tell: Documentation/networking/bonding.rst, "Querying
    /// Bonding Configuration". Empty if the bond has just gone.
    /// </summary>
    private static string[] MemberOrderOf(LinkInfo bond)
    {
        const string Member = "Slave Interface: ";
        try
        {
            return [.. File.ReadLines($"/proc/thread-self/net/bonding/{bond.Name}").Where(l => l.StartsWith(Member)).Select(l => l[Member.Length..])];
        }
        catch (IOException)
        {
            return [];
        }
    }

    /// <summary>Routes and rules only where addresses are to move, and of routes else only our own: a router's table is long.</summary>
    private Observed LookAtHost(HostState desired, Observed observed)
    {
        bool manages = desired.Pifs.Any(p => p.Ip is not null) || observed.Addresses.Any(a => a.Protocol == HostMover.Maker);
        List<RouteInfo> routes = manages ? [.. rtnl.GetRoutesOf(isIpv6: false, HostMover.Maker), .. rtnl.GetRoutesOf(isIpv6: true, HostMover.Maker)] : [];
        List<RuleInfo> rules = [];
        foreach (LinkInfo device in HostAddresses.Movers(desired, observed))
        {
            routes.AddRange(rtnl.GetRoutes(isIpv6: false, device.Index));
            routes.AddRange(rtnl.GetRoutes(isIpv6: true, device.Index));
            if (rules.Count == 0)
                rules = [.. rtnl.GetRules(isIpv6: false), .. rtnl.GetRules(isIpv6: true)];
        }

        HashSet<int> speakers = [];
        foreach (Pif pif in desired.Pifs.Where(p => p.Ip is { Ipv6.Mode: not IpMode.None }))
        {
            LinkInfo? device = pif is { IsPlugged: true, Network: { } uuid } ? observed.BridgeOf(desired.NetworkOf(uuid)) : observed.DeviceOf(pif);
            if (device is not null && Ipv6Sysctl.Speaks(device.Name, pif.Ip!.Ipv6.Mode == IpMode.Autoconf))
                speakers.Add(device.Index);
        }

        return observed.With([.. routes.Distinct()], rules, speakers);
    }
}
