// The family "ethtool" (kernel 5.6 and later): channels, features, speed; and the one thing it lacks, the driver's
// name.
using System.Text;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;
using static XenFastPath.Interop.EthtoolNetlink;
using static XenFastPath.Interop.Netlink;
using Errno = XenFastPath.Interop.Errno;

namespace XenFastPath.Netlink;

public sealed partial class GenericNetlink
{
    private const int FeatureRequestBytes = 8 * 1024;

    /// <summary>The queues of a device; null if it does not say.</summary>
    public EthtoolChannels? GetChannels(int index) => Get<EthtoolChannels>(
        EthtoolRequest(stackalloc byte[RequestBytes], ETHTOOL_MSG_CHANNELS_GET, index), EthtoolChannels.TryDecode,
        "get channels of", index);

    /// <summary>The queues of all devices that say how many they have.</summary>
    public List<EthtoolChannels> GetAllChannels() => _socket.Dump<EthtoolChannels>(
        EthtoolRequest(stackalloc byte[RequestBytes], ETHTOOL_MSG_CHANNELS_GET).Written, EthtoolChannels.TryDecode, "dump channels");

    /// <summary>Changes the number of queues; null leaves one as it is.</summary>
    public void SetChannels(int index, int? combined = null, int? rx = null, int? tx = null)
    {
        NetlinkWriter request = EthtoolRequest(stackalloc byte[RequestBytes], ETHTOOL_MSG_CHANNELS_SET, index);
        request.S32(ETHTOOL_A_CHANNELS_RX_COUNT, rx);
        request.S32(ETHTOOL_A_CHANNELS_TX_COUNT, tx);
        request.S32(ETHTOOL_A_CHANNELS_COMBINED_COUNT, combined);
        _socket.Execute(request.Written, "set channels of", $"ifindex {index}");
    }

    /// <summary>The features of a device; null if there is no such device.</summary>
    public EthtoolFeatures? GetFeatures(int index) => Get<EthtoolFeatures>(
        EthtoolRequest(stackalloc byte[RequestBytes], ETHTOOL_MSG_FEATURES_GET, index), EthtoolFeatures.TryDecode,
        "get features of", index);

    /// <summary>
    /// Asks for features to be on or off. The device may do less, or change others with them, without that being an
    /// error: read them back.
    /// </summary>
    public void SetFeatures(int index, params ReadOnlySpan<(string Name, bool On)> features)
    {
        NetlinkWriter request = EthtoolRequest(stackalloc byte[FeatureRequestBytes], ETHTOOL_MSG_FEATURES_SET, index);
        using (request.Nest(ETHTOOL_A_FEATURES_WANTED))
        using (request.Nest(ETHTOOL_A_BITSET_BITS))
        {
            foreach ((string name, bool on) in features)
            {
                using NetlinkNest bit = request.Nest(ETHTOOL_A_BITSET_BITS_BIT);
                request.String(ETHTOOL_A_BITSET_BIT_NAME, name);
                if (on)
                    request.Flag(ETHTOOL_A_BITSET_BIT_VALUE);
            }
        }
        _socket.Execute(request.Written, "set features of", $"ifindex {index}");
    }

    /// <summary>Speed and duplex of a link; null for devices that have none.</summary>
    public EthtoolLinkModes? GetLinkModes(int index) => Get<EthtoolLinkModes>(
        EthtoolRequest(stackalloc byte[RequestBytes], ETHTOOL_MSG_LINKMODES_GET, index), EthtoolLinkModes.TryDecode,
        "get link modes of", index);

    /// <summary>Who drives a device; null if it does not say. By name, for it is an ioctl (ETHTOOL_GDRVINFO).</summary>
    public static unsafe EthtoolDriver? GetDriver(string name)
    {
        // Any socket does; a netlink one is there even where IPv4 is not.
        int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
        if (fd < 0)
            throw new NetlinkException("get driver of", name, Errno.Last);
        try
        {
            // Safety: both structures are on the stack and outlive the call.
            var info = new ethtool_drvinfo { cmd = ETHTOOL_GDRVINFO };
            ifreq request = TunDevice.Request(name);
            request.ifr_data = &info;
            if (ioctl(fd, (int)SIOCETHTOOL, &request) == 0)
                return new EthtoolDriver(
                    Text(info.driver), Text(info.version), Text(info.fw_version), Text(info.bus_info));
            int errno = Errno.Last;
            return errno is Errno.EOPNOTSUPP or Errno.ENODEV
                ? null
                : throw new NetlinkException("get driver of", name, errno);
        }
        finally
        {
            _ = close(fd);
        }

        static string Text(byte* field)
        {
            var bytes = new ReadOnlySpan<byte>(field, 32);
            int end = bytes.IndexOf((byte)0);
            return Encoding.UTF8.GetString(end < 0 ? bytes : bytes[..end]);
        }
    }

    /// <summary>About one device, or all.</summary>
    private NetlinkWriter EthtoolRequest(Span<byte> buffer, byte command, int? index = null)
    {
        GenericFamily family = GetFamily(ETHTOOL_GENL_NAME)
            ?? throw new NetlinkException(
                "resolve generic netlink family", ETHTOOL_GENL_NAME, Errno.ENOENT, "CONFIG_ETHTOOL_NETLINK is off");
        NetlinkWriter request = Request(buffer, family.Id, command, ETHTOOL_GENL_VERSION);
        using (request.Nest(ETHTOOL_A_HEADER))
            request.S32(ETHTOOL_A_HEADER_DEV_INDEX, index);
        return request;
    }
}
