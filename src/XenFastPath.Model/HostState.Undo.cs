// Going back: an earlier state in the place of a later one whose objects may have been made already.
namespace XenFastPath.Model;

public sealed partial record HostState
{
    /// <summary>This state again after <paramref name="later"/>: what was made for it since is to be deleted.</summary>
    public HostState After(HostState later)
    {
        IEnumerable<DoomedBridge> bridges = later.Networks.Where(n => Networks.All(p => p.Uuid != n.Uuid)).Select(n => new DoomedBridge(n.Uuid, n.Bridge));
        // A VLAN that went over to a bond or back is the same one with another device.
        IEnumerable<DoomedLink> vlans = later.Vlans.Where(v => !v.WasThere && Vlans.All(p => (p.Uuid, p.Pif, p.Device) != (v.Uuid, v.Pif, v.Device)))
            .Select(v => new DoomedLink(v.Uuid, v.Device));
        IEnumerable<DoomedLink> bonds = later.Bonds.Where(b => Bonds.All(p => p.Uuid != b.Uuid)).Select(b => new DoomedLink(b.Uuid, b.Device));
        IEnumerable<DoomedLink> tags = later.Vifs.Where(v => v.Trunks is not null && !v.Trunks.Equals(Vifs.FirstOrDefault(p => p.Uuid == v.Uuid)?.Trunks))
            .Select(v => new DoomedLink(v.Uuid, v.Device));
        return this with { Doomed = [.. Doomed.Union(bridges)], DoomedLinks = [.. DoomedLinks.Union(vlans).Union(bonds).Union(tags)] };
    }
}
