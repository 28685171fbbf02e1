// VLANs in the fast path: ports without sockets or XDP of their own, tied to the trunk that carries their frames.
using XenFastPath.Dataplane;
using XenFastPath.Interop;
using XenFastPath.Model;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.FastPath;

internal sealed unsafe partial class FastPathManager
{
    private FastPathPort? TrunkOf(FastPathPort port) => port.IsVlan ? PortOf(port.Settings.TrunkIfindex) : null;

    /// <summary>VLANs by the ifindex of their trunk: each port is asked for its own whenever it changes.</summary>
    private readonly Dictionary<int, List<FastPathPort>> _vlansOf = [];

    private List<FastPathPort> VlansOf(int trunk) => _vlansOf.TryGetValue(trunk, out List<FastPathPort>? vlans) ? [.. vlans] : [];

    /// <summary>Brings <see cref="VlansOf"/> in line with a port that was on another trunk, or on none; 0 is none.</summary>
    private void Follow(FastPathPort port, int oldTrunk, int newTrunk)
    {
        if (oldTrunk == newTrunk)
            return;
        if (_vlansOf.TryGetValue(oldTrunk, out List<FastPathPort>? left) && left.Remove(port) && left.Count == 0)
            _vlansOf.Remove(oldTrunk);
        if (newTrunk == 0)
            return;
        if (!_vlansOf.TryGetValue(newTrunk, out List<FastPathPort>? entered))
            _vlansOf[newTrunk] = entered = [];
        entered.Add(port);
    }

    /// <summary>Brings the program's tags in line with a port whose settings have changed from <paramref name="old"/>; before its word is published.</summary>
    private void SetTags(FastPathPort port, PortSettings old)
    {
        if (port.IsVlan && TrunkOf(port) is { } trunk)
            SetTag(trunk, port.Settings.Tag);
        if ((old.TrunkIfindex, old.Tag) != (port.Settings.TrunkIfindex, port.Settings.Tag) && PortOf(old.TrunkIfindex) is { } oldTrunk)
            SetTag(oldTrunk, old.Tag);
        foreach (ushort tag in TagsOf(port, old).Union(TagsOf(port, port.Settings)))
            SetTag(port, tag);
    }

    /// <summary>A port has left: nobody has its tag, or those that it carried.</summary>
    private void ClearTags(FastPathPort port)
    {
        if (TrunkOf(port) is { } trunk)
            SetTag(trunk, port.Settings.Tag);
        foreach (ushort tag in TagsOf(port, port.Settings))
            _maps.DeleteVlan(VlanKey.Make(port.Id, tag));
    }

    private IEnumerable<ushort> TagsOf(FastPathPort trunk, PortSettings settings) =>
        settings.ForeignTags.Tags.ToArray().Union(VlansOf(trunk.Ifindex).Select(v => v.Settings.Tag));

    /// <summary>Says in the program's table whose a tag of a trunk is: one of our VLANs', another VLAN device's, or nobody's.</summary>
    private void SetTag(FastPathPort trunk, ushort tag)
    {
        uint key = VlanKey.Make(trunk.Id, tag);
        if (VlansOf(trunk.Ifindex).Find(v => v.Settings.Tag == tag) is { } vlan)
            _maps.SetVlan(key, vlan.Id);
        else if (trunk.Settings.ForeignTags.Tags.Contains(tag))
            _maps.SetVlan(key, 0);
        else
            _maps.DeleteVlan(key);
    }

    /// <summary>What an earlier daemon entered stays as far as its ports are there; the rest goes.</summary>
    private void TakeOverTags()
    {
        Dictionary<ushort, FastPathPort> byId = _ports.Values.ToDictionary(p => p.Id);
        foreach (IGrouping<ushort, (uint Key, ushort Id)> tags in _maps.Vlans().GroupBy(v => VlanKey.TrunkOf(v.Key)))
        {
            FastPathPort? trunk = byId.GetValueOrDefault(tags.Key);
            foreach ((uint key, ushort id) in tags.Where(t => t.Id != 0 || trunk is null))
            {
                if (trunk is null || !VlansOf(trunk.Ifindex).Exists(v => v.Id == id && v.Settings.Tag == VlanKey.TagOf(key)))
                    _maps.DeleteVlan(key);
            }

            if (trunk is null)
                continue;
            trunk.Settings = trunk.Settings with { ForeignTags = new TagSet(tags.Where(t => t.Id == 0).Select(t => VlanKey.TagOf(t.Key))) };
            _settings[trunk.Ifindex] = trunk.Settings;
        }
    }

    /// <summary>Is the port that the forwarder serves this one, as it is now?</summary>
    private bool IsSame(FastPathPort port, in ForwarderMessage served)
    {
        if (port.Generation != served.Generation || (uint)port.Ifindex != served.Ifindex || port.Settings.Path != PortPath.Afxdp)
            return false;
        if (!port.IsVlan)
            return served.Trunk == 0 && !port.IsBond && (served.PortFlags & ForwarderPortFlags.IsBond) == 0;
        return TrunkOf(port) is { IsServed: true } trunk && trunk.Id == served.Trunk && port.Settings.Tag == served.Tag;
    }

    /// <summary>
    /// After a trunk was configured: those of its VLANs that it took from the forwarder, or that waited for it, come back. Returns
    /// them for the mirror.
    /// </summary>
    private List<MirrorPort> RejoinVlans(FastPathPort trunk)
    {
        if (!trunk.IsServed)
            return [];
        List<FastPathPort> left = VlansOf(trunk.Ifindex).FindAll(v => v.Settings.Path == PortPath.Afxdp && !v.IsServed);
        foreach (FastPathPort vlan in left)
        {
            Forgive(vlan.Ifindex);
            JoinForwarder(vlan);
            Publish(vlan);
        }

        return left.ConvertAll(v => v.Mirror);
    }

    /// <summary>Why a VLAN's trunk cannot carry it; null: it can. As long as the trunk's own failure lasts, so does the VLAN's.</summary>
    private string? CannotCarry(FastPathPort vlan)
    {
        FastPathPort? trunk = TrunkOf(vlan);
        if (trunk is { IsServed: true })
            return null;
        if (_lasting.Contains(vlan.Settings.TrunkIfindex))
            _lasting.Add(vlan.Ifindex);
        string name = trunk?.Device ?? $"ifindex {vlan.Settings.TrunkIfindex}";
        return _failures.TryGetValue(vlan.Settings.TrunkIfindex, out string? reason)
            ? $"{name}, which carries it, has no fast path: {reason}"
            : $"{name}, which carries it, is not on the fast path";
    }

    /// <summary>Ties a VLAN to its trunk, which is served. Null, or why the forwarder refuses.</summary>
    private string? OpenVlan(FastPathPort vlan, ForwarderClient client)
    {
        FastPathPort trunk = TrunkOf(vlan)!;
        ForwarderMessage reply = client.AddPort(new ForwarderMessage
        {
            Port = vlan.Id,
            Generation = vlan.Generation,
            Ifindex = (uint)vlan.Ifindex,
            Trunk = trunk.Id,
            Tag = vlan.Settings.Tag,
        });
        if (reply.Error != 0)
            return $"the forwarder refuses tag {vlan.Settings.Tag} on {trunk.Device} ({reply.Step}: {Errno.Describe(reply.Error)})";
        vlan.IsCarried = true;
        vlan.IsZeroCopy = trunk.IsZeroCopy;
        return null;
    }
}
