// The words of the API: what each method takes and returns. JSON names are the camelCase of these names.
// Others script against them, so a field may be added but never renamed.
using System.Text.Json;
using System.Text.Json.Serialization;

namespace XenFastPath.Api;

/// <summary>Parameters of <c>network.create</c>.</summary>
public sealed record NetworkCreateParams(string Label, string? Bridge = null, string? Pif = null, int? Mtu = null, string? Datapath = null);

/// <summary>Parameters of <c>network.set</c>; what is null stays as it is.</summary>
public sealed record NetworkSetParams(string Network, int? Mtu = null, string? Datapath = null, string? Pif = null, bool NoPif = false);

/// <summary>Parameters of the methods that take one Network, by uuid, label or bridge name.</summary>
public sealed record NetworkParams(string Network);

/// <summary>Parameters of the methods that take one PIF, by uuid or device.</summary>
public sealed record PifParams(string Pif);

/// <summary>Parameters of <c>vif.plug</c>. <paramref name="Mac"/> is the guest's address, not the one dom0 sees on the device.</summary>
public sealed record VifPlugParams(string Device, string Network, string? Mac = null);

/// <summary>Parameters of <c>vif.move</c>.</summary>
public sealed record VifMoveParams(string Vif, string Network);

/// <summary>Parameters of the methods that take one VIF, by uuid or device.</summary>
public sealed record VifParams(string Vif);

/// <summary>Parameters of <c>fdb.list</c>; without a Network, all of them.</summary>
public sealed record FdbListParams(string? Network = null);

/// <summary>For methods that take or return nothing.</summary>
public sealed record Empty;

/// <summary>A virtual switch with what is connected to it.</summary>
public sealed record NetworkInfo(
    Guid Uuid, string Label, string Bridge, int? BridgeIfindex, int Mtu,
    string Datapath,          // as set: auto | afxdp | redirect | bridge
    string Path,              // in force: afxdp | redirect | bridge
    string PathReason,        // why that path, one sentence
    string State,             // up | down | missing
    bool BridgeAdopted,       // the bridge was there before us and will be left there
    IReadOnlyList<string> Bypassed,  // what frames on the fast path would not meet (nft chains, tc filters, ...)
    PifInfo? Pif,
    IReadOnlyList<VifInfo> Vifs);

/// <summary>Where a port's frames go and in which mode, and why.</summary>
public sealed record PortPathInfo(
    string Path,              // afxdp | redirect | bridge
    string Reason,            // why that path, one sentence
    string? Xdp,              // native | generic; null: no XDP attached
    string? Umem,             // zero-copy | copy; null: no AF_XDP socket
    int Queues);              // AF_XDP queues bound

/// <summary>
/// Frame counters of one port since it was plugged. All count frames unless the name says bytes. What came in and was judged is
/// <paramref name="FastRxFrames"/> + <paramref name="KernelFrames"/>; no key of <paramref name="Named"/> repeats a fixed name.
/// </summary>
public sealed record PortCountersInfo(
    long RxFrames, long RxBytes, long TxFrames, long TxBytes,      // the device's own, as `ip -s link` shows them
    long FastRxFrames, long FastTxFrames,                          // through the forwarder
    long KernelFrames,                                             // received and left to the kernel bridge
    long DroppedFrames,                                            // by policy or for want of room
    IReadOnlyDictionary<string, long> Named);                      // every non-zero named counter of program and forwarder

/// <summary>A physical interface that was introduced (<c>pif.scan</c> introduces every network card it finds).</summary>
public sealed record PifInfo(
    Guid Uuid, string Device, int? Ifindex, string? Network, string Mac, string? PermanentMac, string? BusPath, string? Driver,
    int Mtu, bool Carrier, long? SpeedMbps,
    string State,             // forwarding | learning | listening | blocking | disabled | no-carrier | down | unplugged | missing
    PortPathInfo? Path, PortCountersInfo? Counters);

/// <summary>A guest's interface as dom0 sees it.</summary>
public sealed record VifInfo(
    Guid Uuid, string Device, int? Ifindex, string Network, string? Mac, int Mtu, bool Carrier,
    string State,             // as PifInfo.State
    PortPathInfo? Path, PortCountersInfo? Counters);

/// <summary>One row of the kernel's forwarding database.</summary>
public sealed record FdbEntryInfo(
    string Network, string Mac, string Device,
    bool Permanent,           // dom0's own or a port's own address: never on the fast path
    bool FastPath,            // mirrored into the fast path's tables
    double? IdleSeconds);     // since the kernel last saw it as a source

/// <summary>What is known after <c>fdb.sync</c>: learned entries of the kernel, and how many of them are on the fast path.</summary>
public sealed record FdbSyncInfo(long Entries, long FastPathEntries);

/// <summary>The forwarder process as the daemon sees it.</summary>
public sealed record ForwarderInfo(
    string State,             // running | stale | down
    int? Pid, string? InstructionSet, long? HeartbeatAgeMs, int Ports, int FramesTotal, int FramesFree, long Gen0Collections,
    long Restarts);

/// <summary>Everything <c>xfp show</c> draws.</summary>
public sealed record ShowInfo(string Version, string Kernel, string Instance, ForwarderInfo Forwarder, IReadOnlyList<NetworkInfo> Networks,
    IReadOnlyList<PifInfo> UnattachedPifs, long MonotonicNs);

/// <summary>Counters of the whole data path.</summary>
public sealed record StatsInfo(long MonotonicNs, ForwarderInfo Forwarder, IReadOnlyDictionary<string, long> Loop, IReadOnlyList<PortStatsInfo> Ports,
    IReadOnlyDictionary<string, long> Mirror);

/// <summary>One port's row in <see cref="StatsInfo"/>.</summary>
public sealed record PortStatsInfo(string Device, string Network, string Path, PortCountersInfo Counters);

/// <summary>What <c>plan</c> would do now, in order; empty when the machine is as it should be.</summary>
public sealed record PlanInfo(IReadOnlyList<string> Actions);

/// <summary>One row of <c>doctor</c>.</summary>
public sealed record DoctorCheckInfo(
    string Name,
    string Result,            // ok | missing | warning
    string Detail,
    string? Remedy);          // what to do, e.g. "modprobe 8021q"

/// <summary>What this kernel and machine can do.</summary>
public sealed record DoctorInfo(string Kernel, IReadOnlyList<DoctorCheckInfo> Checks);

/// <summary>A bridge as <c>brctl show</c> prints it; every bridge of the machine, ours or not.</summary>
public sealed record BridgeInfo(string Name, string Id, bool Stp, IReadOnlyList<string> Interfaces);

/// <summary>One change, streamed to a client that called <c>events</c>.</summary>
public sealed record EventInfo(
    DateTimeOffset Time,
    string Kind,              // network.created, vif.plugged, vif.gone, port.changed, forwarder.down, events.lost, ...
    string Object,            // label or device
    string Message);

/// <summary>A refused request: what was wrong with which object.</summary>
public sealed record ErrorData(string? Object, string Reason);

/// <summary>Every type that crosses the socket, for the source generator: no reflection at run time.</summary>
[JsonSourceGenerationOptions(JsonSerializerDefaults.Web, DefaultIgnoreCondition = JsonIgnoreCondition.Never,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow, RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(NetworkCreateParams))]
[JsonSerializable(typeof(NetworkSetParams))]
[JsonSerializable(typeof(NetworkParams))]
[JsonSerializable(typeof(PifParams))]
[JsonSerializable(typeof(VifPlugParams))]
[JsonSerializable(typeof(VifMoveParams))]
[JsonSerializable(typeof(VifParams))]
[JsonSerializable(typeof(FdbListParams))]
[JsonSerializable(typeof(Empty))]
[JsonSerializable(typeof(NetworkInfo))]
[JsonSerializable(typeof(IReadOnlyList<NetworkInfo>))]
[JsonSerializable(typeof(PifInfo))]
[JsonSerializable(typeof(IReadOnlyList<PifInfo>))]
[JsonSerializable(typeof(VifInfo))]
[JsonSerializable(typeof(IReadOnlyList<VifInfo>))]
[JsonSerializable(typeof(IReadOnlyList<FdbEntryInfo>))]
[JsonSerializable(typeof(FdbSyncInfo))]
[JsonSerializable(typeof(ShowInfo))]
[JsonSerializable(typeof(StatsInfo))]
[JsonSerializable(typeof(PlanInfo))]
[JsonSerializable(typeof(DoctorInfo))]
[JsonSerializable(typeof(IReadOnlyList<BridgeInfo>))]
[JsonSerializable(typeof(EventInfo))]
[JsonSerializable(typeof(ErrorData))]
public sealed partial class ApiJsonContext : JsonSerializerContext;
