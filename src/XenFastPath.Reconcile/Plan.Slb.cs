// The part of the plan that keeps balance-slb in step with a bond's members.
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

public sealed partial record Plan
{
    private sealed partial class Builder
    {
        /// <summary>The rules go before the bond does, and before it takes another mode.</summary>
        public void ReleaseSlb()
        {
            IEnumerable<Bond> bonds = desired.Bonds.Where(b => b.Mode == BondingMode.BalanceSlb);
            HashSet<int> wanted = [.. bonds.Select(b => observed.DeviceOf(desired.MasterOf(b))?.Index ?? 0)];
            foreach (int ifindex in observed.FastPath.Slb.Bonds.Keys.Where(i => !wanted.Contains(i)).Order())
                _actions.Add(new RemoveSlb(observed.Link(ifindex)?.Name ?? $"ifindex {ifindex}", ifindex));
        }

        /// <summary>When the kernel's part is as it is to be: the rules presuppose balance-xor.</summary>
        private void ConvergeSlb(Bond bond, LinkInfo device)
        {
            if (bond.Mode != BondingMode.BalanceSlb || device.Bond!.Mode != BondMode.Xor)
                return;
            LinkInfo[] members = [.. observed.PortsOf(device).OrderBy(m => m.Index)];
            LinkInfo[] usable = [.. members.Where(IsUsable)];
            observed.FastPath.Slb.Bonds.TryGetValue(device.Index, out SlbSettings? inForce);
            LinkInfo? bridge = desired.MasterOf(bond).Network is { } network ? observed.BridgeOf(desired.NetworkOf(network)) : null;
            SlbSettings settings = new()
            {
                Members = new MemberList(members.Select(m => m.Index)),
                Usable = new MemberList(usable.Select(m => m.Index)),
                Active = ActiveOf(bond, usable, inForce),
                RebalanceInterval = TimeSpan.FromMilliseconds(bond.Properties.RebalanceIntervalMs),
                Ageing = bridge?.Bridge?.AgeingTime ?? TimeSpan.FromSeconds(300),
            };
            if (inForce != settings)
            {
                _actions.Add(new ConfigureSlb(device.Name, device.Index, settings, string.Join(", ", usable.Select(m => m.Name)),
                    observed.Link(settings.Active)?.Name ?? "none"));
            }
        }

        /// <summary>May it transmit? One that is going down still may, until its downdelay is over.</summary>
        private static bool IsUsable(LinkInfo member) =>
            member is { IsUp: true, BondSlave: { State: BondSlaveState.Active, MiiStatus: BondMiiStatus.Up or BondMiiStatus.Fail } };

        /// <summary>The primary; else the one that was, so that multicast does not wander without need; else the first.</summary>
        private int ActiveOf(Bond bond, LinkInfo[] usable, SlbSettings? inForce)
        {
            int primary = observed.DeviceOf(desired.PifOf(bond.Members[0]))?.Index ?? 0;
            if (usable.Any(m => m.Index == primary))
                return primary;
            return usable.Any(m => m.Index == inForce?.Active) ? inForce!.Active : usable.FirstOrDefault()?.Index ?? 0;
        }
    }
}
