// The part of a plan that is about this host's own addresses: they follow the NIC's place, and requests.
using System.Net;
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

/// <summary>
/// What a request that is being undone had found: devices that were in their bridge, and devices that carried addresses, by ifindex.
/// </summary>
public sealed record Undoing(IReadOnlySet<int> Stay, IReadOnlySet<int> HadAddresses)
{
    /// <summary>Nothing is being undone.</summary>
    public static Undoing Nothing { get; } = new(new HashSet<int>(), new HashSet<int>());
}

public sealed partial record Plan
{
    private sealed partial class Builder
    {
        /// <summary>Addresses that an earlier step of this plan brings to a device, by its name.</summary>
        private readonly HashSet<(string Device, IPAddress Address)> _comingAddresses = [];
        private readonly HashSet<(string Device, string Route)> _comingRoutes = [];

        /// <summary>Addresses requested for PIFs, where they are to be; what we gave and nobody wants any more goes.</summary>
        public void ConvergeHost()
        {
            HashSet<(int Ifindex, IPAddress Address, int PrefixLength)> wanted = [];
            HashSet<(int Ifindex, string Route)> wantedRoutes = [];
            List<PlanAction> additions = [];
            foreach (Pif pif in desired.Pifs)
            {
                LinkInfo? device = observed.DeviceOf(pif);
                Network? network = pif is { IsPlugged: true, Network: { } uuid } ? desired.NetworkOf(uuid) : null;
                // With a Network the place is the bridge, also while the card is away or the bond is still to be made.
                if (pif.Ip is not { IsNone: false } ip || (device is null && network is null))
                    continue;
                LinkInfo? target = network is null ? device : observed.BridgeOf(network);
                string name = network?.Bridge ?? device!.Name;
                if (network is null && !device!.IsUp)
                    AddOnce(new SetUp(device.Name, device.Index));
                foreach ((IPAddress address, int length) in AddressesOf(pif.Device, ip))
                {
                    wanted.Add((target?.Index ?? 0, address, length));
                    bool isThere = target is not null
                        && observed.Addresses.Any(a => a.Ifindex == target.Index && a.Local.Equals(address) && a.PrefixLength == length);
                    if (!isThere && !_comingAddresses.Contains((name, address)))
                        additions.Add(new AddHostAddress(name, address, length));
                }

                foreach (AddHostRoute route in RoutesOf(pif.Device, name, ip))
                {
                    string key = KeyOf(route.IsIpv6, route.Destination, route.PrefixLength, route.Gateway);
                    wantedRoutes.Add((target?.Index ?? 0, key));
                    bool isThere = _comingRoutes.Contains((name, key))
                        || (target is not null && observed.Routes.Any(r => r.Ifindex == target.Index && KeyOf(r) == key));
                    if (!isThere)
                        additions.Add(route);
                }

                bool speaks = ip.Ipv6.Mode == IpMode.None || (target is not null && observed.Ipv6Speakers.Contains(target.Index));
                if (!speaks)
                    additions.Add(new SpeakIpv6(name, ip.Ipv6.Mode == IpMode.Autoconf));
            }

            RemoveUnwanted(wanted, wantedRoutes);
            _actions.AddRange(additions);
        }

        private void RemoveUnwanted(HashSet<(int, IPAddress, int)> wanted, HashSet<(int, string)> wantedRoutes)
        {
            foreach (RouteInfo route in observed.Routes.Where(r => r.Protocol == HostMover.Maker && r.Table == Interop.RtNetlink.RT_TABLE_MAIN))
            {
                if (observed.Link(route.Ifindex) is { } link && !_leaving.Contains(link.Index)
                    && !wantedRoutes.Contains((link.Index, KeyOf(route))))
                    _actions.Add(new RemoveHostRoute(link.Name, route));
            }

            foreach (AddressInfo address in observed.Addresses.Where(a => a.Protocol == HostMover.Maker))
            {
                if (observed.Link(address.Ifindex) is { } link && !_leaving.Contains(link.Index)
                    && !wanted.Contains((link.Index, address.Local, address.PrefixLength)))
                    _actions.Add(new RemoveHostAddress(link.Name, address));
            }
        }

        private static IEnumerable<(IPAddress Address, int PrefixLength)> AddressesOf(string subject, IpConfiguration ip)
        {
            foreach ((IpFamily family, bool isIpv6) in ((IpFamily, bool)[])[(ip.Ipv4, false), (ip.Ipv6, true)])
            {
                if (family is { Mode: IpMode.Static, Address: { } text })
                    yield return IpRules.ParsePrefix(subject, text, isIpv6);
            }
        }

        private static IEnumerable<AddHostRoute> RoutesOf(string subject, string device, IpConfiguration ip)
        {
            foreach (IpRoute route in ip.Routes)
            {
                bool isIpv6 = route.Subnet.Contains(':');
                (IPAddress subnet, int length) = IpRules.ParsePrefix(subject, route.Subnet, isIpv6);
                yield return new AddHostRoute(device, isIpv6, subnet, length, IPAddress.Parse(route.Gateway));
            }

            if (ip.Ipv4.Gateway is { } gateway)
                yield return new AddHostRoute(device, false, null, 0, IPAddress.Parse(gateway));
            if (ip.Ipv6.Gateway is { } gateway6)
                yield return new AddHostRoute(device, true, null, 0, IPAddress.Parse(gateway6));
        }

        private static string KeyOf(RouteInfo r) => r.Gateway is null ? "" : KeyOf(r.IsIpv6, r.Destination, r.PrefixLength, r.Gateway);

        private static string KeyOf(bool isIpv6, IPAddress? destination, int length, IPAddress gateway) =>
            $"{(isIpv6 ? 6 : 4)} {(length == 0 ? null : destination)}/{length} {gateway}";

        /// <summary>Devices whose addresses an earlier step takes away.</summary>
        private readonly HashSet<int> _leaving = [];

        private void EnterBridge(Network network, LinkInfo pif, LinkInfo? bridge)
        {
            if (!HostAddresses.MustEnter(pif, bridge, observed))
                return;
            // A route through a bridge that is down is refused. Where no addresses come, its ports have their policy first.
            if (bridge is { IsUp: false })
                AddOnce(new SetUp(bridge.Name, bridge.Index));
            Move(HostAddresses.Move(pif, pif, network.Bridge, bridge?.Address, observed));
        }

        private void LeaveBridge(LinkInfo port, LinkInfo bridge)
        {
            if (!AddressesStay(port, bridge) && HostAddresses.MustLeave(port, bridge, desired, observed, undoing.HadAddresses.Contains(port.Index)))
                Move(HostAddresses.Move(port, bridge, port.Name, port.Address, observed));
        }

        /// <summary>Addresses stay on a bridge where a bond takes the place of its member, or a member that of its bond.</summary>
        private bool AddressesStay(LinkInfo port, LinkInfo bridge)
        {
            if (port.Alias is { } alias && desired.DoomedLinks.Any(d => alias == MarkOf(d.Owner)))
                return IsOurBridge(bridge.Index);
            return desired.Pifs.Any(p => observed.DeviceOf(p)?.Index == port.Index && desired.BondOfMember(p) is { } bond
                && desired.MasterOf(bond).Network is { } network && observed.BridgeOf(desired.NetworkOf(network))?.Index == bridge.Index);
        }

        private void Move(MoveHostAddresses move)
        {
            _actions.Add(move);
            _leaving.Add(move.FromIfindex);
            foreach (AddressInfo address in move.Addresses)
                _comingAddresses.Add((move.To, address.Local));
            foreach (RouteInfo route in move.Routes)
                _comingRoutes.Add((move.To, KeyOf(route)));
        }
    }
}
