// The part of the plan that has the fast path take a bond's frames from its members.
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

public sealed partial record Plan
{
    private sealed partial class Builder
    {
        /// <summary>Members of bonds that are on the fast path: ports that have sockets, but no Network of their own.</summary>
        public void ConvergeMembers()
        {
            foreach ((LinkInfo bond, LinkInfo member) in FastMembers())
            {
                bool stripsTags = StripsTags(member);
                _fast.Add(member.Index);
                PortSettings settings = SettingsOf(null, null, member, true, stripsTags ? PortPath.Bridge : PortPath.Afxdp, false, false);
                Configure(member, bond.Name, settings with { BondIfindex = bond.Index });
                if (stripsTags)
                    _actions.Add(new KeepTags(member.Name, member.Index));
            }
        }

        /// <summary>
        /// The switch learns from what a guest sends. Of one that is silent it would go on to send to a member that rests now, if the
        /// link of that one is up still, as when the primary comes back.
        /// </summary>
        public void ConvergeActive(Bond bond)
        {
            if (bond.Mode != BondingMode.ActiveBackup || observed.DeviceOf(desired.MasterOf(bond)) is not { } device
                || device.Bond is not { Mode: BondMode.ActiveBackup, ActiveSlaveIndex: { } index }
                || observed.Link(index) is not { } active || observed.FastPath.ToldMembers.GetValueOrDefault(device.Index) == index)
                return;
            Pif master = desired.MasterOf(bond);
            List<UplinkPort> uplinks = [];
            if (master.Network is { } own && observed.BridgeOf(desired.NetworkOf(own)) is { } bridge)
                uplinks.Add(new UplinkPort(bridge.Index, device.Index, 0));
            foreach (Vlan vlan in desired.VlansOf(master))
            {
                if (observed.DeviceOf(vlan, desired) is { } port && observed.BridgeOf(desired.NetworkOf(vlan.Network)) is { } tagged)
                    uplinks.Add(new UplinkPort(tagged.Index, port.Index, (ushort)vlan.Tag));
            }

            _actions.Add(new TellMember(device.Name, device.Index, active.Name, index, uplinks));
        }

        private IEnumerable<(LinkInfo Bond, LinkInfo Member)> FastMembers() =>
            from pif in desired.Pifs
            let device = observed.DeviceOf(pif)
            where device?.Bond is not null && (CarriesFast(pif) || IsFast(pif, device))
            from member in observed.MembersOf(device)
            select (device, member);

        /// <summary>Does the PIF's own Network want its frames on the fast path, and can it have them there?</summary>
        private bool IsFast(Pif pif, LinkInfo device)
        {
            if (pif is not { Network: { } uuid, IsPlugged: true })
                return false;
            Network network = desired.NetworkOf(uuid);
            LinkInfo? bridge = observed.BridgeOf(network);
            return bridge is not null && device.MasterIndex == bridge.Index
                && PathRule.Decide(PathRule.Decide(network, bridge, observed), device, isPif: true, observed).Path == PortPath.Afxdp;
        }

        /// <summary>Must the driver be told to leave tags in the frames? A bond's frames are its members'.</summary>
        private bool StripsTags(LinkInfo device) => device.Bond is null
            ? observed.Facts.TryGetValue(device.Index, out PortFacts? facts) && facts.StripsTags
            : observed.PortsOf(device).Any(StripsTags);

        /// <summary>How frames leave by a bond, by what its kernel side says now (bond_update_slave_arr(), bond_slave_can_tx()).</summary>
        private BondPortSettings BondPortOf(LinkInfo bond)
        {
            BondData data = bond.Bond!;
            (BondingMode mode, Func<LinkInfo, bool> isUsable) = data.Mode switch
            {
                BondMode.ActiveBackup => (BondingMode.ActiveBackup, m => m.Index == data.ActiveSlaveIndex),
                // The kernel takes a member out at once when its carrier goes, before miimon has looked.
                BondMode.Lacp => (BondingMode.Lacp, m => m is { IsUp: true, IsLowerUp: true }
                    && m.BondSlave is { State: BondSlaveState.Active, MiiStatus: BondMiiStatus.Up } port && port.AggregatorId == data.Aggregator?.Id),
                _ => (BondingMode.BalanceSlb, (Func<LinkInfo, bool>)IsUsable),
            };
            return new BondPortSettings(mode, data.HashPolicy, new MemberList(observed.MembersOf(bond).Where(isUsable).Select(m => m.Index)));
        }
    }
}
