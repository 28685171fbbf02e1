// The methods that only look.
using XenFastPath.Api;
using XenFastPath.Dataplane;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.Control;

internal sealed partial class ApiHandler
{
    public ValueTask<IReadOnlyList<FdbEntryInfo>> FdbList(FdbListParams p, CancellationToken c) => Ask<IReadOnlyList<FdbEntryInfo>>(() =>
    {
        Network[] networks = p.Network is null ? [.. State.Networks] : [State.NetworkOf(p.Network)];
        Observed observed = Look();
        List<FdbEntryInfo> entries = [];
        ulong nowNs = Clock.NowNs();
        // For one bridge's entries the kernel walks all devices, as it does for everybody's: many bridges are one walk together.
        List<FdbEntry> all = controller.Rtnl.GetFdb(networks is [var one] ? observed.BridgeOf(one)?.Index : null);
        ILookup<int, FdbEntry> byBridge = all.Where(e => !e.IsSelf).ToLookup(e => e.MasterIndex);
        foreach (Network network in networks)
        {
            if (observed.BridgeOf(network) is not { } bridge)
                continue;
            foreach (FdbEntry entry in byBridge[bridge.Index])
            {
                bool isMirrored = FastPath.IsMirrored(network.Id, entry.Mac, out ulong seenNs);
                double? idle = entry.IsPermanent ? null : isMirrored ? Math.Min(entry.UpdatedSeconds, (nowNs - seenNs) / 1e9) : entry.UpdatedSeconds;
                entries.Add(new FdbEntryInfo(network.Label, entry.Mac.ToString(), observed.Link(entry.Ifindex)?.Name ?? $"ifindex {entry.Ifindex}",
                    entry.IsPermanent, isMirrored, idle));
            }
        }

        return entries;
    });

    public ValueTask<FdbSyncInfo> FdbSync(Empty p, CancellationToken c) => Ask(() =>
    {
        int mirrored = FastPath.Mirror.Sync();
        HashSet<string> bridges = [.. State.Networks.Select(n => n.Bridge)];
        // Who asks waits for an answer, not for a look at thousands of links: only masters that know somebody are asked for their names.
        int known = controller.Rtnl.GetFdb().Where(e => !e.IsPermanent && !e.IsSelf).CountBy(e => e.MasterIndex)
            .Where(m => controller.Rtnl.GetLink(m.Key) is { Bridge: not null } b && b.AltNames.Prepend(b.Name).Any(bridges.Contains)).Sum(m => m.Value);
        return new FdbSyncInfo(known, mirrored);
    });

    public ValueTask<StatsInfo> Stats(Empty p, CancellationToken c) => Ask(() =>
    {
        Observed observed = Look();
        List<PortStatsInfo> ports = [];
        foreach (Network network in State.Networks)
        {
            foreach ((LinkInfo device, bool isPif) in Views.PortsOf(network, State, observed))
            {
                string path = Views.PathOf(network, device, isPif, observed, FastPath).Path;
                ports.Add(new PortStatsInfo(device.Name, network.Label, path, Views.CountersOf(device, FastPath)));
            }
        }

        return new StatsInfo((long)Clock.NowNs(), Views.Forwarder(FastPath), Views.LoopCounters(FastPath), ports, FastPath.Mirror.Counters());
    });

    public ValueTask<ShowInfo> Show(Empty p, CancellationToken c) => Ask(() =>
    {
        Observed observed = Look();
        return new ShowInfo(Program.Version, Diagnosis.KernelRelease, FastPath.Pins.Instance, Views.Forwarder(FastPath),
            [.. State.Networks.Select(n => Views.Of(n, State, observed, FastPath))],
            [.. State.Pifs.Where(f => f.Network is null).Select(f => Views.Of(f, State, observed, FastPath))], (long)Clock.NowNs(), Pending);
    });

    public ValueTask<DoctorInfo> Doctor(Empty p, CancellationToken c) => Ask(() => Diagnosis.Examine(FastPath, controller.SecondsLeft));

    public ValueTask<IReadOnlyList<BridgeInfo>> BridgeList(Empty p, CancellationToken c) => Ask<IReadOnlyList<BridgeInfo>>(() =>
    {
        List<LinkInfo> links = controller.Rtnl.GetLinks(withCounters: false);
        return
        [
            .. links.Where(l => l.Bridge is not null).OrderBy(l => l.Name, StringComparer.Ordinal).Select(b =>
                new BridgeInfo(b.Name, b.Bridge!.Id.ToString(), b.Bridge.Stp,
                    [.. links.Where(l => l.MasterIndex == b.Index).Select(l => l.Name).Order(StringComparer.Ordinal)])),
        ];
    });
}
