// A daemon with two Networks and a past that never changes, so that what it answers can be compared with files.
using System.Runtime.CompilerServices;
using XenFastPath.Api;

namespace XenFastPath.Tests.Api;

/// <summary>Answers every method with fixed data; "taken", "nope" and "explode" are the names it objects to.</summary>
internal sealed class FakeDaemon : IApiHandler
{
    private int _calls;

    public EventHub Events { get; } = new();

    /// <summary>What <c>plan</c> waits for before it answers.</summary>
    public Func<CancellationToken, Task> BeforePlan { get; init; } = _ => Task.CompletedTask;

    public IReadOnlyList<string> Actions { get; init; } = ["create bridge xenbr0", "set eth0 up"];

    public IReadOnlyList<FdbEntryInfo> Fdb { get; init; } = FakeData.Fdb;

    public string ForwarderState { get; init; } = "running";

    /// <summary>Seconds left of an apply that waits for its confirmation.</summary>
    public int? PendingSeconds { get; init; }

    /// <summary>The last call that names an object, as text.</summary>
    public string? LastCall { get; set; }

    // One call of show or stats is one 300 ms tick: the numbers of FakeData.Counters grow with it.
    private int NextTick() => Interlocked.Increment(ref _calls) - 1;

    public ValueTask<NetworkInfo> NetworkCreate(NetworkCreateParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Label, FakeData.Lan(0));

    public ValueTask<IReadOnlyList<NetworkInfo>> NetworkList(Empty parameters, CancellationToken cancel) =>
        ValueTask.FromResult<IReadOnlyList<NetworkInfo>>([FakeData.Lan(0), FakeData.Guests]);

    public ValueTask<NetworkInfo> NetworkShow(NetworkParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Network, parameters.Network == "LAN" ? FakeData.Lan(0) : FakeData.Guests);

    public ValueTask<NetworkInfo> NetworkSet(NetworkSetParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Network, FakeData.Guests);

    public ValueTask<Empty> NetworkDestroy(NetworkParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Network, new Empty());

    public ValueTask<IReadOnlyList<PifInfo>> PifScan(Empty parameters, CancellationToken cancel) =>
        PifList(parameters, cancel);

    public ValueTask<IReadOnlyList<PifInfo>> PifList(Empty parameters, CancellationToken cancel) =>
        ValueTask.FromResult<IReadOnlyList<PifInfo>>([FakeData.Eth0(0), FakeData.Eth1]);

    public ValueTask<PifInfo> PifShow(PifParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Pif, FakeData.Eth0(0));

    public ValueTask<PifInfo> PifIntroduce(PifParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Pif, FakeData.Eth1);

    public ValueTask<Empty> PifForget(PifParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Pif, new Empty());

    public ValueTask<PifInfo> PifPlug(PifParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Pif, FakeData.Eth0(0));

    public ValueTask<PifInfo> PifUnplug(PifParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Pif, FakeData.Eth1);

    public ValueTask<PifInfo> PifReconfigureIp(PifReconfigureIpParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Pif, FakeData.Eth0(0));

    public ValueTask<VlanInfo> VlanCreate(VlanCreateParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Pif, FakeData.Vlan100);

    public ValueTask<IReadOnlyList<VlanInfo>> VlanList(Empty parameters, CancellationToken cancel) =>
        ValueTask.FromResult<IReadOnlyList<VlanInfo>>([FakeData.Vlan100]);

    public ValueTask<VlanInfo> VlanShow(VlanParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Vlan, FakeData.Vlan100);

    public ValueTask<Empty> VlanDestroy(VlanParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Vlan, new Empty());

    public ValueTask<BondInfo> BondCreate(BondCreateParams parameters, CancellationToken cancel) =>
        About($"{string.Join('+', parameters.Pifs)} {parameters.Mode} {parameters.Network} {parameters.Mac} " +
            string.Join(' ', parameters.Properties ?? new Dictionary<string, string>()), parameters.Network, FakeData.Bond0);

    public ValueTask<IReadOnlyList<BondInfo>> BondList(Empty parameters, CancellationToken cancel) =>
        ValueTask.FromResult<IReadOnlyList<BondInfo>>([FakeData.Bond0]);

    public ValueTask<BondInfo> BondShow(BondParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Bond, parameters.Bond == "bond1" ? FakeData.Bond1 : FakeData.Bond0);

    public ValueTask<BondInfo> BondSetMode(BondSetModeParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Bond, FakeData.Bond0);

    public ValueTask<Empty> BondDestroy(BondParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Bond, new Empty());

    public ValueTask<VifInfo> VifPlug(VifPlugParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Device, FakeData.Vif1(0));

    public ValueTask<Empty> VifUnplug(VifParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Vif, new Empty());

    public ValueTask<IReadOnlyList<VifInfo>> VifList(Empty parameters, CancellationToken cancel) =>
        ValueTask.FromResult<IReadOnlyList<VifInfo>>([FakeData.Vif1(0), FakeData.Vif2(0), FakeData.Vif3]);

    public ValueTask<VifInfo> VifShow(VifParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Vif, FakeData.Vif1(0));

    public ValueTask<VifInfo> VifSet(VifSetParams parameters, CancellationToken cancel) =>
        About($"{parameters.Vif} [{string.Join(' ', parameters.Trunks)}]", parameters.Vif,
            FakeData.Vif1(0) with { Trunks = parameters.Trunks.Count > 0 ? parameters.Trunks : null });

    public ValueTask<VifInfo> VifMove(VifMoveParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Vif, FakeData.Vif1(0));

    public ValueTask<IReadOnlyList<FdbEntryInfo>> FdbList(FdbListParams parameters, CancellationToken cancel) =>
        parameters.Network == "nope"
            ? throw new RefusedException("nope", "no such Network")
            : ValueTask.FromResult(Fdb);

    public ValueTask<FdbSyncInfo> FdbSync(Empty parameters, CancellationToken cancel) =>
        ValueTask.FromResult(new FdbSyncInfo(3, 2));

    public ValueTask<StatsInfo> Stats(Empty parameters, CancellationToken cancel) =>
        ValueTask.FromResult(FakeData.Stats(NextTick(), ForwarderState));

    public ValueTask<ShowInfo> Show(Empty parameters, CancellationToken cancel) =>
        ValueTask.FromResult(FakeData.Show(NextTick(), ForwarderState, PendingSeconds));

    public async ValueTask<PlanInfo> Plan(PlanParams parameters, CancellationToken cancel)
    {
        await BeforePlan(cancel);
        return parameters.Document is { } document ? Declared(document, new PlanInfo(Actions, FakeData.Changes)) : new PlanInfo(Actions);
    }

    public ValueTask<StateExportInfo> StateExport(Empty parameters, CancellationToken cancel) =>
        ValueTask.FromResult(new StateExportInfo(FakeData.Document));

    public ValueTask<StateApplyInfo> StateApply(StateApplyParams parameters, CancellationToken cancel) => ValueTask.FromResult(
        Declared(parameters.Document, new StateApplyInfo(Actions.Count == 0 ? [] : FakeData.Changes, Actions,
            parameters.ConfirmSeconds is { } seconds ? new PendingInfo(seconds) : null)));

    public ValueTask<Empty> StateConfirm(Empty parameters, CancellationToken cancel) =>
        PendingSeconds is null ? throw new RefusedException("confirm", "nothing waits for a confirmation") : ValueTask.FromResult(new Empty());

    public ValueTask<StateRollbackInfo> StateRollback(Empty parameters, CancellationToken cancel) =>
        PendingSeconds is null ? throw new RefusedException("rollback", "nothing waits for a confirmation")
            : ValueTask.FromResult(new StateRollbackInfo(["destroy network prod: bridge prod, mtu 1500, datapath auto"]));

    // A document is refused if "taken" is in it.
    private T Declared<T>(string document, T result)
    {
        LastCall = $"{document.Length} characters";
        return document.Contains("taken", StringComparison.Ordinal) ? throw new RefusedException("taken", "networks[0] (line 1): no") : result;
    }

    public ValueTask<DoctorInfo> Doctor(Empty parameters, CancellationToken cancel) =>
        ValueTask.FromResult(FakeData.Doctor);

    public ValueTask<IReadOnlyList<BridgeInfo>> BridgeList(Empty parameters, CancellationToken cancel) =>
        ValueTask.FromResult(FakeData.Bridges);

    private ValueTask<T> About<T>(
        object parameters, string name, T result, [CallerMemberName] string method = "")
    {
        LastCall = $"{method} {parameters}";
        return name switch
        {
            "taken" => throw new RefusedException("taken", "a Network with this label exists already"),
            "nope" => throw new RefusedException("nope", "no such object"),
            "explode" => throw new InvalidOperationException("the fuse was lit"),
            _ => ValueTask.FromResult(result),
        };
    }
}
