// The method table: one line per method, used by both sides. The server finds it by name, the client calls through it.
using System.Collections.Frozen;
using System.IO.Pipelines;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace XenFastPath.Api;

/// <summary>A method of the API.</summary>
public abstract class ApiMethod
{
    private protected ApiMethod(string name) => Name = name;

    /// <summary>The name on the wire.</summary>
    public string Name { get; }

    internal abstract ValueTask<object> InvokeAsync(
        IApiHandler handler, ReadOnlySpan<byte> parameters, CancellationToken cancellationToken);

    /// <summary>Writes a result in pieces, so that a large one is never held as text.</summary>
    internal abstract Task WriteResultAsync(PipeWriter output, object result, CancellationToken cancellationToken);
}

/// <summary>A method of the API with the types it takes and returns.</summary>
public sealed class ApiMethod<TParams, TResult> : ApiMethod
{
    private readonly Func<ApiJsonContext, JsonTypeInfo<TParams>> _paramsType;
    private readonly Func<ApiJsonContext, JsonTypeInfo<TResult>> _resultType;
    private readonly Func<IApiHandler, TParams, CancellationToken, ValueTask<TResult>> _handle;

    internal ApiMethod(
        string name,
        Func<ApiJsonContext, JsonTypeInfo<TParams>> paramsType,
        Func<ApiJsonContext, JsonTypeInfo<TResult>> resultType,
        Func<IApiHandler, TParams, CancellationToken, ValueTask<TResult>> handle)
        : base(name)
    {
        (_paramsType, _resultType, _handle) = (paramsType, resultType, handle);
    }

    internal JsonTypeInfo<TParams> ParamsType => _paramsType(Wire.Strict);

    /// <summary>How a client reads the result.</summary>
    internal JsonTypeInfo<TResult> ResultType => _resultType(Wire.Lenient);

    internal override ValueTask<object> InvokeAsync(
        IApiHandler handler, ReadOnlySpan<byte> parameters, CancellationToken cancellationToken)
    {
        TParams typed;
        try
        {
            typed = JsonSerializer.Deserialize(parameters, ParamsType)!;
        }
        catch (JsonException e)
        {
            throw ParamsFault.Explain(e, ParamsType, parameters);
        }
        return InvokeAsync(handler, typed, cancellationToken);
    }

    internal override Task WriteResultAsync(PipeWriter output, object result, CancellationToken cancellationToken) =>
        JsonSerializer.SerializeAsync(output, (TResult)result, _resultType(Wire.Strict), cancellationToken);

    private async ValueTask<object> InvokeAsync(
        IApiHandler handler, TParams parameters, CancellationToken cancellationToken) =>
        (await _handle(handler, parameters, cancellationToken).ConfigureAwait(false))!;
}

/// <summary>The methods of the API.</summary>
public static class ApiMethods
{
    public static readonly ApiMethod<NetworkCreateParams, NetworkInfo> NetworkCreate =
        new("network.create", c => c.NetworkCreateParams, c => c.NetworkInfo, (h, p, t) => h.NetworkCreate(p, t));
    public static readonly ApiMethod<Empty, IReadOnlyList<NetworkInfo>> NetworkList =
        new("network.list", c => c.Empty, c => c.IReadOnlyListNetworkInfo, (h, p, t) => h.NetworkList(p, t));
    public static readonly ApiMethod<NetworkParams, NetworkInfo> NetworkShow =
        new("network.show", c => c.NetworkParams, c => c.NetworkInfo, (h, p, t) => h.NetworkShow(p, t));
    public static readonly ApiMethod<NetworkSetParams, NetworkInfo> NetworkSet =
        new("network.set", c => c.NetworkSetParams, c => c.NetworkInfo, (h, p, t) => h.NetworkSet(p, t));
    public static readonly ApiMethod<NetworkParams, Empty> NetworkDestroy =
        new("network.destroy", c => c.NetworkParams, c => c.Empty, (h, p, t) => h.NetworkDestroy(p, t));

    public static readonly ApiMethod<Empty, IReadOnlyList<PifInfo>> PifScan =
        new("pif.scan", c => c.Empty, c => c.IReadOnlyListPifInfo, (h, p, t) => h.PifScan(p, t));
    public static readonly ApiMethod<Empty, IReadOnlyList<PifInfo>> PifList =
        new("pif.list", c => c.Empty, c => c.IReadOnlyListPifInfo, (h, p, t) => h.PifList(p, t));
    public static readonly ApiMethod<PifParams, PifInfo> PifShow =
        new("pif.show", c => c.PifParams, c => c.PifInfo, (h, p, t) => h.PifShow(p, t));
    public static readonly ApiMethod<PifParams, PifInfo> PifIntroduce =
        new("pif.introduce", c => c.PifParams, c => c.PifInfo, (h, p, t) => h.PifIntroduce(p, t));
    public static readonly ApiMethod<PifParams, Empty> PifForget =
        new("pif.forget", c => c.PifParams, c => c.Empty, (h, p, t) => h.PifForget(p, t));
    public static readonly ApiMethod<PifParams, PifInfo> PifPlug =
        new("pif.plug", c => c.PifParams, c => c.PifInfo, (h, p, t) => h.PifPlug(p, t));
    public static readonly ApiMethod<PifParams, PifInfo> PifUnplug =
        new("pif.unplug", c => c.PifParams, c => c.PifInfo, (h, p, t) => h.PifUnplug(p, t));
    public static readonly ApiMethod<PifReconfigureIpParams, PifInfo> PifReconfigureIp =
        new("pif.reconfigure-ip", c => c.PifReconfigureIpParams, c => c.PifInfo, (h, p, t) => h.PifReconfigureIp(p, t));

    public static readonly ApiMethod<VlanCreateParams, VlanInfo> VlanCreate =
        new("vlan.create", c => c.VlanCreateParams, c => c.VlanInfo, (h, p, t) => h.VlanCreate(p, t));
    public static readonly ApiMethod<Empty, IReadOnlyList<VlanInfo>> VlanList =
        new("vlan.list", c => c.Empty, c => c.IReadOnlyListVlanInfo, (h, p, t) => h.VlanList(p, t));
    public static readonly ApiMethod<VlanParams, VlanInfo> VlanShow =
        new("vlan.show", c => c.VlanParams, c => c.VlanInfo, (h, p, t) => h.VlanShow(p, t));
    public static readonly ApiMethod<VlanParams, Empty> VlanDestroy =
        new("vlan.destroy", c => c.VlanParams, c => c.Empty, (h, p, t) => h.VlanDestroy(p, t));

    public static readonly ApiMethod<BondCreateParams, BondInfo> BondCreate =
        new("bond.create", c => c.BondCreateParams, c => c.BondInfo, (h, p, t) => h.BondCreate(p, t));
    public static readonly ApiMethod<Empty, IReadOnlyList<BondInfo>> BondList =
        new("bond.list", c => c.Empty, c => c.IReadOnlyListBondInfo, (h, p, t) => h.BondList(p, t));
    public static readonly ApiMethod<BondParams, BondInfo> BondShow =
        new("bond.show", c => c.BondParams, c => c.BondInfo, (h, p, t) => h.BondShow(p, t));
    public static readonly ApiMethod<BondSetModeParams, BondInfo> BondSetMode =
        new("bond.set-mode", c => c.BondSetModeParams, c => c.BondInfo, (h, p, t) => h.BondSetMode(p, t));
    public static readonly ApiMethod<BondParams, Empty> BondDestroy =
        new("bond.destroy", c => c.BondParams, c => c.Empty, (h, p, t) => h.BondDestroy(p, t));

    public static readonly ApiMethod<VifPlugParams, VifInfo> VifPlug =
        new("vif.plug", c => c.VifPlugParams, c => c.VifInfo, (h, p, t) => h.VifPlug(p, t));
    public static readonly ApiMethod<VifParams, Empty> VifUnplug =
        new("vif.unplug", c => c.VifParams, c => c.Empty, (h, p, t) => h.VifUnplug(p, t));
    public static readonly ApiMethod<Empty, IReadOnlyList<VifInfo>> VifList =
        new("vif.list", c => c.Empty, c => c.IReadOnlyListVifInfo, (h, p, t) => h.VifList(p, t));
    public static readonly ApiMethod<VifParams, VifInfo> VifShow =
        new("vif.show", c => c.VifParams, c => c.VifInfo, (h, p, t) => h.VifShow(p, t));
    public static readonly ApiMethod<VifSetParams, VifInfo> VifSet =
        new("vif.set", c => c.VifSetParams, c => c.VifInfo, (h, p, t) => h.VifSet(p, t));
    public static readonly ApiMethod<VifMoveParams, VifInfo> VifMove =
        new("vif.move", c => c.VifMoveParams, c => c.VifInfo, (h, p, t) => h.VifMove(p, t));

    public static readonly ApiMethod<FdbListParams, IReadOnlyList<FdbEntryInfo>> FdbList =
        new("fdb.list", c => c.FdbListParams, c => c.IReadOnlyListFdbEntryInfo, (h, p, t) => h.FdbList(p, t));
    public static readonly ApiMethod<Empty, FdbSyncInfo> FdbSync =
        new("fdb.sync", c => c.Empty, c => c.FdbSyncInfo, (h, p, t) => h.FdbSync(p, t));
    public static readonly ApiMethod<Empty, StatsInfo> Stats =
        new("stats", c => c.Empty, c => c.StatsInfo, (h, p, t) => h.Stats(p, t));
    public static readonly ApiMethod<Empty, ShowInfo> Show =
        new("show", c => c.Empty, c => c.ShowInfo, (h, p, t) => h.Show(p, t));
    public static readonly ApiMethod<PlanParams, PlanInfo> Plan =
        new("plan", c => c.PlanParams, c => c.PlanInfo, (h, p, t) => h.Plan(p, t));
    public static readonly ApiMethod<Empty, StateExportInfo> StateExport =
        new("state.export", c => c.Empty, c => c.StateExportInfo, (h, p, t) => h.StateExport(p, t));
    public static readonly ApiMethod<StateApplyParams, StateApplyInfo> StateApply =
        new("state.apply", c => c.StateApplyParams, c => c.StateApplyInfo, (h, p, t) => h.StateApply(p, t));
    public static readonly ApiMethod<Empty, Empty> StateConfirm =
        new("state.confirm", c => c.Empty, c => c.Empty, (h, p, t) => h.StateConfirm(p, t));
    public static readonly ApiMethod<Empty, StateRollbackInfo> StateRollback =
        new("state.rollback", c => c.Empty, c => c.StateRollbackInfo, (h, p, t) => h.StateRollback(p, t));
    public static readonly ApiMethod<Empty, DoctorInfo> Doctor =
        new("doctor", c => c.Empty, c => c.DoctorInfo, (h, p, t) => h.Doctor(p, t));
    public static readonly ApiMethod<Empty, IReadOnlyList<BridgeInfo>> BridgeList =
        new("bridge.list", c => c.Empty, c => c.IReadOnlyListBridgeInfo, (h, p, t) => h.BridgeList(p, t));

    /// <summary>Subscribes the connection; the connection itself sends the notifications.</summary>
    public static readonly ApiMethod<Empty, Empty> Events =
        new("events", c => c.Empty, c => c.Empty, (_, p, _) => ValueTask.FromResult(p));
}

/// <summary>Apart from <see cref="ApiMethods"/>, so that a client does not pay for the table at start-up.</summary>
internal static class MethodTable
{
    public static readonly FrozenDictionary<string, ApiMethod> ByName = new ApiMethod[]
    {
        ApiMethods.NetworkCreate, ApiMethods.NetworkList, ApiMethods.NetworkShow, ApiMethods.NetworkSet,
        ApiMethods.NetworkDestroy,
        ApiMethods.PifScan, ApiMethods.PifList, ApiMethods.PifShow, ApiMethods.PifIntroduce, ApiMethods.PifForget,
        ApiMethods.PifPlug, ApiMethods.PifUnplug, ApiMethods.PifReconfigureIp,
        ApiMethods.VlanCreate, ApiMethods.VlanList, ApiMethods.VlanShow, ApiMethods.VlanDestroy,
        ApiMethods.BondCreate, ApiMethods.BondList, ApiMethods.BondShow, ApiMethods.BondSetMode, ApiMethods.BondDestroy,
        ApiMethods.VifPlug, ApiMethods.VifUnplug, ApiMethods.VifList, ApiMethods.VifShow, ApiMethods.VifSet, ApiMethods.VifMove,
        ApiMethods.FdbList, ApiMethods.FdbSync, ApiMethods.Stats, ApiMethods.Show, ApiMethods.Plan, ApiMethods.Doctor,
        ApiMethods.StateExport, ApiMethods.StateApply, ApiMethods.StateConfirm, ApiMethods.StateRollback,
        ApiMethods.BridgeList, ApiMethods.Events,
    }.ToFrozenDictionary(m => m.Name, StringComparer.Ordinal);
}
