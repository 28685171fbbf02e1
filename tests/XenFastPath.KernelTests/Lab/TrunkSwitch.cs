// A switch that nobody here wrote: a Linux bridge with vlan_filtering in the world behind a PIF.
//
//     dom0 eth0 ----[wan: native 1, tagged N...]-- sw --[access N]-- host of VLAN N
namespace XenFastPath.KernelTests.Lab;

/// <summary>Makes the world behind a PIF a switch with hosts in its VLANs. VLAN 1 is the native one of the trunk.</summary>
internal sealed class TrunkSwitch
{
    public const int Native = 1;

    private readonly Lab _lab;
    private readonly Guest _world;
    private readonly Dictionary<int, Guest> _hosts = [];

    public TrunkSwitch(Lab lab, Guest world, params int[] tags)
    {
        _lab = lab;
        _world = world;
        world.Netns.Run("ip", "link", "add", "sw", "type", "bridge", "vlan_filtering", "1", "vlan_default_pvid", "0", "mcast_snooping", "0");
        world.Netns.Run("ip", "link", "set", "sw", "up");
        AddTrunk(world.Device);
        AddHost(Native);
        foreach (int tag in tags)
            AddHost(tag);
    }

    /// <summary>The host in a VLAN.</summary>
    public Guest this[int tag] => _hosts[tag];

    public IEnumerable<Guest> Hosts => _hosts.Values;

    /// <summary>Makes a device of the switch's namespace (a card, a bond) a trunk port.</summary>
    private void AddTrunk(string device)
    {
        _world.Netns.Run("ip", "link", "set", device, "master", "sw");
        _world.Netns.Run("bridge", "vlan", "add", "dev", device, "vid", $"{Native}", "pvid", "untagged");
    }

    private void AddHost(int tag)
    {
        if (tag != Native)
            _world.Netns.Run("bridge", "vlan", "add", "dev", _world.Device, "vid", $"{tag}");
        int number = 100 + _hosts.Count;
        Guest host = new(_lab, number, $"p{tag}", $"02:00:00:00:03:{number:x2}", device: "host0", near: _world.Netns);
        _lab.Worlds.Add(host);
        _hosts[tag] = host;
        _world.Netns.Run("ip", "link", "set", host.Vif, "master", "sw", "up");
        _world.Netns.Run("bridge", "vlan", "add", "dev", host.Vif, "vid", $"{tag}", "pvid", "untagged");
    }
}
