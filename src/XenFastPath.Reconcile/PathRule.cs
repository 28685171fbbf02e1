// Which path a port takes, and why: one rule table, read from top to bottom.
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

/// <summary>A decision with its reason, which people read in <c>xfp show</c>.</summary>
public readonly record struct PathDecision(PortPath Path, string Reason);

/// <summary>Decides; depends on nothing but its arguments.</summary>
public static partial class PathRule
{
    /// <summary>Largest MTU that one AF_XDP buffer carries, with Ethernet header and one VLAN tag.</summary>
    public const int AfxdpMtuMax = 1774;

    /// <summary>AF_XDP queues of one port.</summary>
    public const int AfxdpQueuesMax = 8;

    /// <summary>Members of a bond on the fast path.</summary>
    public const int BondMembersMax = 8;

    private const string NetbackBus = "xen-backend";

    private const string HidesTags = "the driver takes VLAN tags out of frames and cannot be told not to (rx-vlan-hw-parse)";

    /// <summary>The path of a Network as a whole: what its ports get if nothing speaks against them.</summary>
    public static PathDecision Decide(Network network, LinkInfo? bridge, Observed observed)
    {
        if (network.Datapath == Datapath.Bridge)
            return Bridge("as set");
        if (bridge?.Bridge is not { } data)
            return Bridge("the bridge does not exist yet");
        if (network.Datapath == Datapath.Auto)
            return DecideAuto(bridge, data, observed);
        if (network.Datapath == Datapath.Afxdp && network.Mtu > AfxdpMtuMax)
            return Bridge($"MTU {network.Mtu} is over the {AfxdpMtuMax} that one AF_XDP buffer carries");
        return WhyNot(data) is { } why ? Bridge(why) : new PathDecision(network.Datapath == Datapath.Redirect ? PortPath.Redirect : PortPath.Afxdp, "as set");
    }

    /// <summary>The path of one port of a Network whose own decision is <paramref name="network"/>.</summary>
    public static PathDecision Decide(PathDecision network, LinkInfo port, bool isPif, Observed observed)
    {
        if (network.Path == PortPath.Bridge)
            return network;
        if (network.Path == PortPath.Redirect)
            return DecideRedirect(port, isPif, observed);
        if (isPif && port.Vlan is not null)
            return DecideVlan(network, port, observed.Link(port.LinkIndex), observed);
        if (!isPif && (port.Vlan is not null || observed.VlansOn(port).Any()))
            return Bridge("a trunk vif may hide tags from the program");
        if (port.BridgePort is { } attributes && WhyNot(attributes) is { } attribute)
            return Bridge(attribute);
        if (isPif && port.Bond is not null)
            return DecideBond(network, port, observed);
        if (!observed.Facts.TryGetValue(port.Index, out PortFacts? facts))
            return Bridge("the device does not say what it can do");
        if (WhyNot(port, facts, isPif) is { } device)
            return Bridge(device);
        if (ForeignXdp(port, observed) is { } foreign)
            return Bridge(foreign);
        if (observed.FastPath.Failures.TryGetValue(port.Index, out string? failure))
            return Bridge(failure);
        return new PathDecision(PortPath.Afxdp, network.Reason);
    }

    /// <summary>
    /// The path of a VLAN's subinterface in a Network whose own decision is <paramref name="network"/>: its frames are the trunk's, so
    /// the trunk must be able to, and must show the program the tags.
    /// </summary>
    private static PathDecision DecideVlan(PathDecision network, LinkInfo port, LinkInfo? trunk, Observed observed)
    {
        if (port.BridgePort is { } attributes && WhyNot(attributes) is { } attribute)
            return Bridge(attribute);
        if (trunk is null)
            return Bridge("the device that carries the tag is missing");
        IEnumerable<LinkInfo> cards = trunk.Bond is null ? [trunk] : observed.MembersOf(trunk);
        if (cards.FirstOrDefault(c => c.Kind == "veth") is { } veth)
            return Bridge($"{veth.Name} is a veth, which may hide tags from the program");
        PathDecision carrier = Decide(network, trunk with { BridgePort = null }, isPif: true, observed);
        return carrier.Path == PortPath.Afxdp ? carrier : Bridge($"{trunk.Name}: {carrier.Reason}");
    }

    /// <summary>
    /// The path of a bond in a Network whose own decision is <paramref name="network"/>: its frames come and go by its members, and the
    /// hash may choose any, so all of them must be able to.
    /// </summary>
    private static PathDecision DecideBond(PathDecision network, LinkInfo bond, Observed observed)
    {
        if (bond.Bond!.Mode is not (BondMode.ActiveBackup or BondMode.Lacp) && !observed.FastPath.Slb.Bonds.ContainsKey(bond.Index))
            return Bridge($"a {bond.Bond.Mode.Word()} bond is not carried by afxdp");
        if (observed.FastPath.Failures.TryGetValue(bond.Index, out string? failure))
            return Bridge(failure);
        LinkInfo[] members = [.. observed.MembersOf(bond)];
        if (members.Length is 0 or > BondMembersMax)
            return Bridge($"the bond has {members.Length} members; 1 to {BondMembersMax} can be carried by afxdp");
        foreach (LinkInfo member in members)
        {
            PathDecision decision = Decide(network, member, isPif: true, observed);
            if (decision.Path == PortPath.Bridge)
                return Bridge($"{member.Name}: {decision.Reason}");
        }

        return network;
    }

    /// <summary>
    /// What is in force, for people: while a port floods its Network's fast path rests, though everything stays attached.
    /// </summary>
    public static PathDecision InForce(PathDecision decision, Network network, IFastPath fastPath) =>
        decision.Path != PortPath.Bridge && fastPath.Muted.TryGetValue(network.Id, out string? flood) ? Bridge(flood) : decision;

    /// <summary>Can the driver run the program itself? Kernels that do not say are asked by trying.</summary>
    public static bool HasNativeXdp(PortFacts facts) =>
        facts.Xdp is not { } xdp || (xdp.Features & (XdpFeatures.Basic | XdpFeatures.Redirect)) == (XdpFeatures.Basic | XdpFeatures.Redirect);

    /// <summary>May its frames carry unfinished checksums? Those of everything that is fed by software.</summary>
    public static bool MayBeUnfinished(LinkInfo port) => !IsHardware(port);

    /// <summary>A device on a real bus, as opposed to one whose frames come from a guest or another namespace.</summary>
    public static bool IsHardware(LinkInfo port) => port.Kind is null && port.ParentBusName is not (null or NetbackBus);

    private static string? WhyNot(BridgeData bridge)
    {
        if (bridge.VlanFiltering)
            return "the bridge filters VLANs (vlan_filtering 1)";
        return bridge.AgeingTime == TimeSpan.Zero ? "the bridge keeps no addresses (ageing_time 0)" : null;
    }

    private static string? WhyNot(BridgePortData port)
    {
        if (port.Locked || port.MacAuthBypass)
            return "the bridge port is locked (802.1X)";
        if (!port.Learning)
            return "learning is off on the bridge port";
        if (port.NeighbourSuppress || port.ProxyArp || port.ProxyArpWifi)
            return "the bridge answers ARP for the port (neigh_suppress or proxy_arp)";
        return null;
    }

    private static string? WhyNot(LinkInfo port, PortFacts facts, bool isPif)
    {
        if (facts.Queues > AfxdpQueuesMax)
            return $"{facts.Queues} receive queues; at most {AfxdpQueuesMax} (ethtool -L {port.Name} combined {AfxdpQueuesMax})";
        if (facts.HidesTags)
            return HidesTags;
        // Where super-frames can arrive, a flow would change path with the size of its frames.
        if (port.Kind == "veth")
        {
            return HasNativeXdp(facts) ? null
                : "native XDP is off (has the veth fewer receive queues than its peer has transmit queues?); without it GSO frames come in";
        }

        if (port.Kind == "tun")
            return port.Tun is { VnetHeader: false } ? null : "a tap with virtio headers delivers GSO frames";
        if (port.ParentBusName == NetbackBus)
            return "netback delivers the guest's GSO frames";
        if (IsHardware(port))
            return null;
        return isPif
            ? $"a device of kind {port.Kind ?? "unknown"} is not carried by afxdp yet"
            : $"a {port.Kind ?? "device without a kind"} is no vif that afxdp knows";
    }

    private static string? ForeignXdp(LinkInfo port, Observed observed) => port.Xdp.Mode != XdpMode.None && !observed.FastPath.HasXdp(port.Index)
        ? $"the device carries somebody else's XDP program (id {port.Xdp.ProgramId})" : null;

    private static PathDecision Bridge(string reason) => new(PortPath.Bridge, reason);
}
