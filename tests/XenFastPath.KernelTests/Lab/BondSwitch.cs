// What is at the other end of a bond's members: a switch with two ports, or with two ports in a Linux bond of its own.
//
//     dom0 eth0 ---- wan0 --+
//     dom0 eth1 ---- wan1 --+-- sw (bridge) -- p0 -- host
//                     (or wan0, wan1 in bond9, mode 802.3ad)
namespace XenFastPath.KernelTests.Lab;

/// <summary>A partner for PIFs eth0 and eth1, which are veths or, with cards, two network cards of the machine.</summary>
internal sealed class BondSwitch
{
    private readonly Lab _lab;
    private readonly Netns _switch;

    public BondSwitch(Lab lab, bool lacp, bool cards = false, params int[] tags)
    {
        _lab = lab;
        _switch = lab.AddNetns("sw");
        _switch.Run("ip", "link", "add", "sw", "type", "bridge", "vlan_filtering", "1", "mcast_snooping", "0");
        _switch.Run("ip", "link", "set", "sw", "up");
        if (lacp)
            _switch.Run("ip", "link", "add", "bond9", "type", "bond", "mode", "802.3ad", "miimon", "20", "lacp_rate", "fast", "xmit_hash_policy", "layer3+4");
        for (int i = 0; i < 2; i++)
        {
            if (cards)
                AddCards(i);
            else
                lab.Dom0.Run("ip", "link", "add", $"eth{i}", "type", "veth", "peer", "name", $"wan{i}", "netns", _switch.Name);
            _switch.Run("ip", "link", "set", $"wan{i}", "master", lacp ? "bond9" : "sw");
            _switch.Run("ip", "link", "set", $"wan{i}", "up");
        }

        Trunks = lacp ? ["bond9"] : ["wan0", "wan1"];
        if (lacp)
            _switch.Run("ip", "link", "set", "bond9", "master", "sw", "up");
        Host = AddHost(0);
        foreach (int tag in tags)
        {
            foreach (string trunk in Trunks)
                _switch.Run("bridge", "vlan", "add", "dev", trunk, "vid", $"{tag}");
        }
    }

    private string[] Trunks { get; }

    /// <summary>A host in the untagged VLAN.</summary>
    public Guest Host { get; }

    /// <summary>The host that <see cref="AddTagged"/> has added.</summary>
    public Guest Tagged { get; private set; } = null!;

    /// <summary>Address of the partner's bond.</summary>
    public string BondMac => _switch.Inside(() =>
    {
        using XenFastPath.Netlink.Rtnl rtnl = new();
        return rtnl.GetLink("bond9")!.Address.ToString()!;
    });

    /// <summary>Adds a host in a VLAN.</summary>
    public Guest AddTagged(int tag)
    {
        Tagged = AddHost(tag);
        _switch.Run("bridge", "vlan", "del", "dev", Tagged.Vif, "vid", "1");
        _switch.Run("bridge", "vlan", "add", "dev", Tagged.Vif, "vid", $"{tag}", "pvid", "untagged");
        return Tagged;
    }

    /// <summary>A raw socket where the cable of a member ends.</summary>
    public PacketSocket Wire(int member) => _switch.Inside(() => new PacketSocket($"wan{member}"));

    /// <summary>Where the switch has learned an address; empty: nowhere.</summary>
    public string PortOf(string mac)
    {
        string[] words = _switch.Run("bridge", "fdb", "show", "br", "sw").Split('\n').FirstOrDefault(l => l.StartsWith(mac, StringComparison.Ordinal))?
            .Split(' ') ?? [];
        return words.Length > 2 ? words[2] : "";
    }

    /// <summary>Takes the carrier of a member away: the far end of its cable goes down.</summary>
    public void CutLink(int member) => _switch.Run("ip", "link", "set", $"wan{member}", "down");

    public void MendLink(int member) => _switch.Run("ip", "link", "set", $"wan{member}", "up");

    /// <summary>A card that does not know its speed cannot be part of an 802.3ad bond.</summary>
    private void AddCards(int pair)
    {
        new CardPair(pair).Move(_lab.Dom0, $"eth{pair}", _switch, $"wan{pair}");
        _lab.Dom0.Run("ethtool", "--change", $"eth{pair}", "speed", "10000", "duplex", "full");
        _switch.Run("ethtool", "--change", $"wan{pair}", "speed", "10000", "duplex", "full");
    }

    private Guest AddHost(int tag)
    {
        int number = 100 + _lab.Worlds.Count;
        Guest host = new(_lab, number, $"p{tag}", $"02:00:00:00:03:{number:x2}", device: $"host{tag}", near: _switch);
        _lab.Worlds.Add(host);
        _switch.Run("ip", "link", "set", host.Vif, "master", "sw", "up");
        return host;
    }
}
