// What the family "ethtool" says about a device (Documentation/networking/ethtool-netlink.rst).
using System.Diagnostics.CodeAnalysis;
using XenFastPath.Interop;
using static XenFastPath.Interop.EthtoolNetlink;

namespace XenFastPath.Netlink;

/// <summary>Hardware queues: how many there are now, and how many there could be.</summary>
public sealed record EthtoolChannels
{
    public int Ifindex { get; init; }

    public int Rx { get; init; }

    public int RxMax { get; init; }

    public int Tx { get; init; }

    public int TxMax { get; init; }

    public int Combined { get; init; }

    public int CombinedMax { get; init; }

    /// <summary>Queues that AF_XDP sockets can bind to.</summary>
    public int Receiving => Rx + Combined;

    internal static bool TryDecode(NetlinkMessage message, [MaybeNullWhen(false)] out EthtoolChannels channels)
    {
        channels = null;
        if (!message.TryReadHeader(out genlmsghdr header, out NetlinkAttributes attributes)
            || header.cmd != ETHTOOL_MSG_CHANNELS_GET_REPLY)
            return false;
        channels = new EthtoolChannels
        {
            Ifindex = attributes.Find(ETHTOOL_A_CHANNELS_HEADER).Nested.Find(ETHTOOL_A_HEADER_DEV_INDEX).S32,
            Rx = attributes.Find(ETHTOOL_A_CHANNELS_RX_COUNT).S32,
            RxMax = attributes.Find(ETHTOOL_A_CHANNELS_RX_MAX).S32,
            Tx = attributes.Find(ETHTOOL_A_CHANNELS_TX_COUNT).S32,
            TxMax = attributes.Find(ETHTOOL_A_CHANNELS_TX_MAX).S32,
            Combined = attributes.Find(ETHTOOL_A_CHANNELS_COMBINED_COUNT).S32,
            CombinedMax = attributes.Find(ETHTOOL_A_CHANNELS_COMBINED_MAX).S32,
        };
        return true;
    }
}

/// <summary>The speed of a link and whether it is full duplex; null where unknown, as while the link is down.</summary>
public sealed record EthtoolLinkModes(int? SpeedMbps, bool? FullDuplex)
{
    private const uint SpeedUnknown = uint.MaxValue;
    private const byte DuplexUnknown = byte.MaxValue;

    internal static bool TryDecode(NetlinkMessage message, [MaybeNullWhen(false)] out EthtoolLinkModes modes)
    {
        modes = null;
        if (!message.TryReadHeader(out genlmsghdr header, out NetlinkAttributes attributes)
            || header.cmd != ETHTOOL_MSG_LINKMODES_GET_REPLY)
            return false;
        NetlinkAttribute speed = attributes.Find(ETHTOOL_A_LINKMODES_SPEED),
            duplex = attributes.Find(ETHTOOL_A_LINKMODES_DUPLEX);
        modes = new EthtoolLinkModes(
            speed.IsPresent && speed.U32 != SpeedUnknown ? speed.S32 : null,
            duplex.IsPresent && duplex.U8 != DuplexUnknown ? duplex.Bool : null);
        return true;
    }
}

/// <summary>Names of features that matter to frames on the fast path, as the kernel spells them.</summary>
public static class EthtoolFeature
{
    /// <summary>ethtool's "rxvlan": the device takes VLAN tags out of received frames.</summary>
    public const string RxVlan = "rx-vlan-hw-parse";

    /// <summary>ethtool's "txvlan": the device puts VLAN tags into frames.</summary>
    public const string TxVlan = "tx-vlan-hw-insert";

    public const string RxVlanFilter = "rx-vlan-filter", Gro = "rx-gro", GroHardware = "rx-gro-hw", Lro = "rx-lro",
        Gso = "tx-generic-segmentation", Tso4 = "tx-tcp-segmentation", Tso6 = "tx-tcp6-segmentation";
}

/// <summary>
/// Feature sets by name. <see cref="NoChange"/> are fixed; hardware features that are not can be asked for.
/// </summary>
public sealed record EthtoolFeatures(
    IReadOnlySet<string> Hardware, IReadOnlySet<string> Wanted,
    IReadOnlySet<string> Active, IReadOnlySet<string> NoChange)
{
    public bool IsActive(string name) => Active.Contains(name);

    /// <summary>Asking for another value has a chance.</summary>
    public bool IsChangeable(string name) => Hardware.Contains(name) && !NoChange.Contains(name);

    internal static bool TryDecode(NetlinkMessage message, [MaybeNullWhen(false)] out EthtoolFeatures features)
    {
        features = null;
        if (!message.TryReadHeader(out genlmsghdr header, out NetlinkAttributes attributes)
            || header.cmd != ETHTOOL_MSG_FEATURES_GET_REPLY)
            return false;
        features = new EthtoolFeatures(
            ReadBitset(attributes.Find(ETHTOOL_A_FEATURES_HW).Nested),
            ReadBitset(attributes.Find(ETHTOOL_A_FEATURES_WANTED).Nested),
            ReadBitset(attributes.Find(ETHTOOL_A_FEATURES_ACTIVE).Nested),
            ReadBitset(attributes.Find(ETHTOOL_A_FEATURES_NOCHANGE).Nested));
        return true;
    }

    // Verbose form. A list (NOMASK) names the bits that are set; else every bit of the mask is named and VALUE marks
    // those set.
    private static HashSet<string> ReadBitset(NetlinkAttributes bitset)
    {
        var names = new HashSet<string>();
        bool isList = bitset.Find(ETHTOOL_A_BITSET_NOMASK).IsPresent;
        foreach (NetlinkAttribute bit in bitset.Find(ETHTOOL_A_BITSET_BITS).Nested)
        {
            if (isList || bit.Nested.Find(ETHTOOL_A_BITSET_BIT_VALUE).IsPresent)
                names.Add(bit.Nested.Find(ETHTOOL_A_BITSET_BIT_NAME).Text);
        }
        return names;
    }
}

/// <summary>Who drives a device. <paramref name="BusInfo"/> is such as "0000:03:00.0", or "vif-1-0".</summary>
public sealed record EthtoolDriver(string Name, string Version, string FirmwareVersion, string BusInfo);
