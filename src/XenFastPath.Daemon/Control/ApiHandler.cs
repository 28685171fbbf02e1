// The API's methods: each asks the controller's thread. Reading order: here, then Controller.Commit, Plan.Diff, Applier, Rtnl.
using XenFastPath.Api;
using XenFastPath.Daemon.FastPath;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.Control;

/// <summary>What <c>xfp</c> talks to.</summary>
internal sealed partial class ApiHandler(Controller controller) : IApiHandler
{
    public EventHub Events => controller.Events;

    private HostState State => controller.State;

    private FastPathManager FastPath => controller.FastPath;

    private Rtnl Rtnl => controller.Rtnl;

    public ValueTask<NetworkInfo> NetworkCreate(NetworkCreateParams p, CancellationToken c) => Ask(() =>
    {
        Observed observed = Look();
        Datapath datapath = p.Datapath is null ? Datapath.Auto : Rules.ParseDatapath(p.Label, p.Datapath);
        Network network = NewNetwork(Guid.NewGuid(), State, p.Label, p.Bridge, p.Mtu, datapath, observed);
        HostState wanted = State.Add(network);
        if (p.Pif is not null)
            wanted = Connect(wanted, p.Pif, network, observed);
        string adopted = observed.BridgeOf(network) is null ? "" : ", adopted";
        controller.Commit(wanted, $"network create {p.Label}");
        controller.Announce("network.created", p.Label, $"bridge {network.Bridge}, mtu {network.Mtu}, datapath {Rules.Word(datapath)}{adopted}");
        return Info(network);
    });

    public ValueTask<IReadOnlyList<NetworkInfo>> NetworkList(Empty p, CancellationToken c) => Ask<IReadOnlyList<NetworkInfo>>(() =>
    {
        Observed observed = Look();
        return [.. State.Networks.Select(n => Views.Of(n, State, observed, FastPath))];
    });

    public ValueTask<NetworkInfo> NetworkShow(NetworkParams p, CancellationToken c) => Ask(() => Info(State.NetworkOf(p.Network)));

    public ValueTask<NetworkInfo> NetworkSet(NetworkSetParams p, CancellationToken c) => Ask(() =>
    {
        Network network = State.NetworkOf(p.Network);
        if (p.Pif is not null && p.NoPif)
            throw new RefusalException(network.Label, "--pif and --no-pif exclude each other");
        Observed observed = Look();
        Network changed = network with
        {
            Mtu = p.Mtu ?? network.Mtu,
            Datapath = p.Datapath is null ? network.Datapath : Rules.ParseDatapath(network.Label, p.Datapath),
        };
        HostState wanted = State.Change(changed);
        CheckPorts(State, changed, observed);
        if (p.NoPif)
            wanted = wanted.Disconnect(network);
        if (p.Pif is not null)
            wanted = Connect(wanted, p.Pif, changed, observed);
        controller.Commit(wanted, $"network set {network.Label}");
        controller.Announce("network.changed", network.Label,
            $"mtu {changed.Mtu}, datapath {Rules.Word(changed.Datapath)}, pif {wanted.PifOf(changed)?.Device ?? "none"}");
        return Info(changed);
    });

    public ValueTask<Empty> NetworkDestroy(NetworkParams p, CancellationToken c) => Ask(() =>
    {
        Network network = State.NetworkOf(p.Network);
        HostState wanted = State.Remove(network);
        Admission.Destroy(network, State, Look());
        controller.Commit(wanted, $"network destroy {network.Label}");
        controller.Announce("network.destroyed", network.Label, $"bridge {network.Bridge}");
        return new Empty();
    });

    public ValueTask<IReadOnlyList<PifInfo>> PifScan(Empty p, CancellationToken c) => Ask<IReadOnlyList<PifInfo>>(() =>
    {
        Observed observed = Look();
        HostState wanted = State;
        List<Pif> found = [];
        foreach (LinkInfo device in observed.Links.Where(l => PathRule.IsHardware(l) && l.Address is not null && l.SlaveKind != "bond").OrderBy(l => l.Index))
        {
            if (wanted.Pifs.Any(f => observed.DeviceOf(f)?.Index == device.Index))
                continue;
            wanted = Introduce(wanted, device, observed, out Pif pif);
            found.Add(pif);
        }

        controller.Commit(wanted, "pif scan");
        foreach (Pif pif in found)
            controller.Announce("pif.introduced", pif.Device, $"address {pif.Mac}");
        return [.. State.Pifs.Select(f => Views.Of(f, State, observed, FastPath))];
    });

    public ValueTask<IReadOnlyList<PifInfo>> PifList(Empty p, CancellationToken c) => Ask<IReadOnlyList<PifInfo>>(() =>
    {
        Observed observed = Look();
        return [.. State.Pifs.Select(f => Views.Of(f, State, observed, FastPath))];
    });

    public ValueTask<PifInfo> PifShow(PifParams p, CancellationToken c) => Ask(() => Info(State.PifOf(p.Pif)));

    public ValueTask<PifInfo> PifIntroduce(PifParams p, CancellationToken c) => Ask(() =>
    {
        Observed observed = Look();
        HostState wanted = Introduce(State, Admission.Pif(p.Pif, observed), observed, out Pif pif);
        controller.Commit(wanted, $"pif introduce {p.Pif}");
        controller.Announce("pif.introduced", pif.Device, $"address {pif.Mac}");
        return Info(pif);
    });

    public ValueTask<Empty> PifForget(PifParams p, CancellationToken c) => Ask(() =>
    {
        Pif pif = State.PifOf(p.Pif);
        controller.Commit(State.Remove(pif), $"pif forget {pif.Device}");
        controller.Announce("pif.forgotten", pif.Device, $"address {pif.Mac}");
        return new Empty();
    });

    public ValueTask<PifInfo> PifPlug(PifParams p, CancellationToken c) => Ask(() => Plug(p.Pif, true));

    public ValueTask<PifInfo> PifUnplug(PifParams p, CancellationToken c) => Ask(() => Plug(p.Pif, false));

    public ValueTask<VifInfo> VifPlug(VifPlugParams p, CancellationToken c) => Ask(() =>
    {
        Network network = State.NetworkOf(p.Network);
        Observed observed = Look();
        Vif vif = NewVif(p.Device, network, p.Mac, observed);
        controller.Commit(State.Add(vif), $"vif plug {p.Device}");
        controller.Announce("vif.plugged", vif.Device, $"into network {network.Label}");
        return Info(vif);
    });

    public ValueTask<Empty> VifUnplug(VifParams p, CancellationToken c) => Ask(() =>
    {
        Vif vif = State.VifOf(p.Vif);
        controller.Commit(State.Remove(vif), $"vif unplug {vif.Device}");
        controller.Announce("vif.unplugged", vif.Device, "from its network");
        return new Empty();
    });

    public ValueTask<IReadOnlyList<VifInfo>> VifList(Empty p, CancellationToken c) => Ask<IReadOnlyList<VifInfo>>(() =>
    {
        Observed observed = Look();
        return [.. State.Vifs.Select(v => Views.Of(v, State, observed, FastPath))];
    });

    public ValueTask<VifInfo> VifShow(VifParams p, CancellationToken c) => Ask(() => Info(State.VifOf(p.Vif)));

    public ValueTask<VifInfo> VifMove(VifMoveParams p, CancellationToken c) => Ask(() =>
    {
        Vif vif = State.VifOf(p.Vif);
        Network network = State.NetworkOf(p.Network);
        Observed observed = Look();
        CheckMove(vif, State.NetworkOf(vif.Network), network, observed);
        Vif moved = vif with { Network = network.Uuid };
        controller.Commit(State.Change(moved), $"vif move {vif.Device}");
        controller.Announce("vif.moved", vif.Device, $"to network {network.Label}");
        return Info(moved);
    });

    public ValueTask<VifInfo> VifSet(VifSetParams p, CancellationToken c) => Ask(() =>
    {
        Vif vif = State.VifOf(p.Vif);
        Vif changed = vif with { Trunks = Rules.Trunks(vif.Device, p.Trunks) };
        HostState wanted = State.Change(changed);
        wanted.CheckTrunks(State);      // before the machine is asked
        if (changed.Trunks is not null)
            Admission.Trunks(changed, wanted, Look());
        controller.Commit(wanted, $"vif set {vif.Device}");
        controller.Announce("vif.changed", vif.Device, $"trunks {changed.Trunks?.ToString() ?? "none"}");
        return Info(changed);
    });

    private ValueTask<T> Ask<T>(Func<T> question) => new(controller.Ask(question));

    private Observed Look() => controller.Observer.Look(State, withCounters: true);

    private NetworkInfo Info(Network network) => Views.Of(network, State, Look(), FastPath);

    private PifInfo Info(Pif pif) => Views.Of(State.PifOf(pif.Uuid.ToString()), State, Look(), FastPath);

    private VifInfo Info(Vif vif) => Views.Of(vif, State, Look(), FastPath);

    private PifInfo Plug(string name, bool isPlugged)
    {
        Pif pif = State.PifOf(name);
        if (pif.Network is not { } uuid)
            throw new RefusalException(pif.Device, "serves no network; network set LABEL --pif " + pif.Device);
        if (pif.IsPlugged == isPlugged)
            throw new RefusalException(pif.Device, isPlugged ? "is plugged already" : "is unplugged already");
        Network network = State.NetworkOf(uuid);
        Observed observed = Look();
        LinkInfo? device = observed.DeviceOf(pif);
        if (isPlugged && device is null)
            throw new RefusalException(pif.Device, "the device is missing");
        if (isPlugged)
            Admission.Uplink(device!, network.Bridge, network.Mtu, observed);
        Pif changed = pif with { IsPlugged = isPlugged };
        if (isPlugged && AdmitHost(device!, network, observed))
            changed = changed with { HadAddresses = true };
        controller.Commit(State.Change(changed), $"pif {(isPlugged ? "plug" : "unplug")} {pif.Device}");
        controller.Announce(isPlugged ? "pif.plugged" : "pif.unplugged", pif.Device, $"network {network.Label}");
        return Info(pif);
    }

    /// <summary>A new Network on a bridge that is there or will be made.</summary>
    private static Network NewNetwork(Guid uuid, HostState state, string label, string? bridge, int? mtu, Datapath datapath, Observed observed)
    {
        string name = bridge ?? Rules.BridgeFor(label, n => observed.Link(n) is not null || state.Networks.Any(k => k.Bridge == n));
        LinkInfo? adopted = Admission.Bridge(name, observed);
        return new Network(uuid, state.NextNetworkId(), label, name, mtu ?? adopted?.Mtu ?? Rules.MtuDefault, datapath);
    }

    /// <summary>May a Network become so, with the ports that it has? What failed before is then tried again.</summary>
    private void CheckPorts(HostState state, Network changed, Observed observed)
    {
        foreach ((LinkInfo device, bool isPif) in Views.PortsOf(changed, state, observed))
        {
            if (isPif || device.Vlan is not null)
                Admission.Uplink(device, changed.Bridge, changed.Mtu, observed);
            else
                Admission.Vif(device.Name, changed, observed);
            FastPath.Forgive(device.Index);
        }
    }

    private Vif NewVif(string name, Network network, string? mac, Observed observed)
    {
        LinkInfo device = Admission.Vif(name, network, observed);
        FastPath.Forgive(device.Index);
        return new Vif(Guid.NewGuid(), device.Name, network.Uuid, mac?.ToLowerInvariant(), observed.BindingOf(device));
    }

    private void CheckMove(Vif vif, Network from, Network to, Observed observed)
    {
        LinkInfo device = observed.DeviceOf(vif) ?? throw new RefusalException(vif.Device, "the device is missing");
        Admission.Vif(device.Name, to, observed, from);
        FastPath.Forgive(device.Index);
    }

    /// <summary>
    /// The state with this device as the Network's uplink in the place of the one it has, introduced if it was not known.
    /// </summary>
    private HostState Connect(HostState wanted, string name, Network network, Observed observed)
    {
        wanted = Known(wanted, name, observed, out Pif pif);
        LinkInfo device = observed.DeviceOf(pif)!;
        Admission.Uplink(device, network.Bridge, network.Mtu, observed);
        if (pif.Network == network.Uuid)
            return wanted;
        Pif admitted = pif with { HadAddresses = AdmitHost(device, network, observed) };
        return wanted.Disconnect(network).Change(admitted)
            .Connect(admitted, network, wasInBridge: device.MasterIndex != 0, hadLinkLocal: device.Ipv6LinkLocal == true);
    }

    /// <summary>The PIF of this uuid, device or altname; introduced if it was not known. Its device is there.</summary>
    private static HostState Known(HostState state, string name, Observed observed, out Pif pif)
    {
        Pif? known = state.Pifs.FirstOrDefault(f => f.Device == name || (Guid.TryParse(name, out Guid uuid) && f.Uuid == uuid));
        LinkInfo device = known is null ? Admission.Pif(name, observed)
            : observed.DeviceOf(known) ?? throw new RefusalException(name, "the device is missing");
        known ??= state.Pifs.FirstOrDefault(f => observed.DeviceOf(f)?.Index == device.Index);   // by an altname
        if (known is null)
            return Introduce(state, device, observed, out pif);
        pif = known;
        return state;
    }

    private static HostState Introduce(HostState state, LinkInfo device, Observed observed, out Pif pif)
    {
        pif = observed.NewPif(Guid.NewGuid(), device);
        return state.Add(pif);
    }
}
