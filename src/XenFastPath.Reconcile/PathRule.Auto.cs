// The part of the rule that is about auto: a table, read from top to bottom, each line with the measurement behind it. The figures are
// ratios to the kernel bridge in the same run of the bench rig, medians over repetitions; bench/results has them but where it is said.
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

public static partial class PathRule
{
    /// <summary>What is said of a Network on auto to which nothing objects.</summary>
    public const string AutoRedirects = "auto: the kernel's shortcut at tc ingress is the best path measured";

    /// <summary>Why a port that carries XDP frames does not on auto.</summary>
    public const string AutoWithoutXdp = "auto leaves XDP off, which delays frames under load";

    /// <summary>
    /// In XDP small frames are 2.2 to 3.3 times as fast, but a ping's p99 beside half of the bridge's load was 3.3 times the bridge's (a devmap
    /// without look-ups: 1.24). At tc it is 0.87 and 0.98 times. Who wants XDP says redirect.
    /// </summary>
    public static bool MayUseXdp(Network network) => network.Datapath != Datapath.Auto;

    private static PathDecision DecideAuto(LinkInfo bridge, BridgeData data, Observed observed)
    {
        // Not a matter of speed: what frames on a fast path would not meet, somebody has put there on purpose.
        if (WhyNot(data) is { } why)
            return Bridge("auto: " + why);
        if (observed.Bypassed.GetValueOrDefault(bridge.Name) is { Count: > 0 } filters)
            return Bridge("auto: filters are in use, which other paths bypass: " + string.Join(", ", filters));

        // At tc, all sizes, directions and numbers of addresses (bench/results/auto): 1.26 to 1.39 times the bridge,
        // and with 95 % certainty at least 1.19 times in every cell.
        // Bulk TCP with super-frames, in turns under one connection: 1.03 times, with 95 % certainty at least 1.01 in every cell.
        // afxdp is not chosen: in copy mode small frames are 0.83 to 1.15 with twice the CPUs and TCP was 0.05 to 0.17, and no card with
        // zero-copy was measured.
        return new PathDecision(PortPath.Redirect, AutoRedirects);
    }
}
