// A bond: several PIFs that are one, with XenServer's modes, properties and defaults.
using System.Collections.Immutable;
using System.Text.Json.Serialization;

namespace XenFastPath.Model;

/// <summary>How a bond uses its members, as XenServer names it.</summary>
public enum BondingMode
{
    /// <summary>One member at a time.</summary>
    ActiveBackup,

    /// <summary>Every source address leaves by one member; the switch need not know of the bond.</summary>
    BalanceSlb,

    /// <summary>IEEE 802.1AX, with a switch that speaks it.</summary>
    Lacp,
}

/// <summary>XenServer's properties of a bond, with its defaults (ocaml/networkd make_bond_properties). Times in milliseconds.</summary>
public sealed record BondProperties
{
    /// <summary>Between two looks at a member's carrier.</summary>
    public int MiimonMs { get; init; } = 100;

    /// <summary>A member is used this long after its carrier came: longer than a switch's spanning tree needs.</summary>
    public int UpDelayMs { get; init; } = 31_000;

    /// <summary>A member is given up this long after its carrier went.</summary>
    public int DownDelayMs { get; init; } = 200;

    /// <summary>Ask the driver for the carrier rather than the MII registers.</summary>
    public bool UseCarrier { get; init; } = true;

    /// <summary>lacp: choose the member by source MAC and VLAN (src_mac) rather than by addresses and ports (tcpudp_ports).</summary>
    public bool HashesSourceMac { get; init; }

    /// <summary>balance-slb: between two looks at the load; 0: never.</summary>
    public int RebalanceIntervalMs { get; init; } = 1_800_000;

    /// <summary>lacp: ask the partner for a packet every second rather than every 30 seconds.</summary>
    public bool LacpFast { get; init; }

    /// <summary>lacp: the key that a partner may tell bonds apart by, 0..1023; null: the kernel's.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int? LacpAggregationKey { get; init; }
}

/// <summary>Several PIFs as one.</summary>
/// <param name="Uuid">Its identity.</param>
/// <param name="Device">Name of the bonding device.</param>
/// <param name="Members">The PIFs in it; the first is the primary.</param>
/// <param name="Mode">How it uses them.</param>
/// <param name="Mac">Its address as asked for; null: the primary's.</param>
/// <param name="Properties">The rest.</param>
public sealed record Bond(Guid Uuid, string Device, ImmutableArray<Guid> Members, BondingMode Mode, string? Mac, BondProperties Properties)
{
    /// <summary>Equal when the members are, in order: an immutable array compares by reference.</summary>
    public bool Equals(Bond? other) =>
        other is not null && Uuid == other.Uuid && Device == other.Device && Mode == other.Mode && Mac == other.Mac && Properties == other.Properties
        && Members.AsSpan().SequenceEqual(other.Members.AsSpan());

    /// <inheritdoc/>
    public override int GetHashCode() => Uuid.GetHashCode();
}
