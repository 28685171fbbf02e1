// A machine for documents: it has every device that is asked for, unless it is called "missing...".
using XenFastPath.Model;

namespace XenFastPath.Tests.Model;

internal sealed class FakeDocumentHost : IDocumentHost
{
    private readonly Dictionary<string, int> _ifindexes = [];
    private int _uuids = 1000;

    /// <summary>What was asked besides making objects, in order.</summary>
    public List<string> Checks { get; } = [];

    public Network NewNetwork(HostState state, string label, string? bridge, int? mtu, Datapath datapath) =>
        new(Make.Uuid(++_uuids), state.NextNetworkId(), label,
            bridge ?? Rules.BridgeFor(label, n => state.Networks.Any(k => k.Bridge == n)), mtu ?? 1500, datapath);

    public void CheckChange(HostState state, Network changed) => Checks.Add($"change {changed.Label}");

    public void CheckDestroy(HostState state, Network network) => Checks.Add($"destroy {network.Label}");

    public void CheckLeftOut(HostState state, Bond bond, bool hasOtherUplink) =>
        Checks.Add($"left out {bond.Device}{(hasOtherUplink ? ", its network has another uplink" : "")}");

    public Pif NewPif(string device, string? mac, string? busPath)
    {
        int ifindex = IfindexOf(device);
        Pif pif = new(Make.Uuid(++_uuids), device, mac ?? $"52:54:00:00:{ifindex / 256:x2}:{ifindex % 256:x2}", busPath, null, false, false);
        return mac is null ? pif with { Binding = new DeviceBinding(Make.BootId, Make.Netns, ifindex) } : pif;
    }

    public (bool WasInBridge, bool HadLinkLocal, bool HadAddresses) CheckUplink(Pif pif, Network network, Network? from)
    {
        Checks.Add($"uplink {pif.Device} {from?.Label ?? "-"} {network.Label}");
        return (pif.Device.StartsWith("old", StringComparison.Ordinal), false, false);
    }

    public void CheckIp(Pif pif, IpConfiguration ip) => Checks.Add($"ip {pif.Device}{(pif.IsPlugged ? " plugged" : "")}");

    public void CheckMember(HostState state, Pif member, Network? network) => Checks.Add($"member {member.Device}");

    public Vlan NewVlan(HostState state, Pif pif, int tag, Network network, string? device) =>
        new(Make.Uuid(++_uuids), pif.Uuid, tag, network.Uuid, device ?? Rules.VlanDeviceFor(pif.Device, tag, n => state.Vlans.Any(v => v.Device == n)));

    public Vif NewVif(string device, Network network, string? mac) =>
        new(Make.Uuid(++_uuids), device, network.Uuid, mac, new DeviceBinding(Make.BootId, Make.Netns, IfindexOf(device)));

    public void CheckTrunks(HostState state, Vif vif) => Checks.Add($"trunks {vif.Device} {vif.Trunks}");

    public void CheckMove(Vif vif, Network from, Network to) => Checks.Add($"move {vif.Device} {from.Label} {to.Label}");

    private int IfindexOf(string device)
    {
        if (device.StartsWith("missing", StringComparison.Ordinal))
            throw new RefusalException(device, "no such device");
        if (!_ifindexes.TryGetValue(device, out int ifindex))
            _ifindexes.Add(device, ifindex = _ifindexes.Count + 2);
        return ifindex;
    }
}
