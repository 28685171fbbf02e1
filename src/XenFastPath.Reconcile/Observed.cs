// What is: the links of the network namespace, and what the fast path must know of our ports and bridges besides.
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

/// <summary>Facts about a port that its link message does not tell.</summary>
/// <param name="Xdp">What the driver can do with XDP; null on kernels that do not say (&lt; 6.3).</param>
/// <param name="Queues">Receive queues in use.</param>
/// <param name="HidesTags">VLAN tags are taken out of received frames by hardware, and switching that off is impossible or was in vain.</param>
/// <param name="StripsTags">They are taken out now (rx-vlan-hw-parse), which can be switched off and was not asked for yet.</param>
public sealed record PortFacts(NetdevInfo? Xdp, int Queues, bool HidesTags, bool StripsTags);

/// <summary>One consistent look at the machine, as far as netlink can give one.</summary>
public sealed class Observed
{
    private readonly Dictionary<int, LinkInfo> _byIndex;
    private readonly Dictionary<string, LinkInfo> _byName = [];
    private readonly Lazy<IReadOnlyDictionary<string, IReadOnlyList<string>>> _bypassed;

    // Hosts have thousands of links: who belongs to which is sorted out once, when it is first asked for.
    private ILookup<int, LinkInfo>? _byMaster;
    private ILookup<int, LinkInfo>? _vlansByTrunk;
    private ILookup<string, LinkInfo>? _bridgesByAlias;

    public Observed(IEnumerable<LinkInfo> links, string bootId, ulong netnsInode, IReadOnlyDictionary<int, PortFacts> facts,
        IReadOnlyDictionary<string, IReadOnlyList<string>> bypassed, IFastPath fastPath)
    {
        _byIndex = links.ToDictionary(l => l.Index);
        foreach (LinkInfo link in _byIndex.Values)
        {
            _byName.TryAdd(link.Name, link);
            foreach (string name in link.AltNames)
                _byName.TryAdd(name, link);
        }

        BootId = bootId;
        NetnsInode = netnsInode;
        Facts = facts;
        _bypassed = new(bypassed);
        FastPath = fastPath;
    }

    /// <summary>The same links, of which something else is known.</summary>
    private Observed(Observed links, IReadOnlyDictionary<int, PortFacts> facts, Lazy<IReadOnlyDictionary<string, IReadOnlyList<string>>> bypassed)
    {
        _byIndex = links._byIndex;
        _byName = links._byName;
        _byMaster = links._byMaster;
        _vlansByTrunk = links._vlansByTrunk;
        _bridgesByAlias = links._bridgesByAlias;
        _bypassed = bypassed;
        BootId = links.BootId;
        NetnsInode = links.NetnsInode;
        Facts = facts;
        FastPath = links.FastPath;
    }

    public string BootId { get; }

    public ulong NetnsInode { get; }

    public IEnumerable<LinkInfo> Links => _byIndex.Values;

    /// <summary>Facts of the ports we asked for, by ifindex.</summary>
    public IReadOnlyDictionary<int, PortFacts> Facts { get; }

    /// <summary>By bridge name: what frames on a fast path would not meet, each in words. Looked for when it is first asked for: people ask.</summary>
    public IReadOnlyDictionary<string, IReadOnlyList<string>> Bypassed => _bypassed.Value;

    public IFastPath FastPath { get; }

    /// <summary>The addresses of all links.</summary>
    public IReadOnlyList<AddressInfo> Addresses { get; init; } = [];

    /// <summary>Routes through the links that are to give their addresses away, and those that we added.</summary>
    public IReadOnlyList<RouteInfo> Routes { get; init; } = [];

    /// <summary>Policy rules; read only when addresses are to move.</summary>
    public IReadOnlyList<RuleInfo> Rules { get; init; } = [];

    /// <summary>Links, by ifindex, on which the kernel speaks IPv6 as far as we asked for it.</summary>
    public IReadOnlySet<int> Ipv6Speakers { get; init; } = new HashSet<int>();

    /// <summary>By ifindex of a bond that wants the fast path: its members' names in the order in which the kernel's hash counts them.</summary>
    public IReadOnlyDictionary<int, IReadOnlyList<string>> MemberOrders { get; init; } = new Dictionary<int, IReadOnlyList<string>>();

    /// <summary>The same look with more of the host's own.</summary>
    public Observed With(IReadOnlyList<RouteInfo> routes, IReadOnlyList<RuleInfo> rules, IReadOnlySet<int> ipv6Speakers) =>
        new(this, Facts, _bypassed)
        {
            Addresses = Addresses, Routes = routes, Rules = rules, Ipv6Speakers = ipv6Speakers, MemberOrders = MemberOrders,
        };

    /// <summary>The same links and addresses with what was asked about ports and bridges besides.</summary>
    internal Observed With(IReadOnlyDictionary<int, PortFacts> facts, Lazy<IReadOnlyDictionary<string, IReadOnlyList<string>>> bypassed,
        IReadOnlyDictionary<int, IReadOnlyList<string>> memberOrders) =>
        new(this, facts, bypassed) { Addresses = Addresses, MemberOrders = memberOrders };

    public LinkInfo? Link(int ifindex) => _byIndex.GetValueOrDefault(ifindex);

    /// <summary>By name or altname.</summary>
    public LinkInfo? Link(string name) => _byName.GetValueOrDefault(name);

    /// <summary>The bridge of a Network; null if there is none (a link of that name which is no bridge is none).</summary>
    public LinkInfo? BridgeOf(Network network) => Link(network.Bridge) is { Bridge: not null } bridge ? bridge : null;

    /// <summary>The device of a VIF: the very one that was plugged, whatever it is called now. Names are not identities.</summary>
    public LinkInfo? DeviceOf(Vif vif) => DeviceOf(vif.Binding);

    /// <summary>The very device, if it is still there.</summary>
    public LinkInfo? DeviceOf(DeviceBinding binding) =>
        binding.BootId == BootId && binding.NetnsInode == NetnsInode ? Link(binding.Ifindex) : null;

    /// <summary>
    /// The device of a PIF: by its key, if it is a real one. A software device, such as a bond, is the very one that was
    /// introduced, whatever its name and address are now; after a reboot or when it was made anew, the one with its name and address.
    /// </summary>
    public LinkInfo? DeviceOf(Pif pif)
    {
        if (pif.Bond is { } bond)
        {
            return Links.FirstOrDefault(l => l.Kind == "bond" && l.Alias == Plan.MarkOf(bond))
                ?? Links.FirstOrDefault(l => l.Kind == "bond" && l.Name == pif.Device);
        }

        if (pif.Binding is not { } binding)
            return Links.FirstOrDefault(l => IsReal(l) && KeyOf(l) == (pif.Mac, pif.BusPath));
        return DeviceOf(binding) ?? Links.FirstOrDefault(l => l.Bridge is null && l.Name == pif.Device && KeyOf(l) == (pif.Mac, null));
    }

    /// <summary>The subinterface of a VLAN: by link and tag, whoever made it and whatever its name; null if there is none.</summary>
    public LinkInfo? DeviceOf(Vlan vlan, HostState state) => DeviceOf(state.PifOf(vlan.Pif)) is { } trunk ? VlanOf(trunk, vlan.Tag) : null;

    /// <summary>The subinterfaces of a trunk VIF that are there, whose frames belong to VLANs' Networks.</summary>
    public IEnumerable<LinkInfo> TagsOf(Vif vif, HostState state) =>
        vif.Trunks is not null && DeviceOf(vif) is { } device ? state.VlansOf(vif).Select(v => VlanOf(device, v.Tag)).OfType<LinkInfo>() : [];

    /// <summary>The subinterfaces of trunk VIFs whose frames belong to this Network.</summary>
    public IEnumerable<LinkInfo> TagsIn(Network network, HostState state) => state.TrunksInto(network).Select(DeviceOf).OfType<LinkInfo>()
        .Select(d => VlanOf(d, state.VlanOf(network)!.Tag)).OfType<LinkInfo>();

    /// <summary>The 802.1Q subinterface of a device with this tag, if there is one in this namespace.</summary>
    public LinkInfo? VlanOf(LinkInfo trunk, int tag) => VlansOn(trunk).FirstOrDefault(l => l.Vlan!.Id == tag);

    /// <summary>The 802.1Q subinterfaces of a device in this namespace.</summary>
    public IEnumerable<LinkInfo> VlansOn(LinkInfo trunk) =>
        (_vlansByTrunk ??= Links.Where(l => l.Vlan is not null).ToLookup(l => l.LinkIndex))[trunk.Index].Where(l => IsVlanOf(l, trunk));

    /// <summary>The bridge that bears the mark of a Network, if there is one.</summary>
    public LinkInfo? BridgeMarkedFor(Guid network) =>
        (_bridgesByAlias ??= Links.Where(l => l is { Bridge: not null, Alias: not null }).ToLookup(l => l.Alias!))[Plan.MarkOf(network)].FirstOrDefault();

    /// <summary>Is the link an 802.1Q subinterface of this device?</summary>
    public static bool IsVlanOf(LinkInfo link, LinkInfo trunk) =>
        link.Vlan is { Protocol: Interop.PktSched.ETH_P_8021Q } && link.LinkIndex == trunk.Index && link.LinkNetnsId is null;

    /// <summary>This device as a PIF without a Network.</summary>
    /// <exception cref="RefusalException">It has no Ethernet address.</exception>
    public Pif NewPif(Guid uuid, LinkInfo device)
    {
        (string? mac, string? busPath) = KeyOf(device);
        return new Pif(uuid, device.Name, mac ?? throw new RefusalException(device.Name, "has no Ethernet address"), busPath, null, false, false)
        {
            Binding = IsReal(device) ? null : BindingOf(device),
        };
    }

    /// <summary>Has the device an identity of its own: a permanent address or a place on a bus? A bridge has neither.</summary>
    public static bool IsReal(LinkInfo link) => link.PermanentAddress is not null || link.ParentDeviceName is not null;

    /// <summary>What makes a link the same one for as long as it exists.</summary>
    public DeviceBinding BindingOf(LinkInfo link) => new(BootId, NetnsInode, link.Index);

    /// <summary>The key by which a device is known as a PIF: permanent MAC (or MAC; a bond's member shows the bond's) and place on its bus.</summary>
    public static (string? Mac, string? BusPath) KeyOf(LinkInfo link) =>
        ((link.PermanentAddress ?? link.BondSlave?.PermanentAddress ?? link.Address)?.ToString(), link.ParentDeviceName);

    /// <summary>The devices in a bridge.</summary>
    public IEnumerable<LinkInfo> PortsOf(LinkInfo bridge) =>
        (_byMaster ??= Links.Where(l => l.MasterIndex != 0).ToLookup(l => l.MasterIndex))[bridge.Index];

    /// <summary>The devices in a bond, in the kernel's order as far as it is known.</summary>
    public IEnumerable<LinkInfo> MembersOf(LinkInfo bond)
    {
        List<string> order = [.. MemberOrders.GetValueOrDefault(bond.Index, [])];
        return PortsOf(bond).OrderBy(m => order.Contains(m.Name) ? order.IndexOf(m.Name) : order.Count).ThenBy(m => m.Index);
    }
}
