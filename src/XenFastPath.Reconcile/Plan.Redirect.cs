// The part of the plan that says which ports of path redirect get the XDP program: those that can exchange XDP frames.
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

public sealed partial record Plan
{
    private sealed partial class Builder
    {
        /// <summary>
        /// Ports of a Network on redirect that carry XDP frames, by ifindex; none if there is only one, which has nobody to exchange them
        /// with.
        /// </summary>
        private HashSet<int> XdpPortsOf(Network network)
        {
            LinkInfo? bridge = observed.BridgeOf(network);
            PathDecision path = PathRule.Decide(network, bridge, observed);
            if (path.Path != PortPath.Redirect || !PathRule.MayUseXdp(network))
                return [];
            List<(LinkInfo? Device, bool IsPif)> ports = [.. desired.VifsOf(network).Select(v => (observed.DeviceOf(v), false))];
            if (desired.PifOf(network) is { IsPlugged: true } pif)
                ports.Add((observed.DeviceOf(pif), true));
            if (desired.VlanOf(network) is { } vlan)
                ports.Add((observed.DeviceOf(vlan, desired), true));
            HashSet<int> able = [];
            foreach ((LinkInfo? device, bool isPif) in ports)
            {
                if (device is not null && device.MasterIndex == bridge!.Index && PathRule.Decide(path, device, isPif, observed).Path == PortPath.Redirect
                    && PathRule.WhyNoXdp(device, isPif, observed) is null)
                    able.Add(device.Index);
            }

            return able.Count > 1 ? able : [];
        }

        /// <summary>Do frames of a VLAN of this PIF come and go by XDP on path redirect?</summary>
        private bool CarriesXdp(Pif pif) => desired.VlansOf(pif).Any(v =>
            observed.DeviceOf(v, desired) is { } device && XdpPortsOf(desired.NetworkOf(v.Network)).Contains(device.Index));

        /// <summary>The program is on the device that carries the frames, and not before that shows it their tags.</summary>
        private PortSettings WithXdp(PortSettings settings, LinkInfo device, bool wantsXdp)
        {
            LinkInfo card = device.Vlan is null ? device : observed.Link(device.LinkIndex) ?? device;
            bool isReady = wantsXdp && !StripsTags(card);
            bool takes = observed.Facts.TryGetValue(card.Index, out PortFacts? facts) && facts.Xdp is { } xdp && (xdp.Features & XdpFeatures.Transmit) != 0;
            return settings with { HasXdpHook = isReady && device.Vlan is null, TakesXdpFrames = isReady && takes };
        }
    }
}
