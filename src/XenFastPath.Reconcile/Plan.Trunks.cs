// The part of the plan that gives a trunk VIF its tags: one subinterface each, which is a port of the VLAN's Network.
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

public sealed partial record Plan
{
    private sealed partial class Builder
    {
        /// <summary>
        /// Makes what is missing. The VIF's MTU is raised first, as a PIF's is: the kernel refuses a subinterface a larger one. A tag
        /// without a VLAN rests: the VIF drops its frames. A VIF that is down comes up first: the kernel takes its subinterfaces along.
        /// </summary>
        public void ConvergeTags(Vif vif)
        {
            if (vif.Trunks is null || observed.DeviceOf(vif) is not { } device)
                return;
            int mtu = MtuOf(device, device.MinMtu);
            if (device.Mtu < mtu)
                _actions.Add(new SetMtu(device.Name, device.Index, mtu));
            foreach (Vlan vlan in desired.VlansOf(vif).Where(v => device.IsUp && observed.VlanOf(device, v.Tag) is null))
            {
                string name = Rules.VlanDeviceFor(device.Name, vlan.Tag,
                    n => observed.Link(n) is not null || _coming.Contains(n) || desired.Vlans.Any(v => v.Device == n));
                _actions.Add(new CreateTag(name, vif.Uuid, device.Name, device.Index, vlan.Tag));
                _coming.Add(name);
            }
        }

        /// <summary>The trunk VIF that a device is, if it is one.</summary>
        private Vif? TrunkOf(LinkInfo device) => _trunks.GetValueOrDefault(device.Index);

        private readonly Dictionary<int, Vif> _trunks = TrunksIn(desired, observed);

        private static Dictionary<int, Vif> TrunksIn(HostState desired, Observed observed)
        {
            Dictionary<int, Vif> trunks = [];
            foreach (Vif vif in desired.Vifs.Where(v => v.Trunks is not null))
            {
                if (observed.DeviceOf(vif) is { } device)
                    trunks.TryAdd(device.Index, vif);
            }

            return trunks;
        }

        /// <summary>The largest MTU that a VIF's own Network and those of its tags want; at least <paramref name="atLeast"/>.</summary>
        private int MtuOf(LinkInfo device, int atLeast) =>
            TrunkOf(device) is { } vif ? desired.VlansOf(vif).Select(v => desired.NetworkOf(v.Network).Mtu).Append(atLeast).Max() : atLeast;

        /// <summary>Is a port a tag of a VIF, not an uplink?</summary>
        private static bool IsTag(PortSettings settings) => settings is { Tag: not 0, IsPhysical: false };

        /// <summary>Before it leaves a bridge: outside one, dom0 would answer the guest.</summary>
        private void SetTagDown(LinkInfo device, PortSettings settings)
        {
            if (IsTag(settings) && device.IsUp)
                _actions.Add(new SetDown(device.Name, device.Index));
        }

        private static bool IsMarked(LinkInfo link) => link.Alias?.StartsWith(MarkPrefix, StringComparison.Ordinal) == true;
    }
}
