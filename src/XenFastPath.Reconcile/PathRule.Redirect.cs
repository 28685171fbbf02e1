// The part of the rule that is about redirect: every port can, at tc ingress; which of them carry XDP frames besides, and why not.
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

public static partial class PathRule
{
    /// <summary>What is said of a port whose frames go from driver to driver, where the other one can too.</summary>
    public const string RedirectXdp = "XDP between ports that carry XDP frames, tc elsewhere";

    /// <summary>
    /// The path of a port whose Network is on redirect. At tc ingress frames are skbs: GSO, checksums that are not finished, tags, VLAN
    /// devices, bonds and taps are all as they are on the bridge, so only the bridge port itself can speak against it.
    /// </summary>
    private static PathDecision DecideRedirect(LinkInfo port, bool isPif, Observed observed)
    {
        if (port.BridgePort is { } attributes && WhyNot(attributes) is { } attribute)
            return Bridge(attribute);
        return new PathDecision(PortPath.Redirect, WhyNoXdp(port, isPif, observed) is { } why ? "tc: " + why : RedirectXdp);
    }

    /// <summary>
    /// Why a port on redirect has no XDP program; null: it can carry XDP frames. Native XDP on a veth takes the super-frames of whoever
    /// is at its other end away (bulk TCP 9.6 -> 2.7 Gb/s here), so it gets one only if that end takes XDP frames, which says that
    /// somebody runs XDP there. Hardware sends and receives frames with whole checksums, and takes XDP frames once it has a program.
    /// </summary>
    public static string? WhyNoXdp(LinkInfo port, bool isPif, Observed observed)
    {
        if (port.Vlan is not null)
        {
            LinkInfo? trunk = isPif ? observed.Link(port.LinkIndex) : null;
            return trunk is null ? Skbs : WhyNoXdp(trunk, isPif, observed) is { } why ? $"{trunk.Name}: {why}" : null;
        }

        if (port.Bond is not null)
            return "the kernel picks the bond's member";
        if (!IsHardware(port) && port.Kind != "veth")
            return Skbs;
        if (!observed.Facts.TryGetValue(port.Index, out PortFacts? facts) || facts.Xdp is not { } xdp)
            return "the device does not say whether it takes XDP frames";
        if (!HasNativeXdp(facts))
            return Skbs + ", native XDP is off";
        if (port.Kind == "veth" && (xdp.Features & XdpFeatures.Transmit) == 0)
            return Skbs + ", the other end takes no XDP frames";
        if (port.Kind == "veth" && observed.Links.Any(l => Observed.IsVlanOf(l, port)))
            return "a veth may hide tags from XDP";
        if (facts.HidesTags)
            return HidesTags;
        return ForeignXdp(port, observed) ?? observed.FastPath.Failures.GetValueOrDefault(port.Index);
    }

    private const string Skbs = "frames are skbs";
}
