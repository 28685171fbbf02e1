// pif.reconfigure-ip, and whether this host may move into a bridge.
using System.Collections.Immutable;
using XenFastPath.Api;
using XenFastPath.Daemon.Host;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.Control;

internal sealed partial class ApiHandler
{
    public ValueTask<PifInfo> PifReconfigureIp(PifReconfigureIpParams p, CancellationToken c) => Ask(() =>
    {
        Pif pif = State.PifOf(p.Pif);
        if (State.BondOfMember(pif) is { } bond)
            throw new RefusalException(pif.Device, $"is a member of bond {bond.Device}; use {bond.Device}");
        Observed observed = Look();
        if (observed.DeviceOf(pif) is null)
            throw new RefusalException(pif.Device, "the device is missing");
        IpConfiguration ip = Merge(pif.Device, pif.Ip ?? IpConfiguration.None, p);
        IpRules.Check(pif.Device, ip);
        CheckIp(pif, ip, observed);
        controller.Commit(State.Change(pif with { Ip = ip.IsNone ? null : ip }), $"pif reconfigure-ip {pif.Device}");
        controller.Announce("pif.reconfigured", pif.Device, $"ipv4 {IpRules.Word(ip.Ipv4.Mode)}, ipv6 {IpRules.Word(ip.Ipv6.Mode)}");
        return Info(pif);
    });

    /// <summary>
    /// Is what an IP configuration needs installed, can addresses work there, and are the devices nobody else's? What is not there yet
    /// is nobody's.
    /// </summary>
    private void CheckIp(Pif pif, IpConfiguration ip, Observed observed)
    {
        if (ip.Ipv4.Mode == IpMode.Dhcp)
            DhcpClients.Require(pif.Device, isIpv6: false);
        if (ip.Ipv6.Mode == IpMode.Dhcp)
            DhcpClients.Require(pif.Device, isIpv6: true);
        if (ip.IsNone)
            return;
        Admission.Addresses(pif, State, observed);
        LinkInfo? device = observed.DeviceOf(pif);
        LinkInfo? place = State.Pifs.Any(p => p.Uuid == pif.Uuid) ? HostServices.PlaceOf(pif, State, observed) : null;
        foreach (LinkInfo link in new[] { device, place }.OfType<LinkInfo>().DistinctBy(l => l.Index))
            controller.Host.RefuseIfOwned(link);
    }

    /// <summary>A family whose mode is given is set anew; the other stays. DNS and routes stay unless given, where they still fit.</summary>
    private static IpConfiguration Merge(string subject, IpConfiguration before, PifReconfigureIpParams p)
    {
        if (p.Mode is null && p.Ipv6Mode is null)
            throw new RefusalException(subject, "nothing to do: give --mode, --ipv6-mode or both");
        if (p.Mode is null && (p.Ip ?? p.Gateway) is not null)
            throw new RefusalException(subject, "an IPv4 address or gateway goes with --mode static");
        if (p.Ipv6Mode is null && (p.Ipv6 ?? p.Gateway6) is not null)
            throw new RefusalException(subject, "an IPv6 address or gateway goes with --ipv6-mode static");
        IpFamily ipv4 = p.Mode is null ? before.Ipv4 : new IpFamily(IpRules.ParseMode(subject, p.Mode, isIpv6: false), p.Ip, p.Gateway);
        IpFamily ipv6 = p.Ipv6Mode is null ? before.Ipv6 : new IpFamily(IpRules.ParseMode(subject, p.Ipv6Mode, isIpv6: true), p.Ipv6, p.Gateway6);
        bool hasStatic = ipv4.Mode == IpMode.Static || ipv6.Mode == IpMode.Static;
        ImmutableArray<IpRoute> routes = p.Routes is { } given
            ? [.. given.Select(r => IpRules.ParseRoute(subject, r))]
            : [.. before.Routes.Where(r => (r.Subnet.Contains(':') ? p.Ipv6Mode : p.Mode) is null)];
        ImmutableArray<string> servers = p.Dns is { } dns ? [.. dns] : hasStatic ? before.Dns : [];
        return new IpConfiguration(ipv4, ipv6, servers, p.Domain ?? (hasStatic ? before.Domain : null), routes);
    }

    /// <summary>Does this host live on the device that is to come into a bridge? Then it must be free to move.</summary>
    private bool AdmitHost(LinkInfo device, Network network, Observed observed)
    {
        if (!HostAddresses.AreOn(device, observed))
            return false;
        controller.Host.RefuseIfOwned(device);
        Admission.Host(device, network.Bridge, observed,
            [.. controller.Rtnl.GetRoutes(isIpv6: false, device.Index), .. controller.Rtnl.GetRoutes(isIpv6: true, device.Index)]);
        return true;
    }
}
