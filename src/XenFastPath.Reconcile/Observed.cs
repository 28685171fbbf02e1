// What is: the links of the network namespace, and what the fast path must know of our ports and bridges besides.
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

/// <summary>Facts about a port that its link message does not tell.</summary>
/// <param name="Driver">Name of the driver, from ethtool; null if there is none.</param>
/// <param name="Xdp">What the driver can do with XDP; null on kernels that do not say (&lt; 6.3).</param>
/// <param name="Queues">Receive queues in use.</param>
/// <param name="HidesTags">VLAN tags are taken out of received frames by hardware, and that cannot be switched off.</param>
/// <param name="StripsTags">They are taken out now (rx-vlan-hw-parse), which can be switched off.</param>
public sealed record PortFacts(string? Driver, NetdevInfo? Xdp, int Queues, bool HidesTags, bool StripsTags);

/// <summary>One consistent look at the machine, as far as netlink can give one.</summary>
public sealed class Observed
{
    private readonly Dictionary<int, LinkInfo> _byIndex;
    private readonly Dictionary<string, LinkInfo> _byName = [];

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
        Bypassed = bypassed;
        FastPath = fastPath;
    }

    public string BootId { get; }

    public ulong NetnsInode { get; }

    public IEnumerable<LinkInfo> Links => _byIndex.Values;

    /// <summary>Facts of the ports we asked for, by ifindex.</summary>
    public IReadOnlyDictionary<int, PortFacts> Facts { get; }

    /// <summary>By bridge name: what frames on a fast path would not meet, each in words.</summary>
    public IReadOnlyDictionary<string, IReadOnlyList<string>> Bypassed { get; }

    public IFastPath FastPath { get; }

    public LinkInfo? Link(int ifindex) => _byIndex.GetValueOrDefault(ifindex);

    /// <summary>By name or altname.</summary>
    public LinkInfo? Link(string name) => _byName.GetValueOrDefault(name);

    /// <summary>The bridge of a Network; null if there is none (a link of that name which is no bridge is none).</summary>
    public LinkInfo? BridgeOf(Network network) => Link(network.Bridge) is { Bridge: not null } bridge ? bridge : null;

    /// <summary>The device of a VIF: the very one that was plugged, whatever it is called now. Names are not identities.</summary>
    public LinkInfo? DeviceOf(Vif vif) =>
        vif.Binding.BootId == BootId && vif.Binding.NetnsInode == NetnsInode ? Link(vif.Binding.Ifindex) : null;

    /// <summary>
    /// The device of a PIF, by its key. A device without a place on a bus, such as a bond, shares its key with its VLANs and with
    /// the bridge above it: a bridge is never a PIF, and of the others the one that still has the name goes first.
    /// </summary>
    public LinkInfo? DeviceOf(Pif pif)
    {
        LinkInfo[] fitting = [.. Links.Where(l => l.Bridge is null && KeyOf(l) == (pif.Mac, pif.BusPath))];
        return fitting.FirstOrDefault(l => l.Name == pif.Device) ?? fitting.FirstOrDefault();
    }

    /// <summary>The key by which a device is known as a PIF: permanent MAC (or MAC) and place on its bus.</summary>
    public static (string? Mac, string? BusPath) KeyOf(LinkInfo link) =>
        ((link.PermanentAddress ?? link.Address)?.ToString(), link.ParentDeviceName);

    /// <summary>The devices in a bridge.</summary>
    public IEnumerable<LinkInfo> PortsOf(LinkInfo bridge) => Links.Where(l => l.MasterIndex == bridge.Index);
}
