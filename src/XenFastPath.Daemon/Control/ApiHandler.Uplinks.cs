// The methods of VLANs and bonds.
using XenFastPath.Api;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.Control;

internal sealed partial class ApiHandler
{
    public ValueTask<VlanInfo> VlanCreate(VlanCreateParams p, CancellationToken c) => Ask(() =>
    {
        Network network = State.NetworkOf(p.Network);
        Observed observed = Look();
        Rules.CheckTag(p.Pif, p.Tag);
        HostState wanted = Known(State, p.Pif, observed, out Pif pif);
        // What the state refuses comes before what the machine does: a tag in use has a device of its own.
        wanted.Add(new Vlan(Guid.Empty, pif.Uuid, p.Tag, network.Uuid, ""));
        Vlan vlan = NewVlan(pif, p.Tag, network, null, observed);
        controller.Commit(wanted.Add(vlan), $"vlan create {pif.Device}.{p.Tag}");
        controller.Announce("vlan.created", vlan.Device, $"tag {p.Tag} of {pif.Device}, network {network.Label}{(vlan.WasThere ? ", adopted" : "")}");
        return Info(vlan);
    });

    public ValueTask<IReadOnlyList<VlanInfo>> VlanList(Empty p, CancellationToken c) => Ask<IReadOnlyList<VlanInfo>>(() =>
    {
        Observed observed = Look();
        return [.. State.Vlans.Select(v => Views.Of(v, State, observed, FastPath))];
    });

    public ValueTask<VlanInfo> VlanShow(VlanParams p, CancellationToken c) => Ask(() => Info(State.VlanOf(p.Vlan)));

    public ValueTask<Empty> VlanDestroy(VlanParams p, CancellationToken c) => Ask(() =>
    {
        Vlan vlan = State.VlanOf(p.Vlan);
        string network = State.NetworkOf(vlan.Network).Label;
        controller.Commit(State.Remove(vlan), $"vlan destroy {vlan.Device}");
        controller.Announce("vlan.destroyed", vlan.Device, $"network {network} has no uplink any more");
        return new Empty();
    });

    public ValueTask<BondInfo> BondCreate(BondCreateParams p, CancellationToken c) => Ask(() =>
    {
        Network network = State.NetworkOf(p.Network);
        Observed observed = Look();
        string device = State.FreeBondName(name => observed.Link(name) is not null);
        BondingMode mode = BondWords.ParseMode(device, p.Mode);
        HostState wanted = State;
        List<Guid> members = [];
        foreach (string name in p.Pifs)
        {
            wanted = Known(wanted, name, observed, out Pif pif);
            members.Add(pif.Uuid);
        }

        Bond bond = new(Guid.NewGuid(), device, [.. members], mode, p.Mac?.ToLowerInvariant(), With(new BondProperties(), device, p.Properties));
        HostState bonded = wanted.Add(bond, Guid.NewGuid(), network);
        foreach (Pif member in members.Select(wanted.PifOf))
            Admission.Member(member, network, State, observed);
        controller.Commit(bonded, $"bond create {device}");
        controller.Announce("bond.created", device, $"{p.Mode} of {string.Join(", ", members.Select(m => bonded.PifOf(m).Device))}, network {network.Label}");
        return Info(bond);
    });

    public ValueTask<IReadOnlyList<BondInfo>> BondList(Empty p, CancellationToken c) => Ask<IReadOnlyList<BondInfo>>(() =>
    {
        Observed observed = Look();
        return [.. State.Bonds.Select(b => Views.Of(b, State, observed, FastPath.Slb))];
    });

    public ValueTask<BondInfo> BondShow(BondParams p, CancellationToken c) => Ask(() => Info(State.BondOf(p.Bond)));

    public ValueTask<BondInfo> BondSetMode(BondSetModeParams p, CancellationToken c) => Ask(() =>
    {
        Bond bond = State.BondOf(p.Bond);
        Bond changed = bond with
        {
            Mode = BondWords.ParseMode(bond.Device, p.Mode),
            Properties = With(bond.Properties, bond.Device, p.Properties),
        };
        controller.Commit(State.Change(changed), $"bond set-mode {bond.Device} {p.Mode}");
        controller.Announce("bond.changed", bond.Device, $"mode {p.Mode}");
        return Info(changed);
    });

    public ValueTask<Empty> BondDestroy(BondParams p, CancellationToken c) => Ask(() =>
    {
        Bond bond = State.BondOf(p.Bond);
        string primary = State.PifOf(bond.Members[0]).Device;
        Admission.Destroy(bond, State, Look());
        controller.Commit(State.Remove(bond), $"bond destroy {bond.Device}");
        controller.Announce("bond.destroyed", bond.Device, $"its network and vlans went to {primary}");
        return new Empty();
    });

    /// <summary>A new VLAN on a subinterface that is there or will be made, with this name if one is given.</summary>
    private static Vlan NewVlan(Pif pif, int tag, Network network, string? name, Observed observed)
    {
        LinkInfo? existing = Admission.Vlan(pif, tag, network, observed);
        string device = existing?.Name ?? name ?? Rules.VlanDeviceFor(observed.DeviceOf(pif)!.Name, tag, n => observed.Link(n) is not null);
        return new Vlan(Guid.NewGuid(), pif.Uuid, tag, network.Uuid, device) { WasThere = existing is not null };
    }

    private static BondProperties With(BondProperties properties, string device, IReadOnlyDictionary<string, string>? changes) =>
        (changes ?? new Dictionary<string, string>()).OrderBy(c => c.Key, StringComparer.Ordinal)
            .Aggregate(properties, (p, change) => BondWords.With(p, device, change.Key, change.Value));

    private VlanInfo Info(Vlan vlan) => Views.Of(State.VlanOf(vlan.Uuid.ToString()), State, Look(), FastPath);

    private BondInfo Info(Bond bond) => Views.Of(State.BondOf(bond.Uuid.ToString()), State, Look(), FastPath.Slb);
}
