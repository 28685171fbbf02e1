// What drivers say of themselves, for one look.
using System.Diagnostics.CodeAnalysis;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

/// <summary>
/// Asks the kernel for the facts of ports. What it tells of all devices in one answer is asked for once, when the first port wants it:
/// a host has thousands.
/// </summary>
internal sealed class FactFinder(GenericNetlink generic)
{
    private Dictionary<int, NetdevInfo>? _netdevs;
    private Dictionary<int, EthtoolChannels>? _channels;

    /// <summary>Asks now.</summary>
    [MemberNotNull(nameof(_netdevs), nameof(_channels))]
    public void Read()
    {
        _netdevs ??= ByIfindex(generic.GetNetdevs() ?? [], d => d.Ifindex);
        _channels ??= ByIfindex(generic.GetAllChannels(), c => c.Ifindex);
    }

    public PortFacts FactsOf(LinkInfo device)
    {
        Read();
        bool strips = false, fixedOn = false;
        if (PathRule.IsHardware(device) && generic.GetFeatures(device.Index) is { } features)
        {
            strips = features.IsActive(EthtoolFeature.RxVlan);
            // On although somebody asked for off: the driver will not.
            fixedOn = strips && (!features.IsChangeable(EthtoolFeature.RxVlan) || !features.Wanted.Contains(EthtoolFeature.RxVlan));
        }

        int queues = _channels.TryGetValue(device.Index, out EthtoolChannels? channels) ? channels.Combined + channels.Rx : 0;
        return new PortFacts(_netdevs.GetValueOrDefault(device.Index), queues > 0 ? queues : 1, fixedOn, strips && !fixedOn);
    }

    /// <summary>Of a device that a dump names twice, as it may while devices come and go, the later word counts.</summary>
    private static Dictionary<int, T> ByIfindex<T>(List<T> all, Func<T, int> ifindex)
    {
        Dictionary<int, T> found = new(all.Count);
        foreach (T one in all)
            found[ifindex(one)] = one;
        return found;
    }
}
