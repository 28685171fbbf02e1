// The part of the plan that makes uplinks: bonds first, then the VLANs on them or on cards, then what a trunk is to do with tags.
using System.Globalization;
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

public sealed partial record Plan
{
    /// <summary>Devices that are still there of a VLAN, bond or trunk VIF which is gone, of a VLAN that moved, or of tags that a VIF had.</summary>
    public static IEnumerable<LinkInfo> LeftOvers(DoomedLink doomed, HostState desired, Observed observed)
    {
        LinkInfo? wanted = desired.Vlans.FirstOrDefault(v => v.Uuid == doomed.Owner) is { } vlan ? observed.DeviceOf(vlan, desired) : null;
        HashSet<int> tags = desired.Vifs.FirstOrDefault(v => v.Uuid == doomed.Owner) is { } vif ? [.. observed.TagsOf(vif, desired).Select(t => t.Index)] : [];
        return observed.Links.Where(l => l.Kind is "vlan" or "bond" && l.Alias == MarkOf(doomed.Owner) && l.Index != wanted?.Index && !tags.Contains(l.Index));
    }

    /// <summary>
    /// The kernel's settings for a bond: what its mode does not know is left out. The primary is named once it is in. What not every
    /// kernel lets anybody set is named only if it is not so <paramref name="now"/>; null: a new bond.
    /// </summary>
    internal static BondSettings BondSettingsOf(Bond bond, int? primaryIndex, BondData? now = null) => new()
    {
        Mode = bond.Mode switch
        {
            BondingMode.ActiveBackup => BondMode.ActiveBackup,
            // What upstream has instead: every source address by one member; the rest of balance-slb is ours (native/slb.bpf.c).
            BondingMode.BalanceSlb => BondMode.Xor,
            _ => BondMode.Lacp,
        },
        MiiMonitorMs = bond.Properties.MiimonMs,
        UpDelayMs = bond.Properties.UpDelayMs,
        DownDelayMs = bond.Properties.DownDelayMs,
        // Kernel 6.18 knows nothing but 1.
        UseCarrier = bond.Properties.UseCarrier == (now?.UseCarrier ?? true) ? null : bond.Properties.UseCarrier,
        PrimarySlaveIndex = bond.Mode == BondingMode.ActiveBackup ? primaryIndex : null,
        HashPolicy = bond.Mode switch
        {
            BondingMode.ActiveBackup => null,
            BondingMode.Lacp when !bond.Properties.HashesSourceMac => BondHashPolicy.Layer34,
            _ => BondHashPolicy.VlanSourceMac,
        },
        LacpRateFast = bond.Mode == BondingMode.Lacp ? bond.Properties.LacpFast : null,
        LacpUserPortKey = bond.Mode == BondingMode.Lacp && (ushort)(bond.Properties.LacpAggregationKey ?? 0) is var key
            && key != (now?.LacpUserPortKey ?? 0) ? key : null,
    };

    private sealed partial class Builder
    {
        /// <summary>Devices that steps of this plan make: the next look finds them.</summary>
        private readonly HashSet<string> _coming = [];

        public void DeleteLinks()
        {
            // VLANs before the bonds that may carry them.
            foreach (LinkInfo link in desired.DoomedLinks.SelectMany(d => LeftOvers(d, desired, observed)).OrderBy(l => l.Kind == "bond"))
            {
                if (_deleted.Add(link.Index))
                    _actions.Add(new DeleteDevice(link.Name, link.Index));
            }
        }

        public void Converge(Bond bond)
        {
            Pif master = desired.MasterOf(bond);
            LinkInfo? device = observed.DeviceOf(master);
            MacAddress address = MacAddress.Parse(master.Mac);
            bool isEmptied = false;
            if (device is null)
            {
                if (observed.Link(bond.Device) is { } other)
                {
                    _problems.Add(new RefusalException(bond.Device, $"exists and is no bond but a {other.Kind ?? "network card"}"));
                    return;
                }

                _actions.Add(new CreateBond(bond, address));
                _coming.Add(bond.Device);
            }
            else
            {
                isEmptied = ConvergeSettings(bond, device, address);
            }

            HashSet<int> wanted = [];
            foreach (Pif member in bond.Members.Select(desired.PifOf))
            {
                if (observed.DeviceOf(member) is not { } card)
                {
                    _problems.Add(new RefusalException(member.Device, "the device is missing"));
                    continue;
                }

                wanted.Add(card.Index);
                if (device is null || card.MasterIndex != device.Index || isEmptied)
                    Join(card, device, bond.Device);
            }

            bool isOurs = device?.Alias == MarkOf(bond.Uuid);
            foreach (LinkInfo stranger in isOurs ? observed.PortsOf(device!).Where(p => !wanted.Contains(p.Index)) : [])
                _actions.Add(new Release(stranger.Name, stranger.Index, device!.Name));
            if (device is { IsUp: false } || isEmptied)
                _actions.Add(new SetUp(bond.Device, device!.Index));
            if (device is not null && !isEmptied)
                ConvergeSlb(bond, device);
        }

        /// <summary>True if its members had to leave: they are to be taken in again.</summary>
        private bool ConvergeSettings(Bond bond, LinkInfo device, MacAddress address)
        {
            BondData now = device.Bond!;
            // One that is not in (somebody has it elsewhere) would not become the primary: the kernel shows none until it comes.
            LinkInfo? primary = observed.DeviceOf(desired.PifOf(bond.Members[0])) is { } card && card.MasterIndex == device.Index ? card : null;
            BondSettings wanted = BondSettingsOf(bond, primary?.Index, now);
            string what = Difference(now, wanted);
            bool empties = now.Mode != wanted.Mode;
            bool needsDown = empties || (wanted.LacpRateFast is { } fast && now.LacpRateFast != fast)
                || (wanted.LacpUserPortKey is { } key && now.LacpUserPortKey != key);
            if (what.Length > 0)
            {
                foreach (LinkInfo member in empties ? observed.PortsOf(device) : [])
                    _actions.Add(new Release(member.Name, member.Index, device.Name));
                if (needsDown && device.IsUp)
                    _actions.Add(new SetDown(device.Name, device.Index));
                _actions.Add(new ChangeBond(device.Name, device.Index, WithoutWhatIs(now, wanted), what));
                if (needsDown && !empties)
                    _actions.Add(new SetUp(device.Name, device.Index));
            }

            // A bond that has lost its last member takes a random address; set by hand before the first comes in, it stays.
            if (device.Address != address || empties)
                _actions.Add(new PinAddress(device.Name, device.Index, address));
            return empties;
        }

        /// <summary>The kernel refuses some settings in some states even if they change nothing: only what differs is sent.</summary>
        private static BondSettings WithoutWhatIs(BondData now, BondSettings wanted) => wanted with
        {
            Mode = now.Mode == wanted.Mode ? null : wanted.Mode,
            PrimarySlaveIndex = (now.PrimarySlaveIndex ?? 0) == wanted.PrimarySlaveIndex ? null : wanted.PrimarySlaveIndex,
            HashPolicy = now.HashPolicy == wanted.HashPolicy ? null : wanted.HashPolicy,
            LacpRateFast = now.LacpRateFast == wanted.LacpRateFast ? null : wanted.LacpRateFast,
        };

        private static string Difference(BondData now, BondSettings wanted)
        {
            List<string> parts = [];
            void Compare<T>(string name, T have, T? want) where T : struct, IEquatable<T>
            {
                if (want is { } value && !have.Equals(value))
                    parts.Add(string.Create(CultureInfo.InvariantCulture, $"{name} {value}"));
            }

            if (now.Mode != wanted.Mode)
                parts.Add($"mode {wanted.Mode!.Value.Word()}");
            Compare("miimon", now.MiiMonitorMs, wanted.MiiMonitorMs);
            Compare("updelay", now.UpDelayMs, wanted.UpDelayMs);
            Compare("downdelay", now.DownDelayMs, wanted.DownDelayMs);
            if (wanted.UseCarrier is { } uses && now.UseCarrier != uses)
                parts.Add(uses ? "use_carrier on" : "use_carrier off");
            Compare("primary ifindex", now.PrimarySlaveIndex ?? 0, wanted.PrimarySlaveIndex);
            if (wanted.HashPolicy is { } policy && now.HashPolicy != policy)
                parts.Add(policy == BondHashPolicy.Layer34 ? "xmit_hash_policy layer3+4" : "xmit_hash_policy vlan+srcmac");
            if (wanted.LacpRateFast is { } fast && now.LacpRateFast != fast)
                parts.Add(fast ? "lacp_rate fast" : "lacp_rate slow");
            Compare("ad_user_port_key", now.LacpUserPortKey ?? 0, wanted.LacpUserPortKey);
            return string.Join(", ", parts);
        }

        private void Join(LinkInfo card, LinkInfo? bond, string bondName)
        {
            bool isElsewhere = card.MasterIndex != 0 && card.MasterIndex != bond?.Index;
            if (isElsewhere && !IsOurBridge(card.MasterIndex))
            {
                _problems.Add(new RefusalException(card.Name, $"is in {observed.Link(card.MasterIndex)?.Name ?? "another device"}, not in {bondName}"));
                return;
            }

            if (isElsewhere && !_actions.OfType<DetachPort>().Any(d => d.Ifindex == card.Index))
                _actions.Add(new DetachPort(card.Name, card.Index, observed.Link(card.MasterIndex)!.Name));
            if (card.IsUp)
                _actions.Add(new SetDown(card.Name, card.Index));
            _actions.Add(new Enslave(card.Name, card.Index, bondName));
        }

        public void Converge(Vlan vlan)
        {
            Pif pif = desired.PifOf(vlan.Pif);
            if (observed.DeviceOf(pif) is not { } trunk)
            {
                if (!_coming.Contains(pif.Device) && desired.PifOf(desired.NetworkOf(vlan.Network)) is null && pif.Network is null)
                    _problems.Add(new RefusalException(pif.Device, "the device is missing"));
                return;
            }

            if (_deleted.Contains(trunk.MasterIndex))
            {
                // Its bond goes with this plan, and leaves it down: the next look knows more.
                _coming.Add(vlan.Device);
                return;
            }

            if (!trunk.IsUp && !_actions.OfType<SetUp>().Any(u => u.Ifindex == trunk.Index))
                _actions.Add(new SetUp(trunk.Name, trunk.Index));
            if (observed.DeviceOf(vlan, desired) is not null)
                return;
            if (observed.Link(vlan.Device) is { } other && !_deleted.Contains(other.Index))
            {
                _problems.Add(new RefusalException(vlan.Device, $"exists and is not tag {vlan.Tag} of {trunk.Name}"));
                return;
            }

            _actions.Add(new CreateVlan(vlan, trunk.Name, trunk.Index));
            _coming.Add(vlan.Device);
        }

        /// <summary>
        /// A PIF that carries VLANs. Its MTU is raised before any Network's ports have theirs: the kernel refuses a VLAN a larger one than
        /// its trunk's (vlan_dev_change_mtu()). One that serves no Network itself is a port only as far as tags go.
        /// </summary>
        public void ConvergeCarrier(Pif pif)
        {
            if (!desired.VlansOf(pif).Any() || observed.DeviceOf(pif) is not { } device)
                return;
            Network? own = pif is { Network: { } uuid, IsPlugged: true } ? desired.NetworkOf(uuid) : null;
            int mtu = MtuOf(pif, own?.Mtu ?? device.MinMtu);
            if (device.Mtu < mtu)
                _actions.Add(new SetMtu(device.Name, device.Index, mtu));
            if (own is not null)
                return;
            bool stripsTags = StripsTags(device);
            bool isFast = CarriesFast(pif), wantsXdp = CarriesXdp(pif);
            if (isFast || wantsXdp)
                _fast.Add(device.Index);
            PortSettings settings = SettingsOf(null, null, device, true, isFast && !stripsTags ? PortPath.Afxdp : PortPath.Bridge, false, false);
            Configure(device, "(tags only)", WithXdp(settings, device, wantsXdp));
            if ((isFast || wantsXdp) && stripsTags && device.Bond is null)
                _actions.Add(new KeepTags(device.Name, device.Index));
        }

        private void Configure(LinkInfo device, string label, PortSettings settings)
        {
            if (!observed.FastPath.Ports.TryGetValue(device.Index, out PortSettings? inForce) || inForce != settings)
                _actions.Add(new ConfigurePort(device.Name, device.Index, label, settings));
        }

        /// <summary>Does a VLAN of this PIF want its frames on the fast path, and can it have them there?</summary>
        private bool CarriesFast(Pif pif) => desired.VlansOf(pif).Any(v =>
        {
            Network network = desired.NetworkOf(v.Network);
            return observed.DeviceOf(v, desired) is { } device
                && PathRule.Decide(PathRule.Decide(network, observed.BridgeOf(network), observed), device, isPif: true, observed).Path == PortPath.Afxdp;
        });

        /// <summary>The largest MTU that a PIF's own Network and its VLANs want; at least <paramref name="atLeast"/>.</summary>
        private int MtuOf(Pif pif, int atLeast) => desired.VlansOf(pif).Select(v => desired.NetworkOf(v.Network).Mtu).Append(atLeast).Max();

        /// <summary>Tags of subinterfaces that are nobody's of ours: somebody in dom0 wants their frames.</summary>
        private TagSet ForeignTagsOf(Pif pif, LinkInfo device)
        {
            HashSet<int> ours = [.. desired.VlansOf(pif).Select(v => v.Tag)];
            return new TagSet(observed.VlansOn(device).Where(l => !ours.Contains(l.Vlan!.Id)).Select(l => l.Vlan!.Id));
        }
    }
}
