// The seam between reconciling and the fast path: what a port is to be, said without any word of BPF or AF_XDP.
using XenFastPath.Model;

namespace XenFastPath.Reconcile;

/// <summary>The path that a port's frames take, as decided; see <see cref="PathRule"/>.</summary>
public enum PortPath
{
    Bridge,
    Afxdp,
    Redirect,
}

/// <summary>The words of paths.</summary>
public static class PortPathWords
{
    public static string Word(this PortPath path) => path switch
    {
        PortPath.Afxdp => "afxdp",
        PortPath.Redirect => "redirect",
        _ => "bridge",
    };
}

/// <summary>Everything that the program and the forwarder have to know of a port. Compared by value: a difference is an action.</summary>
public sealed record PortSettings
{
    /// <summary><see cref="Network.Id"/> of the Network.</summary>
    public required ushort NetworkId { get; init; }

    public required int BridgeIfindex { get; init; }

    public required PortPath Path { get; init; }

    /// <summary>
    /// The program itself redirects its frames: path redirect, or afxdp on behalf of a VLAN, whose trunk this is, while the port's own
    /// Network is on redirect.
    /// </summary>
    public bool Redirects { get; init; }

    /// <summary>On path redirect: it gets the XDP program, because it and another port of a Network that it serves carry XDP frames.</summary>
    public bool HasXdpHook { get; init; }

    /// <summary>On path redirect: its device, or its trunk's, takes XDP frames now.</summary>
    public bool TakesXdpFrames { get; init; }

    /// <summary>Policy on every path: frames with a VLAN tag are dropped; of a trunk, all but those with the tag of a VLAN port.</summary>
    public required bool DropsTags { get; init; }

    /// <summary>A physical port: larger quota, checksums whole.</summary>
    public required bool IsPhysical { get; init; }

    /// <summary>Its frames may carry checksums that the sender left to the device.</summary>
    public required bool MayBeUnfinished { get; init; }

    /// <summary>The bridge forwards on it now.</summary>
    public required bool IsForwarding { get; init; }

    public required bool IsIsolated { get; init; }

    /// <summary>Other ports of its Network are on the fast path.</summary>
    public required bool IsWatched { get; init; }

    /// <summary>Longest frame it may be given, bytes with Ethernet header.</summary>
    public required int FrameBytesMax { get; init; }

    /// <summary>How often a source must be seen by the kernel, so that its FDB entry does not age out.</summary>
    public required TimeSpan RefreshInterval { get; init; }

    /// <summary>Receive queues to bind.</summary>
    public required int Queues { get; init; }

    /// <summary>Has the driver native XDP? Otherwise the program is attached in generic mode.</summary>
    public required bool HasNativeXdp { get; init; }

    /// <summary>May zero-copy be tried?</summary>
    public required bool MayZeroCopy { get; init; }

    /// <summary>In zero-copy mode, can the driver finish checksums?</summary>
    public required bool HasZeroCopyChecksum { get; init; }

    /// <summary>A VLAN subinterface: the ifindex of the port that carries its frames with <see cref="Tag"/>; 0 for every other port.</summary>
    public int TrunkIfindex { get; init; }

    /// <summary>The VLAN identifier on the trunk; 0 for every port that is no VLAN subinterface.</summary>
    public ushort Tag { get; init; }

    /// <summary>
    /// Policy on every path, of a PIF that carries VLANs: frames whose tag belongs neither to a VLAN port of this trunk nor to
    /// <see cref="ForeignTags"/> are dropped. Priority tags (VID 0), 802.1ad and double tags go the kernel's way, but on a trunk VIF,
    /// where <see cref="DropsTags"/> has them dropped too.
    /// </summary>
    public bool IsTrunk { get; init; }

    /// <summary>Tags of VLAN subinterfaces on this device that are not ours.</summary>
    public TagSet ForeignTags { get; init; } = TagSet.Empty;

    /// <summary>A member of a bond: the ifindex of the bond, whose port its frames belong to; 0 for every other port.</summary>
    public int BondIfindex { get; init; }

    /// <summary>A bond: how its members are used; null for every other port.</summary>
    public BondPortSettings? Bond { get; init; }

    /// <summary>A balance-slb bond or a VLAN on one: our own frames come back by it, and its programs drop them. No sign of a move.</summary>
    public bool Loops { get; init; }

    /// <summary>False: putting these settings in force failed half-way. Never wanted, so that the next plan has the port again.</summary>
    public bool IsWhole { get; init; } = true;
}

/// <summary>How frames leave by a bond, as the kernel would choose. Compared by value.</summary>
/// <param name="Mode">XenServer's mode.</param>
/// <param name="HashPolicy">The kernel's xmit_hash_policy, for lacp; and for balance-slb where its table says nothing.</param>
/// <param name="Usable">Members that may transmit now, in the kernel's order: the active one alone for active-backup.</param>
public sealed record BondPortSettings(BondingMode Mode, Netlink.BondHashPolicy HashPolicy, MemberList Usable);

/// <summary>Ifindexes of members in order, compared by value.</summary>
public sealed class MemberList(IEnumerable<int> members) : IEquatable<MemberList>
{
    private readonly int[] _members = [.. members];

    public ReadOnlySpan<int> Members => _members;

    public bool Equals(MemberList? other) => other is not null && _members.AsSpan().SequenceEqual(other._members);

    public override bool Equals(object? obj) => Equals(obj as MemberList);

    public override int GetHashCode() => _members.Length == 0 ? 0 : HashCode.Combine(_members.Length, _members[0]);

    public override string ToString() => string.Join(",", _members);
}

/// <summary>A bond, or a VLAN on one, as a bridge's port.</summary>
public readonly record struct UplinkPort(int BridgeIfindex, int Ifindex, ushort Tag);

/// <summary>The fast path as the reconciler drives it. All members are called on one thread.</summary>
public interface IFastPath
{
    /// <summary>The ports it has, by ifindex, as configured.</summary>
    IReadOnlyDictionary<int, PortSettings> Ports { get; }

    /// <summary>Ports that could not be put on the fast path, with the reason. They stay on the bridge until <see cref="Forgive"/>.</summary>
    IReadOnlyDictionary<int, string> Failures { get; }

    /// <summary>Networks whose fast path is off for now because a port floods source addresses, with the reason; by Network id.</summary>
    IReadOnlyDictionary<ushort, string> Muted { get; }

    /// <summary>The balance-slb bonds.</summary>
    ISlb Slb { get; }

    /// <summary>active-backup bonds: the member that the switch was last told of, by ifindex of the bond.</summary>
    IReadOnlyDictionary<int, int> ToldMembers { get; }

    /// <summary>
    /// Tells the switch that everything behind the bond is to be reached by this member now: a RARP from each address that its bridges
    /// know elsewhere than on the bond, and from the bridges' own.
    /// </summary>
    void TellMember(int bond, string device, int member, IReadOnlyList<UplinkPort> uplinks);

    /// <summary>Is the XDP program on this device ours? It may be an earlier daemon's, of a port that is not taken in yet.</summary>
    bool HasXdp(int ifindex);

    /// <summary>
    /// Many changes follow, until the result is disposed: what nothing depends on meanwhile may wait until then, and what the kernel
    /// does slowly for one may be prepared for all.
    /// </summary>
    IDisposable Begin();

    /// <summary>Takes a port in, or changes it. The policy hook is in force when this returns.</summary>
    void Configure(int ifindex, string device, PortSettings settings);

    /// <summary>Lets a port go; its device may be gone already.</summary>
    void Remove(int ifindex, string device);

    /// <summary>Forgets a failure, so that the path is tried again.</summary>
    void Forgive(int ifindex);
}
