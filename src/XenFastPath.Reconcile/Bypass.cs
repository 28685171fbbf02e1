// What frames on the fast path never meet: filters on bridges and ports, queueing disciplines. Where somebody uses them, people
// must be told.
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

/// <summary>Finds, for each bridge, the filters that a fast path would bypass.</summary>
public sealed class Bypass(Rtnl rtnl, NftablesClient nftables, Func<int, IReadOnlyList<string>> foreignPrograms)
{
    private const uint HookPrerouting = 0, HookForward = 2, HookPostrouting = 4;

    /// <summary>Qdiscs that the kernel puts on a device by itself, and the one that only carries filters.</summary>
    private static readonly HashSet<string> s_defaultQdiscs = ["noqueue", "mq", "pfifo_fast", "pfifo", "fq_codel", "fq", "clsact", "ingress"];

    /// <summary>The qdiscs on which filters of a device hang.</summary>
    private static readonly HashSet<string> s_filterQdiscs = ["clsact", "ingress"];

    /// <summary>By bridge name; a bridge without filters is not in the result.</summary>
    public IReadOnlyDictionary<string, IReadOnlyList<string>> Find(IReadOnlyList<LinkInfo> bridges, IReadOnlyList<LinkInfo> links)
    {
        List<NftChain> chains = [.. nftables.GetChains().Where(c => c.Hook is not null && (c.UseCount > 0 || c.Accepts == false))];
        List<string> ebtables = LegacyTables.FindEbTables();
        List<string> iptables = LegacyTables.FindIpTables(ipv6: false), ip6tables = LegacyTables.FindIpTables(ipv6: true);
        List<QdiscInfo> allQdiscs = rtnl.GetQdiscs();
        ILookup<int, QdiscInfo> qdiscs = allQdiscs.Where(q => !s_defaultQdiscs.Contains(q.Kind)).ToLookup(q => q.Ifindex);
        // Of thousands of ports few have any: the others need not be asked.
        HashSet<int> filtered = [.. allQdiscs.Where(q => s_filterQdiscs.Contains(q.Kind)).Select(q => q.Ifindex)];
        Calls all = new(IsOn("bridge-nf-call-iptables"), IsOn("bridge-nf-call-ip6tables"), IsOn("bridge-nf-call-arptables"));
        ILookup<int, LinkInfo> members = links.ToLookup(l => l.MasterIndex);
        Dictionary<string, IReadOnlyList<string>> found = [];
        foreach (LinkInfo bridge in bridges)
        {
            LinkInfo[] ports = [.. members[bridge.Index].SelectMany(p => WithLower(p, links)).DistinctBy(l => l.Index)];
            List<string> here = [.. ebtables, .. chains.Where(c => c.Family == NftFamily.Bridge).Select(Describe)];
            if (bridge.Bridge!.VlanFiltering)
                here.Add("vlan_filtering");
            here.AddRange(BridgeNetfilter(bridge.Bridge, all, chains, iptables, ip6tables));
            foreach (LinkInfo device in ports.Append(bridge))
            {
                // Family netdev, and inet's ingress hook: both are hung on devices.
                here.AddRange(chains.Where(c => c.Hook!.Devices.Any(d => Matches(d, device.Name))).Select(Describe));
                here.AddRange(qdiscs[device.Index].Select(q => $"qdisc {q.Kind} on {device.Name}"));
                here.AddRange(foreignPrograms(device.Index).Select(p => $"{p} on {device.Name}"));
            }

            foreach (LinkInfo port in ports.Where(p => filtered.Contains(p.Index)))
                here.AddRange(Filters(port));
            if (here.Count > 0)
                found[bridge.Name] = [.. here.Distinct()];
        }

        return found;
    }

    /// <summary>A port, and the devices by which its frames come: the trunk of a VLAN, the members of a bond.</summary>
    private static IEnumerable<LinkInfo> WithLower(LinkInfo port, IReadOnlyList<LinkInfo> links) => port is { Vlan: null, Bond: null } ? [port] : links
        .Where(l => port.Vlan is not null ? l.Index == port.LinkIndex && port.LinkNetnsId is null : port.Bond is not null && l.MasterIndex == port.Index)
        .SelectMany(l => WithLower(l, links)).Prepend(port);

    private IEnumerable<string> Filters(LinkInfo port)
    {
        foreach (TcHook hook in (TcHook[])[TcHook.Ingress, TcHook.Egress])
        {
            foreach (FilterInfo filter in rtnl.GetFilters(port.Index, hook))
            {
                if (filter.BpfName is not { } name || !name.StartsWith(OwnFilterPrefix, StringComparison.Ordinal))
                    yield return $"tc {filter.Kind} filter on {port.Name} {(hook == TcHook.Ingress ? "ingress" : "egress")}";
            }
        }
    }

    /// <summary>What the names of our own filters begin with, on kernels where a hook is one, and those of our programs.</summary>
    public const string OwnFilterPrefix = "xfp_";

    /// <summary>bridge-nf: the kernel shows bridged IP packets to the rules for routed ones, if told to, for all bridges or for one.</summary>
    private static IEnumerable<string> BridgeNetfilter(BridgeData bridge, Calls all, List<NftChain> chains, List<string> iptables, List<string> ip6tables)
    {
        bool ip4 = bridge.CallsIptables || all.Iptables, ip6 = bridge.CallsIp6tables || all.Ip6tables;
        bool arp = bridge.CallsArptables || all.Arptables;
        foreach (NftChain chain in chains)
        {
            bool isCalled = chain.Family switch
            {
                NftFamily.IPv4 => ip4,
                NftFamily.IPv6 => ip6,
                NftFamily.Inet => ip4 || ip6,
                NftFamily.Arp => arp,
                _ => false,
            };
            if (isCalled && chain.Hook!.Hook is HookPrerouting or HookForward or HookPostrouting)
                yield return "bridge-nf: " + Describe(chain);
        }

        foreach (string table in ip4 ? iptables : [])
            yield return "bridge-nf: " + table;
        foreach (string table in ip6 ? ip6tables : [])
            yield return "bridge-nf: " + table;
    }

    /// <summary>What the kernel is told for all bridges.</summary>
    private readonly record struct Calls(bool Iptables, bool Ip6tables, bool Arptables);

    private static bool IsOn(string name)
    {
        string path = "/proc/sys/net/bridge/" + name;
        return File.Exists(path) && File.ReadAllText(path).Trim() != "0";
    }

    private static bool Matches(string pattern, string device) =>
        pattern.EndsWith('*') ? device.StartsWith(pattern[..^1], StringComparison.Ordinal) : pattern == device;

    private static string Describe(NftChain chain) =>
        $"nft chain {chain.Family.ToString().ToLowerInvariant()} {chain.Table} {chain.Name}" + (chain.Accepts == false ? " (policy drop)" : "");
}
