// The family "netdev": what XDP and AF_XDP can do on a device (Documentation/netlink/specs/netdev.yaml). Kernel 6.3 and
// later.
using System.Diagnostics.CodeAnalysis;
using XenFastPath.Interop;
using static XenFastPath.Interop.NetdevNetlink;

namespace XenFastPath.Netlink;

/// <summary>enum netdev_xdp_act.</summary>
[Flags]
public enum XdpFeatures : ulong
{
    None = 0,
    Basic = NETDEV_XDP_ACT_BASIC,
    Redirect = NETDEV_XDP_ACT_REDIRECT,

    /// <summary>Takes frames that another device's program redirects.</summary>
    Transmit = NETDEV_XDP_ACT_NDO_XMIT,
    ZeroCopy = NETDEV_XDP_ACT_XSK_ZEROCOPY,
    HardwareOffload = NETDEV_XDP_ACT_HW_OFFLOAD,
    ReceiveMultiBuffer = NETDEV_XDP_ACT_RX_SG,
    TransmitMultiBuffer = NETDEV_XDP_ACT_NDO_XMIT_SG,
}

/// <summary>enum netdev_xdp_rx_metadata.</summary>
[Flags]
public enum XdpReceiveMetadata : ulong
{
    None = 0,
    Timestamp = NETDEV_XDP_RX_METADATA_TIMESTAMP,
    Hash = NETDEV_XDP_RX_METADATA_HASH,
    VlanTag = NETDEV_XDP_RX_METADATA_VLAN_TAG,
}

/// <summary>enum netdev_xsk_flags: what the device does for AF_XDP TX metadata.</summary>
[Flags]
public enum XskFeatures : ulong
{
    None = 0,
    TransmitTimestamp = NETDEV_XSK_FLAGS_TX_TIMESTAMP,
    TransmitChecksum = NETDEV_XSK_FLAGS_TX_CHECKSUM,
    LaunchTime = NETDEV_XSK_FLAGS_TX_LAUNCH_TIME_FIFO,
}

/// <summary>
/// The XDP capabilities of a device. <paramref name="ZeroCopySegmentsMax"/> is 0 without zero-copy. The last two are
/// null on kernels that do not report them (before 6.7 and 6.8).
/// </summary>
public sealed record NetdevInfo(
    int Ifindex, XdpFeatures Features, int ZeroCopySegmentsMax, XdpReceiveMetadata? ReceiveMetadata,
    XskFeatures? XskFeatures)
{
    /// <summary>
    /// Takes the answers and the notifications of the family, whose message type the caller has checked.
    /// </summary>
    public static bool TryDecode(NetlinkMessage message, [MaybeNullWhen(false)] out NetdevInfo device)
    {
        device = null;
        if (!message.TryReadHeader(out genlmsghdr header, out NetlinkAttributes attributes)
            || header.cmd is not (
                NETDEV_CMD_DEV_GET or NETDEV_CMD_DEV_ADD_NTF or NETDEV_CMD_DEV_DEL_NTF or NETDEV_CMD_DEV_CHANGE_NTF))
        {
            return false;
        }
        NetlinkAttribute metadata = attributes.Find(NETDEV_A_DEV_XDP_RX_METADATA_FEATURES),
            xsk = attributes.Find(NETDEV_A_DEV_XSK_FEATURES);
        device = new NetdevInfo(
            attributes.Find(NETDEV_A_DEV_IFINDEX).S32,
            (XdpFeatures)attributes.Find(NETDEV_A_DEV_XDP_FEATURES).U64,
            attributes.Find(NETDEV_A_DEV_XDP_ZC_MAX_SEGS).S32,
            metadata.IsPresent ? (XdpReceiveMetadata)metadata.U64 : null,
            xsk.IsPresent ? (XskFeatures)xsk.U64 : null);
        return true;
    }
}

public sealed partial class GenericNetlink
{
    /// <summary>
    /// The XDP capabilities of one device; null if the kernel cannot tell, or there is no such device.
    /// </summary>
    public NetdevInfo? GetNetdev(int index)
    {
        if (GetFamily(NETDEV_FAMILY_NAME) is not { } family)
            return null;
        NetlinkWriter request = NetdevRequest(stackalloc byte[RequestBytes], family);
        request.S32(NETDEV_A_DEV_IFINDEX, index);
        return Get<NetdevInfo>(request, NetdevInfo.TryDecode, "get XDP features of", index);
    }

    /// <summary>The XDP capabilities of all devices; null if the kernel cannot tell.</summary>
    public List<NetdevInfo>? GetNetdevs()
    {
        if (GetFamily(NETDEV_FAMILY_NAME) is not { } family)
            return null;
        NetlinkWriter request = NetdevRequest(stackalloc byte[RequestBytes], family);
        return _socket.Dump<NetdevInfo>(request.Written, NetdevInfo.TryDecode, "dump XDP features");
    }

    private static NetlinkWriter NetdevRequest(Span<byte> buffer, GenericFamily family) =>
        Request(buffer, family.Id, NETDEV_CMD_DEV_GET, NETDEV_FAMILY_VERSION);
}
