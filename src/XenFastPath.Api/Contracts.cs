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

/// <summary>
/// Parameters of <c>pif.reconfigure-ip</c>. A family whose mode is null stays as it is; DNS, domain and routes stay too if null, where they
/// still fit. <paramref name="Ip"/> and <paramref name="Ipv6"/> are ADDRESS/PREFIX, a route is SUBNET=GATEWAY.
/// </summary>
public sealed record PifReconfigureIpParams(
    string Pif, string? Mode = null, string? Ip = null, string? Gateway = null, IReadOnlyList<string>? Dns = null, string? Domain = null,
    string? Ipv6Mode = null, string? Ipv6 = null, string? Gateway6 = null, IReadOnlyList<string>? Routes = null);

/// <summary>Parameters of <c>vlan.create</c>.</summary>
public sealed record VlanCreateParams(string Pif, int Tag, string Network);

/// <summary>Parameters of the methods that take one VLAN, by uuid, device or PIF.TAG.</summary>
public sealed record VlanParams(string Vlan);

/// <summary>Parameters of <c>bond.create</c>. The first PIF is the primary; property names are XenServer's.</summary>
public sealed record BondCreateParams(
    IReadOnlyList<string> Pifs, string Mode, string Network, string? Mac = null, IReadOnlyDictionary<string, string>? Properties = null);

/// <summary>Parameters of the methods that take one bond, by uuid or device.</summary>
public sealed record BondParams(string Bond);

/// <summary>Parameters of <c>bond.set-mode</c>.</summary>
public sealed record BondSetModeParams(string Bond, string Mode, IReadOnlyDictionary<string, string>? Properties = null);

/// <summary>Parameters of <c>vif.plug</c>. <paramref name="Mac"/> is the guest's address, not the one dom0 sees on the device.</summary>
public sealed record VifPlugParams(string Device, string Network, string? Mac = null);

/// <summary>
/// Parameters of <c>vif.set</c>. Frames with one of the tags belong to the Network of the VLAN with that tag on the uplink of the VIF's
/// Network; an empty list ends that.
/// </summary>
public sealed record VifSetParams(string Vif, IReadOnlyList<int> Trunks);

/// <summary>Parameters of <c>vif.move</c>.</summary>
public sealed record VifMoveParams(string Vif, string Network);

/// <summary>Parameters of the methods that take one VIF, by uuid or device.</summary>
public sealed record VifParams(string Vif);

/// <summary>Parameters of <c>fdb.list</c>; without a Network, all of them.</summary>
public sealed record FdbListParams(string? Network = null);

/// <summary>Parameters of <c>plan</c>: a document of the whole desired state, as text; without it, the state wanted now.</summary>
public sealed record PlanParams(string? Document = null);

/// <summary>
/// Parameters of <c>state.apply</c>. The document is text, so that refusals can name its lines. With
/// <paramref name="ConfirmSeconds"/> everything is rolled back after that time unless <c>state.confirm</c> is called.
/// </summary>
public sealed record StateApplyParams(string Document, int? ConfirmSeconds = null);

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
    IReadOnlyList<VifInfo> Vifs,
    VlanInfo? Vlan = null);   // the uplink, where it is a VLAN of a PIF

/// <summary>Where a port's frames go and in which mode, and why.</summary>
public sealed record PortPathInfo(
    string Path,              // afxdp | redirect | bridge
    string Reason,            // why that path, one sentence
    string? Xdp,              // native | generic; null: no XDP in use; redirect then works at tc ingress alone
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
    string State,             // forwarding | learning | listening | blocking | disabled | no-carrier | down | unplugged | bonded | missing
    PortPathInfo? Path, PortCountersInfo? Counters,
    PifAbilitiesInfo? Abilities = null,
    string? Bond = null,      // the bond it is a member of
    IReadOnlyList<string>? Vlans = null)     // devices of the VLANs it carries; null: none
{
    /// <summary>What was asked for by <c>pif.reconfigure-ip</c>; null: nothing is managed.</summary>
    public PifIpInfo? Ip { get; init; }

    /// <summary>This host's addresses in force, "ADDRESS/PREFIX dev DEVICE": on the bridge of the Network, or on the device.</summary>
    public IReadOnlyList<string> Addresses { get; init; } = [];
}

/// <summary>A PIF's IP configuration as it was asked for.</summary>
public sealed record PifIpInfo(
    string Ipv4Mode,          // none | static | dhcp
    string? Ipv4, string? Ipv4Gateway,
    string Ipv6Mode,          // none | static | autoconf | dhcp
    string? Ipv6, string? Ipv6Gateway,
    IReadOnlyList<string> Dns, string? Domain, IReadOnlyList<string> Routes);

/// <summary>What a card and its driver can do.</summary>
public sealed record PifAbilitiesInfo(
    int RxQueues, int TxQueues,
    int Promiscuity,          // how many users want it promiscuous
    IReadOnlyList<string>? Xdp,              // basic, redirect, transmit, zero-copy, ...; null: the kernel does not say (< 6.3)
    int? ZeroCopySegmentsMax,                // buffers of one frame in zero-copy mode; null: no zero-copy
    IReadOnlyList<string> Xsk);              // transmit-checksum, transmit-timestamp, launch-time

/// <summary>A VLAN: the uplink of a Network whose frames carry a tag on the PIF.</summary>
public sealed record VlanInfo(
    Guid Uuid, string Device, int? Ifindex, string Pif, int Tag, string Network, int Mtu, bool Carrier,
    string State,             // as PifInfo.State
    PortPathInfo? Path, PortCountersInfo? Counters);

/// <summary>A bond: several PIFs as one.</summary>
public sealed record BondInfo(
    Guid Uuid, string Device, int? Ifindex,
    string Mode,              // active-backup | balance-slb | lacp
    string? Network, string Mac,
    IReadOnlyDictionary<string, string> Properties,     // XenServer's names: miimon, updelay, ...
    string State,             // as PifInfo.State
    IReadOnlyList<BondMemberInfo> Members,
    string? LacpPartner,      // MAC of the partner; null: not lacp, or nobody answers
    IReadOnlyDictionary<string, long>? Counters = null);    // balance-slb: what became of frames, by name; null: not in force

/// <summary>A member of a bond.</summary>
public sealed record BondMemberInfo(
    string Device, bool Primary,
    string State,             // active | backup | going-down | down | coming-up | missing
    bool Carrier, long? SpeedMbps, long LinkFailures,
    BondShareInfo? Share = null);       // balance-slb; null: not in force

/// <summary>
/// What a member of a balance-slb bond carries: so many of all buckets of source addresses leave by it, and that is what these carried
/// lately, in bytes, halved at every look at the load.
/// </summary>
public sealed record BondShareInfo(int Buckets, int BucketsTotal, long LoadBytes);

/// <summary>A guest's interface as dom0 sees it.</summary>
public sealed record VifInfo(
    Guid Uuid, string Device, int? Ifindex, string Network, string? Mac, int Mtu, bool Carrier,
    string State,             // as PifInfo.State
    PortPathInfo? Path, PortCountersInfo? Counters,
    IReadOnlyList<int>? Trunks = null);      // tags that belong to VLANs' Networks; null: none

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
    long Restarts, int Workers = 1);

/// <summary>Everything <c>xfp show</c> draws.</summary>
public sealed record ShowInfo(string Version, string Kernel, string Instance, ForwarderInfo Forwarder, IReadOnlyList<NetworkInfo> Networks,
    IReadOnlyList<PifInfo> UnattachedPifs, long MonotonicNs,
    PendingInfo? Pending = null);   // null: nothing waits for a confirmation

/// <summary>Counters of the whole data path.</summary>
public sealed record StatsInfo(long MonotonicNs, ForwarderInfo Forwarder, IReadOnlyDictionary<string, long> Loop, IReadOnlyList<PortStatsInfo> Ports,
    IReadOnlyDictionary<string, long> Mirror);

/// <summary>One port's row in <see cref="StatsInfo"/>.</summary>
public sealed record PortStatsInfo(string Device, string Network, string Path, PortCountersInfo Counters);

/// <summary>What <c>plan</c> would do now, in order; empty when the machine is as it should be.</summary>
public sealed record PlanInfo(
    IReadOnlyList<string> Actions,
    IReadOnlyList<string>? Changes = null);    // of a document: the objects that come, change and go

/// <summary>The whole desired state as a document: JSON text for people, which <c>state.apply</c> takes.</summary>
public sealed record StateExportInfo(string Document);

/// <summary>A change that is rolled back unless it is confirmed.</summary>
public sealed record PendingInfo(int SecondsLeft);

/// <summary>What <c>state.apply</c> did; nothing if everything was as the document wants it.</summary>
public sealed record StateApplyInfo(
    IReadOnlyList<string> Changes,    // objects that came, changed and went
    IReadOnlyList<string> Actions,    // what was done to the machine for it
    PendingInfo? Pending);            // what still waits for a confirmation

/// <summary>What <c>state.rollback</c> did: objects that came, changed and went.</summary>
public sealed record StateRollbackInfo(IReadOnlyList<string> Changes);

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
[JsonSerializable(typeof(VlanCreateParams))]
[JsonSerializable(typeof(VlanParams))]
[JsonSerializable(typeof(BondCreateParams))]
[JsonSerializable(typeof(BondParams))]
[JsonSerializable(typeof(BondSetModeParams))]
[JsonSerializable(typeof(PifReconfigureIpParams))]
[JsonSerializable(typeof(VifPlugParams))]
[JsonSerializable(typeof(VifSetParams))]
[JsonSerializable(typeof(VifMoveParams))]
[JsonSerializable(typeof(VifParams))]
[JsonSerializable(typeof(FdbListParams))]
[JsonSerializable(typeof(PlanParams))]
[JsonSerializable(typeof(StateApplyParams))]
[JsonSerializable(typeof(Empty))]
[JsonSerializable(typeof(NetworkInfo))]
[JsonSerializable(typeof(IReadOnlyList<NetworkInfo>))]
[JsonSerializable(typeof(PifInfo))]
[JsonSerializable(typeof(IReadOnlyList<PifInfo>))]
[JsonSerializable(typeof(VlanInfo))]
[JsonSerializable(typeof(IReadOnlyList<VlanInfo>))]
[JsonSerializable(typeof(BondInfo))]
[JsonSerializable(typeof(IReadOnlyList<BondInfo>))]
[JsonSerializable(typeof(VifInfo))]
[JsonSerializable(typeof(IReadOnlyList<VifInfo>))]
[JsonSerializable(typeof(IReadOnlyList<FdbEntryInfo>))]
[JsonSerializable(typeof(FdbSyncInfo))]
[JsonSerializable(typeof(ShowInfo))]
[JsonSerializable(typeof(StatsInfo))]
[JsonSerializable(typeof(PlanInfo))]
[JsonSerializable(typeof(StateExportInfo))]
[JsonSerializable(typeof(StateApplyInfo))]
[JsonSerializable(typeof(StateRollbackInfo))]
[JsonSerializable(typeof(DoctorInfo))]
[JsonSerializable(typeof(IReadOnlyList<BridgeInfo>))]
[JsonSerializable(typeof(EventInfo))]
[JsonSerializable(typeof(ErrorData))]
public sealed partial class ApiJsonContext : JsonSerializerContext;
