// Plan.Diff(desired, observed): a pure function. Apply the plan, look again, and the next one is empty.
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

/// <summary>What has to be done, in this order, and what cannot be done.</summary>
public sealed partial record Plan(IReadOnlyList<PlanAction> Actions, IReadOnlyList<RefusalException> Problems)
{
    private const int EthernetHeaderBytes = 14;

    /// <summary>A source must be seen by the kernel this many times within the ageing time.</summary>
    private const int RefreshesPerAgeing = 4;

    /// <summary>Nothing to do.</summary>
    public bool IsEmpty => Actions.Count == 0;

    /// <summary>
    /// The steps from <paramref name="observed"/> to <paramref name="desired"/>. Nothing that we did not make is deleted: a bridge
    /// goes only if it bears our mark, a port leaves a bridge only if we plugged it. Some devices are let go
    /// without leaving their bridge: they were in it before a request that is being undone.
    /// </summary>
    public static Plan Diff(HostState desired, Observed observed, Undoing? undoing = null)
    {
        Builder plan = new(desired, observed, undoing ?? Undoing.Nothing);
        plan.ReleasePorts();
        plan.DeleteBridges();
        plan.ReleaseSlb();
        plan.DeleteLinks();
        foreach (Bond bond in desired.Bonds)
            plan.Converge(bond);
        foreach (Vlan vlan in desired.Vlans)
            plan.Converge(vlan);
        foreach (Vif vif in desired.Vifs)
            plan.ConvergeTags(vif);
        plan.ConvergeMembers();
        foreach (Pif pif in desired.Pifs)
            plan.ConvergeCarrier(pif);
        foreach (Network network in desired.Networks)
            plan.Converge(network);
        plan.SetGuestsUp();
        foreach (Bond bond in desired.Bonds)
            plan.ConvergeActive(bond);
        plan.ConvergeHost();
        plan.RestoreTags();
        return plan.Build();
    }

    /// <summary>The mark on a device that we made for a Network, a VLAN or a bond (IFLA_IFALIAS).</summary>
    public static string MarkOf(Guid owner) => $"{MarkPrefix}{owner}";

    /// <summary>How every such mark begins.</summary>
    public const string MarkPrefix = "xenfastpath:";

    /// <summary>The address of a bridge without uplink: locally administered, the same after every reboot.</summary>
    private static MacAddress AddressOf(Guid network)
    {
        Span<byte> bytes = stackalloc byte[16];
        network.TryWriteBytes(bytes);
        bytes[0] = 0x02;
        return MacAddress.Read(bytes[..MacAddress.Size]);
    }

    private sealed partial class Builder(HostState desired, Observed observed, Undoing undoing)
    {
        private readonly List<PlanAction> _actions = [];
        private readonly List<RefusalException> _problems = [];
        private readonly HashSet<int> _deleted = [];
        private readonly List<PlanAction> _guestsToSetUp = [];

        public Plan Build() => new(_actions, _problems);

        /// <summary>Ports that the fast path knows, because we plugged them, and that are not wanted any more.</summary>
        public void ReleasePorts()
        {
            HashSet<int> wanted = [];
            foreach (Vif vif in desired.Vifs)
                wanted.UnionWith(observed.TagsOf(vif, desired).Select(t => t.Index).Append(observed.DeviceOf(vif)?.Index ?? 0));
            HashSet<int> carriers = [];
            foreach (Pif pif in desired.Pifs)
            {
                int ifindex = observed.DeviceOf(pif)?.Index ?? 0;
                if (pif is { Network: not null, IsPlugged: true })
                    wanted.Add(ifindex);
                else if (desired.VlansOf(pif).Any())
                    carriers.Add(ifindex);      // out of its bridge, but a port still
            }

            foreach (Vlan vlan in desired.Vlans)
                wanted.Add(observed.DeviceOf(vlan, desired)?.Index ?? 0);
            wanted.UnionWith(FastMembers().Select(m => m.Member.Index));
            foreach ((int ifindex, PortSettings settings) in observed.FastPath.Ports.OrderBy(p => !IsTag(p.Value)).ThenBy(p => p.Key))
            {
                if (wanted.Contains(ifindex))
                    continue;
                LinkInfo? link = observed.Link(ifindex);
                string device = link?.Name ?? $"ifindex {ifindex}";
                if (link is not null && IsTag(settings) && IsMarked(link) && _deleted.Add(ifindex))
                    _actions.Add(new DeleteDevice(device, ifindex));
                else if (link is not null && link.MasterIndex != 0 && !StaysInBridge(link)
                    && (link.MasterIndex == settings.BridgeIfindex || IsOurBridge(link.MasterIndex)))
                {
                    if (settings.IsPhysical && link.Vlan is null && observed.Link(link.MasterIndex) is { } bridge)
                        LeaveBridge(link, bridge);
                    SetTagDown(link, settings);
                    _actions.Add(new DetachPort(device, ifindex, observed.Link(link.MasterIndex)?.Name ?? "its bridge", HadLinkLocal(link)));
                }

                if (!carriers.Contains(ifindex))
                    _actions.Add(new RemovePort(device, ifindex));
            }
        }

        public void DeleteBridges()
        {
            foreach (DoomedBridge doomed in desired.Doomed)
            {
                LinkInfo? bridge = observed.BridgeMarkedFor(doomed.Network);
                if (bridge is not null && _deleted.Add(bridge.Index))
                    _actions.Add(new DeleteBridge(bridge.Name, bridge.Index));
            }
        }

        public void Converge(Network network)
        {
            LinkInfo? named = observed.Link(network.Bridge);
            if (named is not null && _deleted.Contains(named.Index))
                named = null;       // that of an earlier Network, which goes; its name is free then
            LinkInfo? bridge = named is { Bridge: not null } ? named : null;
            Pif? pif = desired.PifOf(network) is { IsPlugged: true } plugged ? plugged : null;
            LinkInfo? pifDevice = pif is null ? null : observed.DeviceOf(pif);
            LinkInfo? vlanDevice = desired.VlanOf(network) is { } tagged ? observed.DeviceOf(tagged, desired) : null;
            bool isBlocked = named is not null && bridge is null;
            if (isBlocked)
                _problems.Add(new RefusalException(network.Bridge, $"exists and is no bridge but a {named!.Kind ?? "network card"}"));
            else if (bridge is null)
                _actions.Add(new CreateBridge(network, AddressFor(network, pif, pifDevice)));
            PathDecision path = PathRule.Decide(network, bridge, observed);
            // The uplink and the guests first: a bridge's MTU follows its ports'.
            List<(LinkInfo Device, bool IsPif)> ports = [];
            if (pif is not null && Found(pifDevice, pif.Device))
                ports.Add((pifDevice!, true));
            Vlan? vlan = desired.VlanOf(network);
            if (vlan is not null && Found(vlanDevice, vlan.Device))
                ports.Add((vlanDevice!, true));
            foreach (Vif vif in desired.VifsOf(network))
            {
                LinkInfo? device = observed.DeviceOf(vif);
                if (Found(device, vif.Device))
                    ports.Add((device!, false));
            }

            // One that is not there yet is on its way.
            ports.AddRange(observed.TagsIn(network, desired).Select(t => (t, false)));
            if (isBlocked)
            {
                foreach ((LinkInfo device, bool isPif) in ports)
                    Rest(network, bridge, device, isPif);
                return;
            }

            bool anyFast = ports.Any(p => PathRule.Decide(path, p.Device, p.IsPif, observed).Path != PortPath.Bridge);
            HashSet<int> xdpPorts = XdpPortsOf(network);
            foreach ((LinkInfo device, bool isPif) in ports)
                ConvergePort(network, bridge, path, device, isPif, anyFast, xdpPorts.Contains(device.Index));
            if (bridge is not null && bridge.Mtu != network.Mtu)
                _actions.Add(new SetMtu(bridge.Name, bridge.Index, network.Mtu));
            if (bridge is { IsUp: false })
                AddOnce(new SetUp(bridge.Name, bridge.Index));
        }

        private void ConvergePort(Network network, LinkInfo? bridge, PathDecision path, LinkInfo device, bool isPif, bool anyFast, bool isXdpPort)
        {
            bool isAttached = bridge is not null && device.MasterIndex == bridge.Index;
            if (!isAttached && device.MasterIndex != 0 && !IsOurBridge(device.MasterIndex))
            {
                string other = observed.Link(device.MasterIndex)?.Name ?? "another bridge";
                _problems.Add(new RefusalException(device.Name, $"is in {other}, not in {network.Bridge}"));
                Rest(network, bridge, device, isPif);
                return;
            }

            Pif? trunk = isPif && device.Vlan is null ? desired.PifOf(network) : null;
            int mtu = trunk is null ? MtuOf(device, network.Mtu) : MtuOf(trunk, network.Mtu);
            if (device.Mtu != mtu)
                AddOnce(new SetMtu(device.Name, device.Index, mtu));      // a trunk's may be there already
            PathDecision decision = PathRule.Decide(path, device, isPif, observed);
            bool redirects = decision.Path == PortPath.Redirect;
            if (trunk is not null && CarriesFast(trunk))
                decision = new PathDecision(PortPath.Afxdp, "carries a VLAN on the fast path");
            bool wantsXdp = isXdpPort || (trunk is not null && CarriesXdp(trunk));
            bool stripsTags = StripsTags(device), needsTags = decision.Path == PortPath.Afxdp || wantsXdp;
            if (needsTags)
                _fast.Add(device.Index);
            // The policy hook goes in before the port does, so that there is no moment without it; the fast path comes when the
            // port is in the bridge and the next look has confirmed that tags stay in the frames.
            PortPath now = !isAttached || (decision.Path == PortPath.Afxdp && stripsTags) ? PortPath.Bridge : decision.Path;
            PortSettings settings = SettingsOf(network, bridge, device, isPif, now, isAttached, anyFast) with { Redirects = isAttached && redirects };
            Configure(device, network.Label, WithXdp(settings, device, isAttached && wantsXdp));
            if (!isAttached && device.MasterIndex != 0)
            {
                SetTagDown(device, settings);
                _actions.Add(new DetachPort(device.Name, device.Index, observed.Link(device.MasterIndex)!.Name));
            }

            // Before our first port comes into a bridge that we adopted.
            if (!isAttached && bridge is { Address: { } address } && bridge.Alias != MarkOf(network.Uuid)
                && observed.FastPath.Ports.Values.All(p => p.BridgeIfindex != bridge.Index))
                AddOnce(new PinAddress(bridge.Name, bridge.Index, address));
            if (!isAttached)
                _actions.Add(new AttachPort(device.Name, device.Index, network.Bridge));
            // A tag only when it has got there: outside a bridge dom0 would answer the guest on it.
            if (!device.IsUp && (isAttached || !IsTag(settings)))
                (isPif ? _actions : _guestsToSetUp).Add(new SetUp(device.Name, device.Index));
            if (isPif && device.Vlan is null)
                EnterBridge(network, device, bridge);
            // Last: a driver that refuses keeps its port on the bridge, not out of it.
            if (needsTags && stripsTags && device.Bond is null)
                _actions.Add(new KeepTags(device.Name, device.Index));
        }

        /// <summary>
        /// When all Networks are made. With the carrier that a guest's port then has the kernel begins to work under its lock for all
        /// network configuration, on another CPU (linkwatch_event()), for longer than our step took: what else there is to do would wait
        /// for that with every step.
        /// </summary>
        public void SetGuestsUp() => _actions.AddRange(_guestsToSetUp);

        /// <summary>A port that somebody else has put elsewhere must not go on forwarding by its old settings.</summary>
        private void Rest(Network network, LinkInfo? bridge, LinkInfo device, bool isPif)
        {
            PortSettings settings = SettingsOf(network, bridge, device, isPif, PortPath.Bridge, isAttached: false, anyFast: false);
            if (observed.FastPath.Ports.TryGetValue(device.Index, out PortSettings? inForce) && inForce != settings)
                _actions.Add(new ConfigurePort(device.Name, device.Index, network.Label, settings));
        }

        /// <summary>The address of a new bridge: its uplink's, which dom0's own addresses on it then keep.</summary>
        private MacAddress AddressFor(Network network, Pif? pif, LinkInfo? pifDevice)
        {
            Pif? uplink = pif ?? (desired.VlanOf(network) is { } vlan ? desired.PifOf(vlan.Pif) : null);
            if (uplink?.Bond is not null)
                return MacAddress.Parse(uplink.Mac);        // the bond may not be there yet
            LinkInfo? device = pifDevice ?? (uplink is null ? null : observed.DeviceOf(uplink));
            return device?.Address ?? AddressOf(network.Uuid);
        }

        /// <summary>What a port is to be; without a Network, a PIF that only carries VLANs, or a bond's member.</summary>
        private PortSettings SettingsOf(Network? network, LinkInfo? bridge, LinkInfo device, bool isPif, PortPath path, bool isAttached, bool anyFast)
        {
            LinkInfo card = device.Vlan is null ? device : observed.Link(device.LinkIndex) ?? device;
            observed.Facts.TryGetValue(card.Index, out PortFacts? facts);
            Pif? trunk = isPif && device.Vlan is null ? desired.Pifs.FirstOrDefault(p => observed.DeviceOf(p)?.Index == device.Index) : null;
            bool isTrunk = isPif ? trunk is not null && desired.VlansOf(trunk).Any() : TrunkOf(device) is not null;
            BridgeData? data = bridge?.Bridge;
            TimeSpan ageing = data?.AgeingTime ?? TimeSpan.FromSeconds(300);
            if (data is { Stp: true } && data.ForwardDelay > TimeSpan.Zero && data.ForwardDelay < ageing)
                ageing = data.ForwardDelay;     // what the kernel ages by after a topology change
            return new PortSettings
            {
                NetworkId = network?.Id ?? 0,
                BridgeIfindex = bridge?.Index ?? 0,
                Path = path,
                DropsTags = !isPif,
                IsPhysical = isPif,
                MayBeUnfinished = card.Bond is null ? PathRule.MayBeUnfinished(card) : observed.PortsOf(card).Any(PathRule.MayBeUnfinished),
                IsForwarding = isAttached && bridge!.IsUp && device.BridgePort is { State: BridgePortState.Forwarding },
                IsIsolated = device.BridgePort is { Isolated: true },
                IsWatched = anyFast && path == PortPath.Bridge,
                FrameBytesMax = (network?.Mtu ?? device.Mtu) + EthernetHeaderBytes,
                RefreshInterval = ageing / RefreshesPerAgeing,
                Queues = card.Bond is not null ? 0 : facts?.Queues ?? 1,
                HasNativeXdp = facts is not null && PathRule.HasNativeXdp(facts),
                MayZeroCopy = facts is not null && (facts.Xdp is not { } xdp || (xdp.Features & XdpFeatures.ZeroCopy) != 0),
                TrunkIfindex = device.Vlan is not null ? device.LinkIndex : 0,
                Tag = device.Vlan?.Id ?? 0,
                IsTrunk = isTrunk,
                ForeignTags = isPif && isTrunk ? ForeignTagsOf(trunk!, device) : TagSet.Empty,
                Loops = card.Bond is not null
                    && desired.Bonds.Any(b => b.Mode == BondingMode.BalanceSlb && observed.DeviceOf(desired.MasterOf(b))?.Index == card.Index),
                Bond = path == PortPath.Afxdp && device.Bond is not null ? BondPortOf(device) : null,
                HasZeroCopyChecksum = facts?.Xdp is { } known && (known.XskFeatures & XskFeatures.TransmitChecksum) != 0,
            };
        }

        private void AddOnce(PlanAction action)
        {
            if (!_actions.Contains(action))
                _actions.Add(action);
        }

        private bool Found(LinkInfo? device, string name)
        {
            if (device is null && !_coming.Contains(name))
                _problems.Add(new RefusalException(name, "the device is missing"));
            return device is not null;
        }

        /// <summary>A PIF that was in its bridge before us stays there when its Network goes.</summary>
        private bool StaysInBridge(LinkInfo link) => undoing.Stay.Contains(link.Index) ||
            desired.Pifs.Any(p => p is { WasInBridge: true, Network: null } && observed.DeviceOf(p)?.Index == link.Index);

        private bool HadLinkLocal(LinkInfo link) => desired.Pifs.Any(p => p.HadLinkLocal && observed.DeviceOf(p)?.Index == link.Index);

        /// <summary>A bridge of one of our Networks, which a moving port may leave.</summary>
        private bool IsOurBridge(int ifindex) =>
            desired.Networks.Any(n => observed.BridgeOf(n)?.Index == ifindex);
    }
}
