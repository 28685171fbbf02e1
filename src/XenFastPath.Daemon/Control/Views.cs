// What the API shows of an object: desired state, kernel and fast path put together.
using XenFastPath.Api;
using XenFastPath.Daemon.FastPath;
using XenFastPath.Daemon.Host;
using XenFastPath.Dataplane;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.Control;

/// <summary>Builds the API's answers; changes nothing.</summary>
internal static partial class Views
{
    private static readonly string[] s_programCounters = [.. Enum.GetNames<ProgramCounter>().SkipLast(1).Select(CounterMemory.SnakeCase)];
    private static readonly string[] s_portCounters = [.. Enum.GetNames<PortCounter>().SkipLast(1).Select(n => "fwd_" + CounterMemory.SnakeCase(n))];

    /// <summary>The devices of a Network that exist: uplink first, then VIFs, then tags of trunk VIFs.</summary>
    public static IEnumerable<(LinkInfo Device, bool IsPif)> PortsOf(Network network, HostState state, Observed observed)
    {
        if (state.PifOf(network) is { IsPlugged: true } pif && observed.DeviceOf(pif) is { } uplink)
            yield return (uplink, true);
        if (state.VlanOf(network) is { } vlan && observed.DeviceOf(vlan, state) is { } tagged)
            yield return (tagged, true);
        foreach (Vif vif in state.VifsOf(network))
        {
            if (observed.DeviceOf(vif) is { } device)
                yield return (device, false);
        }

        foreach (LinkInfo tag in observed.TagsIn(network, state))
            yield return (tag, false);
    }

    /// <summary>One word for a port: its bridge port's state, or what keeps it from having one.</summary>
    public static string StateOf(LinkInfo device)
    {
        if (!device.IsUp)
            return "down";
        if (!device.IsLowerUp)
            return "no-carrier";
        return device.BridgePort is { } port ? port.State.ToString().ToLowerInvariant() : "unplugged";
    }

    public static PortPathInfo PathOf(Network network, LinkInfo device, bool isPif, Observed observed, FastPathManager fastPath)
    {
        PathDecision decision = PathRule.Decide(PathRule.Decide(network, observed.BridgeOf(network), observed), device, isPif, observed);
        decision = PathRule.InForce(decision, network, fastPath);
        FastPathPort? port = fastPath.PortOf(device.Index);
        if (decision.Path == PortPath.Afxdp && port is not { IsServed: true })
            decision = new PathDecision(PortPath.Bridge, "no forwarder serves the port (yet)");
        if (decision.Path == PortPath.Redirect)
            return RedirectOf(network, device, isPif, decision, observed, fastPath);
        bool isServed = port is { IsServed: true };
        return new PortPathInfo(decision.Path.Word(), decision.Reason, isServed ? (port!.IsNativeXdp ? "native" : "generic") : null,
            isServed ? (port!.IsZeroCopy ? "zero-copy" : "copy") : null, port?.Queues ?? 0);
    }

    /// <summary>Redirect in words: the port's hook at tc ingress always, and its driver where that and another one carry XDP frames.</summary>
    private static PortPathInfo RedirectOf(Network network, LinkInfo device, bool isPif, PathDecision decision, Observed observed, FastPathManager fastPath)
    {
        if (fastPath.PortOf(device.Index) is not { Settings.Redirects: true } port)
            return new PortPathInfo(PortPath.Bridge.Word(), "the port is not taken in yet", null, null, 0);
        string reason = decision.Reason;
        if (!port.Settings.TakesXdpFrames && PathRule.WhyNoXdp(device, isPif, observed) is null)
            reason = PathRule.MayUseXdp(network) ? "tc: no other port of the Network carries XDP frames" : "tc: " + PathRule.AutoWithoutXdp;
        return new PortPathInfo(decision.Path.Word(), reason, port.Settings.TakesXdpFrames ? "native" : null, null, 0);
    }

    public static NetworkInfo Of(Network network, HostState state, Observed observed, FastPathManager fastPath)
    {
        LinkInfo? bridge = observed.BridgeOf(network);
        PathDecision decision = PathRule.InForce(PathRule.Decide(network, bridge, observed), network, fastPath);
        IReadOnlyList<string> bypassed = observed.Bypassed.GetValueOrDefault(network.Bridge) ?? [];
        Pif? pif = state.PifOf(network);
        return new NetworkInfo(network.Uuid, network.Label, network.Bridge, bridge?.Index, network.Mtu,
            Rules.Word(network.Datapath), decision.Path.Word(), decision.Reason,
            bridge is null ? "missing" : bridge.IsUp ? "up" : "down",
            bridge is not null && bridge.Alias != Plan.MarkOf(network.Uuid),
            decision.Path == PortPath.Bridge ? [] : bypassed,
            pif is null ? null : Of(pif, state, observed, fastPath),
            [.. state.VifsOf(network).Select(v => Of(v, state, observed, fastPath))],
            state.VlanOf(network) is { } vlan ? Of(vlan, state, observed, fastPath) : null);
    }

    public static PifInfo Of(Pif pif, HostState state, Observed observed, FastPathManager fastPath)
    {
        Network? network = pif.Network is { } uuid ? state.NetworkOf(uuid) : null;
        LinkInfo? device = observed.DeviceOf(pif);
        if (device is null)
            return new PifInfo(pif.Uuid, pif.Device, null, network?.Label, pif.Mac, null, pif.BusPath, null, 0, false, null, "missing", null, null)
            {
                Ip = IpOf(pif),
            };
        Bond? bond = state.BondOfMember(pif);
        string state_ = bond is not null ? "bonded" : network is null || !pif.IsPlugged ? "unplugged" : StateOf(device);
        string[] vlans = [.. state.VlansOf(pif).Select(v => v.Device)];
        return new PifInfo(pif.Uuid, device.Name, device.Index, network?.Label, device.Address?.ToString() ?? pif.Mac, device.PermanentAddress?.ToString(),
            pif.BusPath, GenericNetlink.GetDriver(device.Name)?.Name, device.Mtu, device.IsLowerUp, SpeedOf(device), state_,
            network is null ? null : PathOf(network, device, true, observed, fastPath), CountersOf(device, fastPath),
            AbilitiesOf(device), bond?.Device, vlans.Length > 0 ? vlans : null)
        {
            Ip = IpOf(pif),
            Addresses = AddressesOf(HostServices.PlaceOf(pif, state, observed), observed),
        };
    }

    /// <summary>The addresses in force, those of the kernel's own making too.</summary>
    private static string[] AddressesOf(LinkInfo? place, Observed observed) =>
        place is null ? [] : [.. observed.Addresses.Where(a => a.Ifindex == place.Index).Select(a => $"{a} dev {place.Name}")];

    private static PifIpInfo? IpOf(Pif pif) => pif.Ip is not { } ip ? null : new PifIpInfo(
        IpRules.Word(ip.Ipv4.Mode), ip.Ipv4.Address, ip.Ipv4.Gateway, IpRules.Word(ip.Ipv6.Mode), ip.Ipv6.Address, ip.Ipv6.Gateway,
        ip.Dns, ip.Domain, [.. ip.Routes.Select(r => $"{r.Subnet}={r.Gateway}")]);

    public static VifInfo Of(Vif vif, HostState state, Observed observed, FastPathManager fastPath)
    {
        Network network = state.NetworkOf(vif.Network);
        LinkInfo? device = observed.DeviceOf(vif);
        int[]? trunks = vif.Trunks is { } tags ? [.. tags.Tags.ToArray().Select(t => (int)t)] : null;
        return device is null
            ? new VifInfo(vif.Uuid, vif.Device, null, network.Label, vif.Mac, 0, false, "missing", null, null, trunks)
            : new VifInfo(vif.Uuid, device.Name, device.Index, network.Label, vif.Mac, device.Mtu, device.IsLowerUp, StateOf(device),
                PathOf(network, device, false, observed, fastPath), CountersOf(device, fastPath), trunks);
    }

    /// <summary>The device's own counters, the program's and the forwarder's.</summary>
    public static unsafe PortCountersInfo CountersOf(LinkInfo device, FastPathManager fastPath)
    {
        Dictionary<string, long> named = [];
        LinkStats stats = device.Stats;
        long fastRx = 0, fastTx = 0, kernel = 0, dropped = 0;
        if (fastPath.PortOf(device.Index) is { } port)
        {
            long[] program = fastPath.ProgramCounters(port);
            for (int i = 0; i < program.Length; i++)
            {
                Add(named, s_programCounters[i], program[i]);
                kernel += i is >= (int)ProgramCounter.PassPathOff and <= (int)ProgramCounter.PassOversize ? program[i] : 0;
            }

            fastRx = program[(int)ProgramCounter.RedirectSkb] + program[(int)ProgramCounter.RedirectXdp];
            fastTx = program[(int)ProgramCounter.RedirectOut];
            // On the bridge the policy hook sees every frame; elsewhere those that were let pass, which are counted already.
            if (!port.IsServed && !port.Settings.Redirects)
                kernel += program[(int)ProgramCounter.PolicyOk];
            dropped += program[(int)ProgramCounter.DropTagged] + program[(int)ProgramCounter.RedirectLost];
            if (port.IsServed && fastPath.Forwarder.Latest is { } client)
            {
                for (PortCounter i = 0; i < PortCounter.Count; i++)
                    Add(named, s_portCounters[(int)i], client.Count(port.Id, i));
                fastRx += client.Count(port.Id, PortCounter.RxFrames);
                fastTx += client.Count(port.Id, PortCounter.TxFrames);
                for (PortCounter i = PortCounter.DropRunt; i <= PortCounter.TxDroppedByDevice; i++)
                    dropped += client.Count(port.Id, i);
            }
        }

        return new PortCountersInfo((long)stats.RxFrames, (long)stats.RxBytes, (long)stats.TxFrames, (long)stats.TxBytes,
            fastRx, fastTx, kernel, dropped, named);
    }

    public static unsafe ForwarderInfo Forwarder(FastPathManager fastPath)
    {
        ForwarderSupervisor supervisor = fastPath.Forwarder;
        if (supervisor.Latest is not { } client)
            return new ForwarderInfo("down", null, null, null, 0, 0, 0, 0, supervisor.Restarts);
        ForwarderStatus* status = client.Status;
        string state = supervisor.IsStale ? "stale" : client.IsConnected ? "running" : "down";
        return new ForwarderInfo(state, client.Pid, ForwarderStatus.InstructionSet(status), supervisor.HeartbeatAgeNs / 1_000_000, (int)status->PortsInUse,
            (int)status->FramesTotal, (int)client.Count(LoopCounter.FramesFree), client.Count(LoopCounter.Gen0Collections),
            supervisor.Restarts, client.Workers);
    }

    public static Dictionary<string, long> LoopCounters(FastPathManager fastPath)
    {
        Dictionary<string, long> counters = [];
        if (fastPath.Forwarder.Latest is not { } client)
            return counters;
        foreach (LoopCounter counter in Enum.GetValues<LoopCounter>().SkipLast(1))
            counters[CounterMemory.SnakeCase(counter.ToString())] = client.Count(counter);
        return counters;
    }

    private static void Add(Dictionary<string, long> named, string name, long value)
    {
        if (value != 0)
            named[name] = value;
    }
}
