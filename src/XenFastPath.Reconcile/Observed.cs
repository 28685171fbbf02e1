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
    /// The device of a PIF: by its key, if it is a real one. A software device, such as a bond, is the very one that was
    /// introduced, whatever its name and address are now; after a reboot or when it was made anew, the one with its name and address.
    /// </summary>
    public LinkInfo? DeviceOf(Pif pif)
    {
        if (pif.Binding is not { } binding)
            return Links.FirstOrDefault(l => IsReal(l) && KeyOf(l) == (pif.Mac, pif.BusPath));
        LinkInfo? bound = binding.BootId == BootId && binding.NetnsInode == NetnsInode ? Link(binding.Ifindex) : null;
        return bound ?? Links.FirstOrDefault(l => l.Bridge is null && l.Name == pif.Device && KeyOf(l) == (pif.Mac, null));
    }

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

    /// <summary>The key by which a device is known as a PIF: permanent MAC (or MAC) and place on its bus.</summary>
    public static (string? Mac, string? BusPath) KeyOf(LinkInfo link) =>
        ((link.PermanentAddress ?? link.Address)?.ToString(), link.ParentDeviceName);

    /// <summary>The devices in a bridge.</summary>
    public IEnumerable<LinkInfo> PortsOf(LinkInfo bridge) => Links.Where(l => l.MasterIndex == bridge.Index);
}
