// The methods that take or give the whole desired state as a document.
using System.Security.Cryptography;
using System.Text;
using XenFastPath.Api;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.Control;

internal sealed partial class ApiHandler
{
    private PendingInfo? Pending => controller.SecondsLeft is { } left ? new PendingInfo(left) : null;

    public ValueTask<StateExportInfo> StateExport(Empty p, CancellationToken c) => Ask(() => new StateExportInfo(HostDocument.Of(State).ToText()));

    public ValueTask<PlanInfo> Plan(PlanParams p, CancellationToken c) => Ask(() =>
    {
        Observed observed = Look();
        HostState wanted = p.Document is null ? State : Wanted(p.Document, observed);
        IReadOnlyList<string>? changes = p.Document is null ? null : [.. StateChange.Between(State, wanted).Select(s => s.Text)];
        return new PlanInfo(ActionsTo(wanted, observed), changes);
    });

    public ValueTask<StateApplyInfo> StateApply(StateApplyParams p, CancellationToken c) => Ask(() =>
    {
        controller.RefuseWhilePending();
        if (p.ConfirmSeconds is { } seconds)
            Rollback.Deadline(0, seconds);      // refused before anything else is looked at
        Observed observed = Look();
        HostState before = State, wanted = Wanted(p.Document, observed);
        IReadOnlyList<StateChange> changes = StateChange.Between(before, wanted);
        IReadOnlyList<string> actions = ActionsTo(wanted, observed);
        if (changes.Count == 0 && actions.Count == 0)
            return new StateApplyInfo([], [], Pending);
        HostState disconnected = DocumentApply.Disconnected(before, wanted);
        IReadOnlyList<HostState> steps = disconnected.Pifs.Length == wanted.Pifs.Length ? [wanted] : [disconnected, wanted];
        controller.CommitUnlessUndone(steps, observed, p.ConfirmSeconds, "apply");
        foreach (StateChange change in changes)
            controller.Announce(change.Event, change.Name, change.Detail);
        controller.Announce("state.applied", "state", $"{changes.Count} changes of objects");
        return new StateApplyInfo([.. changes.Select(s => s.Text)], actions, Pending);
    });

    public ValueTask<Empty> StateConfirm(Empty p, CancellationToken c) => Ask(() =>
    {
        controller.Confirm();
        return new Empty();
    });

    public ValueTask<StateRollbackInfo> StateRollback(Empty p, CancellationToken c) =>
        Ask(() => new StateRollbackInfo([.. controller.RollBack().Select(s => s.Text)]));

    private HostState Wanted(string text, Observed observed)
    {
        int bytes = Encoding.UTF8.GetByteCount(text);
        if (bytes > ApiLimits.DocumentBytesMax)
            throw new RefusalException("document", $"has {bytes} bytes; at most {ApiLimits.DocumentBytesMax} are taken");
        return new DocumentApply(HostDocument.Parse(text), State, new DocumentHost(this, observed)).Wanted();
    }

    private IReadOnlyList<string> ActionsTo(HostState wanted, Observed observed)
    {
        Plan plan = Reconcile.Plan.Diff(wanted, controller.Observer.Look(wanted, observed));
        return [.. plan.Actions.Select(a => a.Text), .. plan.Problems.Select(r => $"cannot: {r.Message}")];
    }

    /// <summary>The machine as documents see it: with the checks of the single requests.</summary>
    private sealed class DocumentHost(ApiHandler api, Observed observed) : IDocumentHost
    {
        public Network NewNetwork(HostState state, string label, string? bridge, int? mtu, Datapath datapath) =>
            ApiHandler.NewNetwork(UuidFor(label, state), state, label, bridge, mtu, datapath, observed);

        public void CheckChange(HostState state, Network changed) => api.CheckPorts(state, changed, observed);

        public void CheckDestroy(HostState state, Network network) => Admission.Destroy(network, state, observed);

        public void CheckLeftOut(HostState state, Bond bond, bool hasOtherUplink) => Admission.LeftOut(bond, hasOtherUplink, state, observed);

        public Pif NewPif(string device, string? mac, string? busPath)
        {
            string name = mac is null && busPath is null ? device : ByKey(device, mac, busPath).Name;
            return observed.NewPif(Guid.NewGuid(), Admission.Pif(name, observed));
        }

        public (bool WasInBridge, bool HadLinkLocal, bool HadAddresses) CheckUplink(Pif pif, Network network, Network? from)
        {
            if (observed.DeviceOf(pif) is not { } device)
                return pif.Bond is not null ? (false, false, false) : throw new RefusalException(pif.Device, "the device is missing");
            Admission.Uplink(device, network.Bridge, network.Mtu, observed, from);
            if (from is not null && from.Uuid != network.Uuid)
                Admission.Leaving(device, from, observed);
            bool hasAddresses = api.AdmitHost(device, network, observed);
            api.FastPath.Forgive(device.Index);
            return (device.MasterIndex != 0, device.Ipv6LinkLocal == true, hasAddresses);
        }

        public void CheckIp(Pif pif, IpConfiguration ip) => api.CheckIp(pif, ip, observed);

        public void CheckMember(HostState state, Pif member, Network? network) => Admission.Member(member, network, state, observed);

        public Vlan NewVlan(HostState state, Pif pif, int tag, Network network, string? device) =>
            // On a bond that is still to be made there is no subinterface yet.
            pif.Bond is not null && observed.DeviceOf(pif) is null
                ? new Vlan(Guid.NewGuid(), pif.Uuid, tag, network.Uuid, device ?? Rules.VlanDeviceFor(pif.Device, tag, name => observed.Link(name) is not null))
                : ApiHandler.NewVlan(pif, tag, network, device, observed);

        public Vif NewVif(string device, Network network, string? mac) => api.NewVif(device, network, mac, observed);

        public void CheckTrunks(HostState state, Vif vif) => Admission.Trunks(vif, state, observed);

        public void CheckMove(Vif vif, Network from, Network to) => api.CheckMove(vif, from, to, observed);

        /// <summary>
        /// The same for the plan of a document and its application: a bridge has its address from it. Not one that is in use, or whose
        /// bridge is still to go.
        /// </summary>
        private Guid UuidFor(string label, HostState state)
        {
            for (int n = 0; ; n++)
            {
                byte[] hash = SHA256.HashData(Encoding.UTF8.GetBytes($"{observed.BootId}/{label}/{n}"));
                hash[6] = (byte)((hash[6] & 0x0f) | 0x80);      // RFC 9562: version 8, made in the maker's own way
                hash[8] = (byte)((hash[8] & 0x3f) | 0x80);
                Guid uuid = new(hash.AsSpan(0, 16), bigEndian: true);
                if (state.Networks.All(k => k.Uuid != uuid) && state.Doomed.All(d => d.Network != uuid))
                    return uuid;
            }
        }

        private LinkInfo ByKey(string device, string? mac, string? busPath)
        {
            LinkInfo? found = observed.Links.FirstOrDefault(l => Observed.IsReal(l)
                && (mac is null || mac == Observed.KeyOf(l).Mac) && (busPath is null || busPath == l.ParentDeviceName));
            return found ?? throw new RefusalException(device, $"no device has {mac}{(mac is null || busPath is null ? "" : " on ")}{busPath}; "
                + "leave out \"mac\" and \"busPath\" to take the device of this name");
        }
    }
}
