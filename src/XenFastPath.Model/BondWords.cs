// The words of bonds: modes, and properties as key=value with XenServer's names.
using System.Globalization;

namespace XenFastPath.Model;

/// <summary>Parses and prints what people and scripts write about bonds.</summary>
public static class BondWords
{
    /// <summary>Parses a mode's word.</summary>
    /// <exception cref="RefusalException">It is none.</exception>
    public static BondingMode ParseMode(string subject, string word) => word switch
    {
        "active-backup" => BondingMode.ActiveBackup,
        "balance-slb" => BondingMode.BalanceSlb,
        "lacp" => BondingMode.Lacp,
        _ => throw new RefusalException(subject, $"mode \"{word}\" is none of active-backup, balance-slb, lacp"),
    };

    /// <summary>A mode's word.</summary>
    public static string Word(BondingMode mode) => mode switch
    {
        BondingMode.ActiveBackup => "active-backup",
        BondingMode.BalanceSlb => "balance-slb",
        _ => "lacp",
    };

    /// <summary>The properties with one changed.</summary>
    /// <exception cref="RefusalException">There is no such property, or not with this value.</exception>
    public static BondProperties With(BondProperties properties, string subject, string key, string value) => key switch
    {
        "miimon" => properties with { MiimonMs = Number(subject, key, value) },
        "updelay" => properties with { UpDelayMs = Number(subject, key, value) },
        "downdelay" => properties with { DownDelayMs = Number(subject, key, value) },
        "use_carrier" => properties with { UseCarrier = Either(subject, key, value, "1", "0") },
        "hashing_algorithm" => properties with { HashesSourceMac = Either(subject, key, value, "src_mac", "tcpudp_ports") },
        "rebalance-interval" => properties with { RebalanceIntervalMs = Number(subject, key, value) },
        "lacp-time" => properties with { LacpFast = Either(subject, key, value, "fast", "slow") },
        "lacp-aggregation-key" => properties with { LacpAggregationKey = Number(subject, key, value) },
        "lacp-fallback-ab" => Either(subject, key, value, "true", "false") ? properties
            : throw new RefusalException(subject, "lacp-fallback-ab=false is not to be had: without a partner the kernel always uses one member alone"),
        _ => throw new RefusalException(subject, $"no such property: {key}; there are miimon, updelay, downdelay, use_carrier, hashing_algorithm, "
            + "rebalance-interval, lacp-time, lacp-aggregation-key, lacp-fallback-ab"),
    };

    /// <summary>All properties that mean something in this mode, in XenServer's words.</summary>
    public static IReadOnlyDictionary<string, string> All(BondingMode mode, BondProperties p)
    {
        SortedDictionary<string, string> all = new(StringComparer.Ordinal)
        {
            ["miimon"] = Text(p.MiimonMs),
            ["updelay"] = Text(p.UpDelayMs),
            ["downdelay"] = Text(p.DownDelayMs),
            ["use_carrier"] = p.UseCarrier ? "1" : "0",
        };
        if (mode == BondingMode.BalanceSlb)
            all["rebalance-interval"] = Text(p.RebalanceIntervalMs);
        if (mode == BondingMode.Lacp)
        {
            all["hashing_algorithm"] = p.HashesSourceMac ? "src_mac" : "tcpudp_ports";
            all["lacp-time"] = p.LacpFast ? "fast" : "slow";
            all["lacp-fallback-ab"] = "true";
            if (p.LacpAggregationKey is { } key)
                all["lacp-aggregation-key"] = Text(key);
        }

        return all;
    }

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);

    private static int Number(string subject, string key, string value) =>
        int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number
            : throw new RefusalException(subject, $"{key} takes a whole number, not \"{value}\"");

    private static bool Either(string subject, string key, string value, string yes, string no) =>
        value == yes || (value == no ? false : throw new RefusalException(subject, $"{key} is {yes} or {no}, not \"{value}\""));
}
