// The part of the rule that is about auto: a table, read from top to bottom, each line with the measurement behind it. The figures are
// ratios to the kernel bridge in the same run of the bench rig; bench/results has them with their spread.
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

public static partial class PathRule
{
    /// <summary>What is said of a Network on auto to which nothing objects.</summary>
    public const string AutoRedirects = "auto: the kernel's shortcut is the fastest path measured";

    private static PathDecision DecideAuto(LinkInfo bridge, BridgeData data, Observed observed)
    {
        // Not a matter of speed: what frames on a fast path would not meet, somebody has put there on purpose.
        if (WhyNot(data) is { } why)
            return Bridge("auto: " + why);
        if (observed.Bypassed.GetValueOrDefault(bridge.Name) is { Count: > 0 } filters)
            return Bridge("auto: filters are in use, which other paths bypass: " + string.Join(", ", filters));

        // Small frames of skbs, at tc: 1.16 with one address, 1.14 with 10 000. Between ports that carry XDP frames, in XDP: 2.5 and 2.3.
        // Bulk TCP with super-frames, at tc: 0.96 to 1.06, which is the noise. In no cell behind the bridge.
        // afxdp is not chosen: in copy mode small frames are 0.7 to 0.8 and TCP 0.05 to 0.17, and no card with zero-copy was measured.
        return new PathDecision(PortPath.Redirect, AutoRedirects);
    }
}
