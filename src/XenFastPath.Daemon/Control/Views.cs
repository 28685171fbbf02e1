// What the API shows of an object: desired state, kernel and fast path put together.
using XenFastPath.Api;
using XenFastPath.Daemon.FastPath;
using XenFastPath.Dataplane;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.Control;

/// <summary>Builds the API's answers; changes nothing.</summary>
internal static class Views
{
    private static readonly string[] s_programCounters = [.. Enum.GetNames<ProgramCounter>().SkipLast(1).Select(CounterMemory.SnakeCase)];
    private static readonly string[] s_portCounters = [.. Enum.GetNames<PortCounter>().SkipLast(1).Select(n => "fwd_" + CounterMemory.SnakeCase(n))];

    /// <summary>The devices of a Network that exist: uplink first.</summary>
    public static IEnumerable<(LinkInfo Device, bool IsPif)> PortsOf(Network network, HostState state, Observed observed)
    {
        if (state.PifOf(network) is { IsPlugged: true } pif && observed.DeviceOf(pif) is { } uplink)
            yield return (uplink, true);
        foreach (Vif vif in state.VifsOf(network))
        {
            if (observed.DeviceOf(vif) is { } device)
                yield return (device, false);
        }
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
        PathDecision decision = PathRule.Decide(PathRule.Decide(network, observed.BridgeOf(network)), device, isPif, observed);
        decision = PathRule.InForce(decision, network, fastPath);
        FastPathPort? port = fastPath.PortOf(device.Index);
        if (decision.Path == PortPath.Afxdp && port is not { IsServed: true })
            decision = new PathDecision(PortPath.Bridge, "no forwarder serves the port (yet)");
        bool isServed = port is { IsServed: true };
        return new PortPathInfo(Word(decision.Path), decision.Reason, isServed ? (port!.IsNativeXdp ? "native" : "generic") : null,
            isServed ? (port!.IsZeroCopy ? "zero-copy" : "copy") : null, port?.Queues ?? 0);
    }

    public static NetworkInfo Of(Network network, HostState state, Observed observed, FastPathManager fastPath)
    {
        LinkInfo? bridge = observed.BridgeOf(network);
        PathDecision decision = PathRule.InForce(PathRule.Decide(network, bridge), network, fastPath);
        IReadOnlyList<string> bypassed = observed.Bypassed.GetValueOrDefault(network.Bridge) ?? [];
        string reason = decision.Reason;
        if (network.Datapath == Datapath.Auto && bypassed.Count > 0)
            reason += "; filters are in use: " + string.Join(", ", bypassed);
        Pif? pif = state.PifOf(network);
        return new NetworkInfo(network.Uuid, network.Label, network.Bridge, bridge?.Index, network.Mtu,
            Rules.Word(network.Datapath), Word(decision.Path), reason,
            bridge is null ? "missing" : bridge.IsUp ? "up" : "down",
            bridge is not null && bridge.Alias != Plan.MarkOf(network.Uuid),
            decision.Path == PortPath.Bridge ? [] : bypassed,
            pif is null ? null : Of(pif, state, observed, fastPath),
            [.. state.VifsOf(network).Select(v => Of(v, state, observed, fastPath))]);
    }

    public static PifInfo Of(Pif pif, HostState state, Observed observed, FastPathManager fastPath)
    {
        Network? network = pif.Network is { } uuid ? state.NetworkOf(uuid) : null;
        LinkInfo? device = observed.DeviceOf(pif);
        if (device is null)
            return new PifInfo(pif.Uuid, pif.Device, null, network?.Label, pif.Mac, null, pif.BusPath, null, 0, false, null, "missing", null, null);
        string state_ = network is null || !pif.IsPlugged ? "unplugged" : StateOf(device);
        return new PifInfo(pif.Uuid, device.Name, device.Index, network?.Label, device.Address?.ToString() ?? pif.Mac, device.PermanentAddress?.ToString(),
            pif.BusPath, GenericNetlink.GetDriver(device.Name)?.Name, device.Mtu, device.IsLowerUp, SpeedOf(device), state_,
            network is null ? null : PathOf(network, device, true, observed, fastPath), CountersOf(device, fastPath));
    }

    private static int? SpeedOf(LinkInfo device)
    {
        try
        {
            using GenericNetlink generic = new();
            return generic.GetLinkModes(device.Index)?.SpeedMbps;
        }
        catch (NetlinkException)
        {
            return null;    // one driver's odd answer must not hide everything else
        }
    }

    public static VifInfo Of(Vif vif, HostState state, Observed observed, FastPathManager fastPath)
    {
        Network network = state.NetworkOf(vif.Network);
        LinkInfo? device = observed.DeviceOf(vif);
        return device is null
            ? new VifInfo(vif.Uuid, vif.Device, null, network.Label, vif.Mac, 0, false, "missing", null, null)
            : new VifInfo(vif.Uuid, device.Name, device.Index, network.Label, vif.Mac, device.Mtu, device.IsLowerUp, StateOf(device),
                PathOf(network, device, false, observed, fastPath), CountersOf(device, fastPath));
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

            // Without XDP the policy hook sees every frame; with it, those that XDP let pass, which are counted already.
            if (!port.IsServed)
                kernel += program[(int)ProgramCounter.PolicyOk];
            dropped += program[(int)ProgramCounter.DropTagged];
            if (port.IsServed && fastPath.Forwarder.Latest is { } client)
            {
                ulong* row = client.Row(port.Id);
                for (int i = 0; i < s_portCounters.Length; i++)
                    Add(named, s_portCounters[i], (long)row[i]);
                fastRx = (long)row[(int)PortCounter.RxFrames];
                fastTx = (long)row[(int)PortCounter.TxFrames];
                for (int i = (int)PortCounter.DropRunt; i <= (int)PortCounter.TxDroppedByDevice; i++)
                    dropped += (long)row[i];
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
        ulong* loop = ForwarderStatus.Loop(status);
        string state = supervisor.IsStale ? "stale" : client.IsConnected ? "running" : "down";
        return new ForwarderInfo(state, client.Pid, ForwarderStatus.InstructionSet(status), supervisor.HeartbeatAgeNs / 1_000_000, (int)status->PortsInUse,
            (int)status->FramesTotal, (int)loop[(int)LoopCounter.FramesFree], (long)loop[(int)LoopCounter.Gen0Collections], supervisor.Restarts);
    }

    public static unsafe Dictionary<string, long> LoopCounters(FastPathManager fastPath)
    {
        Dictionary<string, long> counters = [];
        if (fastPath.Forwarder.Latest is not { } client)
            return counters;
        ulong* loop = ForwarderStatus.Loop(client.Status);
        foreach (LoopCounter counter in Enum.GetValues<LoopCounter>().SkipLast(1))
            counters[CounterMemory.SnakeCase(counter.ToString())] = (long)loop[(int)counter];
        return counters;
    }

    private static string Word(PortPath path) => path == PortPath.Afxdp ? "afxdp" : "bridge";

    private static void Add(Dictionary<string, long> named, string name, long value)
    {
        if (value != 0)
            named[name] = value;
    }
}
