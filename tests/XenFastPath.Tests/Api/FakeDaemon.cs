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

    public ValueTask<VifInfo> VifPlug(VifPlugParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Device, FakeData.Vif1(0));

    public ValueTask<Empty> VifUnplug(VifParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Vif, new Empty());

    public ValueTask<IReadOnlyList<VifInfo>> VifList(Empty parameters, CancellationToken cancel) =>
        ValueTask.FromResult<IReadOnlyList<VifInfo>>([FakeData.Vif1(0), FakeData.Vif2(0), FakeData.Vif3]);

    public ValueTask<VifInfo> VifShow(VifParams parameters, CancellationToken cancel) =>
        About(parameters, parameters.Vif, FakeData.Vif1(0));

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
        ValueTask.FromResult(FakeData.Show(NextTick(), ForwarderState));

    public async ValueTask<PlanInfo> Plan(Empty parameters, CancellationToken cancel)
    {
        await BeforePlan(cancel);
        return new PlanInfo(Actions);
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
