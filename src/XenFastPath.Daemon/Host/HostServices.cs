// What this host's addresses need besides the kernel: DHCP clients and DNS. Brought in line after each look, as the kernel is.
using System.ComponentModel;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.Host;

/// <summary>For the controller's thread.</summary>
internal sealed class HostServices(DhcpClients dhcp, Resolver resolver, IDeviceOwners owners)
{
    private string _lastFault = "";

    /// <summary>A dead DHCP client is due to be started again.</summary>
    public bool IsDue => dhcp.NextStartMs is var next and > 0 && Environment.TickCount64 >= next;

    /// <summary>The device on which a PIF's addresses are: the bridge of its Network, or its own.</summary>
    public static LinkInfo? PlaceOf(Pif pif, HostState state, Observed observed) =>
        pif is { IsPlugged: true, Network: { } uuid } ? observed.BridgeOf(state.NetworkOf(uuid)) : observed.DeviceOf(pif);

    /// <summary>Brings clients and DNS in line; what fails is logged once and tried again at the next look.</summary>
    public void Converge(HostState state, Observed observed)
    {
        HashSet<DhcpWish> leases = [];
        List<DnsWish> servers = [];
        foreach (Pif pif in state.Pifs)
        {
            if (pif.Ip is not { } ip || PlaceOf(pif, state, observed) is not { IsUp: true } place)
                continue;
            if (ip.Ipv4.Mode == IpMode.Dhcp)
                leases.Add(new DhcpWish(place.Name, IsIpv6: false));
            if (ip.Ipv6.Mode == IpMode.Dhcp)
                leases.Add(new DhcpWish(place.Name, IsIpv6: true));
            if (ip.Dns.Length > 0 || ip.Domain is not null)
                servers.Add(new DnsWish(place.Name, ip.Dns, ip.Domain));
        }

        string?[] faults = [Try(() => dhcp.Converge(leases, observed.Links.Select(l => l.Name).ToHashSet())), Try(() => resolver.Converge(servers))];
        string fault = string.Join("; ", faults.OfType<string>());
        if (fault.Length > 0 && fault != _lastFault)
            Log.Error(fault);
        _lastFault = fault;
    }

    private static string? Try(Action step)
    {
        try
        {
            step();
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or Win32Exception)
        {
            return e.Message;
        }
    }

    /// <summary>A step was done: a client whose addresses have moved must not give them back.</summary>
    public void Done(PlanAction action)
    {
        if (action is MoveHostAddresses move)
            dhcp.Moves(move.From);
    }

    /// <summary>May we manage the addresses of this device?</summary>
    /// <exception cref="RefusalException">Somebody else does; names the command that hands it over.</exception>
    public void RefuseIfOwned(LinkInfo device)
    {
        if (owners.Find(device.Name, device.Index, dhcp.Pids) is { } owner)
            throw new RefusalException(device.Name, $"its addresses are managed by {owner.Name}; hand it over first: {owner.HandOver}");
    }
}
