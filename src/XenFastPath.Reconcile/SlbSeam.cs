// The seam between reconciling and balance-slb: how a bond's members are to be used, said without any word of BPF.
namespace XenFastPath.Reconcile;

/// <summary>
/// A balance-slb bond as the kernel has it now. The bonding device itself is balance-xor with xmit_hash_policy vlan+srcmac, which is
/// what frames fall back to. Compared by value: a difference is an action.
/// </summary>
public sealed record SlbSettings
{
    /// <summary>Every device in the bond, usable or not: the receive rules hold on all of them.</summary>
    public required MemberList Members { get; init; }

    /// <summary>Those that may transmit now (carrier up, updelay over), in the kernel's order. Empty: the kernel chooses.</summary>
    public required MemberList Usable { get; init; }

    /// <summary>
    /// The active member, on which multicast and broadcast are received: the primary if it is usable, otherwise the one that was active
    /// while it is usable, otherwise the first usable one. 0: none is, and multicast is received nowhere.
    /// </summary>
    public required int Active { get; init; }

    /// <summary>Between two looks at the load; zero: never. Less than a second counts as a second, as Open vSwitch has it.</summary>
    public required TimeSpan RebalanceInterval { get; init; }

    /// <summary>How long an address that was seen on our side counts as being there: the bridge's ageing time.</summary>
    public required TimeSpan Ageing { get; init; }

    /// <summary>False: putting these settings in force failed half-way. Never wanted, so that the next plan has the bond again.</summary>
    public bool IsWhole { get; init; } = true;
}

/// <summary>What a member of a balance-slb bond carries.</summary>
/// <param name="Ifindex">The device.</param>
/// <param name="Buckets">Buckets of source addresses that leave by it, of 256.</param>
/// <param name="LoadBytes">What these carried lately: bytes, halved at every look at the load.</param>
public sealed record SlbMemberReport(int Ifindex, int Buckets, long LoadBytes);

/// <summary>What became of frames and buckets of a balance-slb bond.</summary>
/// <param name="Members">One for each member, in the order of the settings.</param>
/// <param name="Counters">By name, such as <c>out_bucket</c> or <c>in_drop_looped</c>.</param>
public sealed record SlbReport(IReadOnlyList<SlbMemberReport> Members, IReadOnlyDictionary<string, long> Counters);

/// <summary>The balance-slb bonds as the reconciler drives them. All members are called on one thread.</summary>
public interface ISlb
{
    /// <summary>
    /// The bonds it has, by ifindex of the bonding device, as configured. Those of an earlier daemon are here from the start, not whole.
    /// </summary>
    IReadOnlyDictionary<int, SlbSettings> Bonds { get; }

    /// <summary>
    /// Takes a bond in, or changes it: first the table of who sends by which member, then the hooks. Addresses whose member went are
    /// announced to the switch from their new one.
    /// </summary>
    /// <exception cref="Model.RefusalException">The kernel refused a hook; what had been done stays, and is not whole.</exception>
    void Configure(int ifindex, string device, SlbSettings settings);

    /// <summary>Lets a bond go: hooks off, table empty; the devices may be gone already.</summary>
    void Remove(int ifindex, string device);

    /// <summary>
    /// Forgets the addresses that came in by this port of a bridge: the port leaves its Network, and a guest that moved away must be
    /// heard through the bond at once.
    /// </summary>
    void Forget(int portIfindex);

    /// <summary>Null if it is no bond of ours.</summary>
    SlbReport? ReportOf(int ifindex);
}
