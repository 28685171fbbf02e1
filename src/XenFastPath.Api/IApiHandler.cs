// What the daemon offers. Reading order here: IApiHandler, ApiMethods, ServerConnection, RpcRequest, LineReader.
namespace XenFastPath.Api;

/// <summary>
/// The daemon behind the socket. Clients are independent, so calls come concurrently; the requests of one client come
/// one after the other. A call is not cancelled when its client goes away (half of a change helps nobody), only when
/// the server stops. Throw <see cref="RefusedException"/> to refuse; anything else is logged as an internal error.
/// </summary>
public interface IApiHandler
{
    /// <summary>Where the daemon publishes what happens; clients that called <c>events</c> read it.</summary>
    EventHub Events { get; }

    ValueTask<NetworkInfo> NetworkCreate(NetworkCreateParams parameters, CancellationToken cancellationToken);
    ValueTask<IReadOnlyList<NetworkInfo>> NetworkList(Empty parameters, CancellationToken cancellationToken);
    ValueTask<NetworkInfo> NetworkShow(NetworkParams parameters, CancellationToken cancellationToken);
    ValueTask<NetworkInfo> NetworkSet(NetworkSetParams parameters, CancellationToken cancellationToken);
    ValueTask<Empty> NetworkDestroy(NetworkParams parameters, CancellationToken cancellationToken);

    ValueTask<IReadOnlyList<PifInfo>> PifScan(Empty parameters, CancellationToken cancellationToken);
    ValueTask<IReadOnlyList<PifInfo>> PifList(Empty parameters, CancellationToken cancellationToken);
    ValueTask<PifInfo> PifShow(PifParams parameters, CancellationToken cancellationToken);
    ValueTask<PifInfo> PifIntroduce(PifParams parameters, CancellationToken cancellationToken);
    ValueTask<Empty> PifForget(PifParams parameters, CancellationToken cancellationToken);
    ValueTask<PifInfo> PifPlug(PifParams parameters, CancellationToken cancellationToken);
    ValueTask<PifInfo> PifUnplug(PifParams parameters, CancellationToken cancellationToken);
    ValueTask<PifInfo> PifReconfigureIp(PifReconfigureIpParams parameters, CancellationToken cancellationToken);

    ValueTask<VlanInfo> VlanCreate(VlanCreateParams parameters, CancellationToken cancellationToken);
    ValueTask<IReadOnlyList<VlanInfo>> VlanList(Empty parameters, CancellationToken cancellationToken);
    ValueTask<VlanInfo> VlanShow(VlanParams parameters, CancellationToken cancellationToken);
    ValueTask<Empty> VlanDestroy(VlanParams parameters, CancellationToken cancellationToken);

    ValueTask<BondInfo> BondCreate(BondCreateParams parameters, CancellationToken cancellationToken);
    ValueTask<IReadOnlyList<BondInfo>> BondList(Empty parameters, CancellationToken cancellationToken);
    ValueTask<BondInfo> BondShow(BondParams parameters, CancellationToken cancellationToken);
    ValueTask<BondInfo> BondSetMode(BondSetModeParams parameters, CancellationToken cancellationToken);
    ValueTask<Empty> BondDestroy(BondParams parameters, CancellationToken cancellationToken);

    ValueTask<VifInfo> VifPlug(VifPlugParams parameters, CancellationToken cancellationToken);
    ValueTask<Empty> VifUnplug(VifParams parameters, CancellationToken cancellationToken);
    ValueTask<IReadOnlyList<VifInfo>> VifList(Empty parameters, CancellationToken cancellationToken);
    ValueTask<VifInfo> VifShow(VifParams parameters, CancellationToken cancellationToken);
    ValueTask<VifInfo> VifSet(VifSetParams parameters, CancellationToken cancellationToken);
    ValueTask<VifInfo> VifMove(VifMoveParams parameters, CancellationToken cancellationToken);

    ValueTask<IReadOnlyList<FdbEntryInfo>> FdbList(FdbListParams parameters, CancellationToken cancellationToken);

    /// <summary>Returns when the fast path's tables hold what the kernel's FDB held at the call.</summary>
    ValueTask<FdbSyncInfo> FdbSync(Empty parameters, CancellationToken cancellationToken);

    ValueTask<StatsInfo> Stats(Empty parameters, CancellationToken cancellationToken);
    ValueTask<ShowInfo> Show(Empty parameters, CancellationToken cancellationToken);
    ValueTask<PlanInfo> Plan(PlanParams parameters, CancellationToken cancellationToken);
    ValueTask<StateExportInfo> StateExport(Empty parameters, CancellationToken cancellationToken);
    ValueTask<StateApplyInfo> StateApply(StateApplyParams parameters, CancellationToken cancellationToken);
    ValueTask<Empty> StateConfirm(Empty parameters, CancellationToken cancellationToken);
    ValueTask<StateRollbackInfo> StateRollback(Empty parameters, CancellationToken cancellationToken);
    ValueTask<DoctorInfo> Doctor(Empty parameters, CancellationToken cancellationToken);
    ValueTask<IReadOnlyList<BridgeInfo>> BridgeList(Empty parameters, CancellationToken cancellationToken);
}
