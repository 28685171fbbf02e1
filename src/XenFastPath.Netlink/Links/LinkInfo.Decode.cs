// Reads RTM_NEWLINK and RTM_DELLINK: answers, dumps and notifications, of the general and of the bridge's flavour.
using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using XenFastPath.Interop;
using static XenFastPath.Interop.IfLink;
using static XenFastPath.Interop.RtNetlink;

namespace XenFastPath.Netlink;

public sealed partial record LinkInfo
{
    /// <summary>A link with nothing set, for object initializers.</summary>
    public LinkInfo()
    {
    }

    private LinkInfo(in ifinfomsg header, NetlinkAttributes attributes)
    {
        Index = header.ifi_index;
        Flags = (LinkFlags)header.ifi_flags;
        IsPortMessage = header.ifi_family == AF_BRIDGE;
        NetlinkAttributes info = default;
        foreach (NetlinkAttribute attribute in attributes)
        {
            switch (attribute.Type)
            {
                case IFLA_IFNAME: Name = attribute.Text; break;
                case IFLA_PROP_LIST: AltNames = ReadAltNames(attribute.Nested); break;
                case IFLA_OPERSTATE: OperState = (OperState)attribute.U8; break;
                case IFLA_EVENT: Event = (LinkEvent)attribute.U32; break;
                case IFLA_MTU: Mtu = Saturate(attribute.U32); break;
                case IFLA_MIN_MTU: MinMtu = Saturate(attribute.U32); break;
                case IFLA_MAX_MTU: MaxMtu = Saturate(attribute.U32); break;
                case IFLA_TXQLEN: TxQueueLength = attribute.U32; break;
                case IFLA_ADDRESS: Address = attribute.Mac; break;
                case IFLA_PERM_ADDRESS: PermanentAddress = attribute.Mac; break;
                case IFLA_IFALIAS: Alias = attribute.Text; break;
                case IFLA_MASTER: MasterIndex = attribute.S32; break;
                case IFLA_LINK: LinkIndex = attribute.S32; break;
                case IFLA_LINK_NETNSID: LinkNetnsId = attribute.S32; break;
                case IFLA_PARENT_DEV_NAME: ParentDeviceName = attribute.Text; break;
                case IFLA_PARENT_DEV_BUS_NAME: ParentBusName = attribute.Text; break;
                case IFLA_NUM_RX_QUEUES: RxQueues = Saturate(attribute.U32); break;
                case IFLA_NUM_TX_QUEUES: TxQueues = Saturate(attribute.U32); break;
                case IFLA_PROMISCUITY: Promiscuity = Saturate(attribute.U32); break;
                case IFLA_AF_SPEC when !IsPortMessage: Ipv6LinkLocal = ReadIpv6LinkLocal(attribute.Nested); break;
                case IFLA_LINKINFO: info = attribute.Nested; break;
                case IFLA_XDP: Xdp = ReadXdp(attribute.Nested); break;
                case IFLA_STATS64: Stats = ReadStats(attribute.Value); break;
                case IFLA_PROTINFO when IsPortMessage: BridgePort = new BridgePortData(attribute.Nested); break;
            }
        }
        Kind = info.Find(IFLA_INFO_KIND).TextOrNull;
        SlaveKind = info.Find(IFLA_INFO_SLAVE_KIND).TextOrNull;
        NetlinkAttributes data = info.Find(IFLA_INFO_DATA).Nested, slaveData = info.Find(IFLA_INFO_SLAVE_DATA).Nested;
        Bridge = Kind == "bridge" ? new BridgeData(data) : null;
        Vlan = Kind == "vlan" ? new VlanData(data) : null;
        Bond = Kind == "bond" ? new BondData(data) : null;
        Vxlan = Kind == "vxlan" ? new VxlanData(data) : null;
        Tun = Kind == "tun" ? new TunData(data) : null;
        BridgePort = SlaveKind == "bridge" ? new BridgePortData(slaveData) : BridgePort;
        BondSlave = SlaveKind == "bond" ? new BondSlaveData(slaveData) : null;
    }

    /// <summary>Takes any link message; false for other messages.</summary>
    public static bool TryDecode(NetlinkMessage message, [MaybeNullWhen(false)] out LinkInfo link)
    {
        link = message.Type is RTM_NEWLINK or RTM_DELLINK
            && message.TryReadHeader(out ifinfomsg header, out NetlinkAttributes attributes)
            ? new LinkInfo(in header, attributes)
            : null;
        return link is not null;
    }

    private static List<string> ReadAltNames(NetlinkAttributes properties)
    {
        var names = new List<string>();
        foreach (NetlinkAttribute property in properties)
        {
            if (property.Type == IFLA_ALT_IFNAME)
                names.Add(property.Text);
        }
        return names;
    }

    private static bool? ReadIpv6LinkLocal(NetlinkAttributes families)
    {
        NetlinkAttribute mode = families.Find(AF_INET6).Nested.Find(IFLA_INET6_ADDR_GEN_MODE);
        return mode.IsPresent ? mode.U8 != IN6_ADDR_GEN_MODE_NONE : null;
    }

    private static XdpAttachment ReadXdp(NetlinkAttributes xdp) => new(
        (XdpMode)xdp.Find(IFLA_XDP_ATTACHED).U8,
        xdp.Find(IFLA_XDP_PROG_ID).U32,
        xdp.Find(IFLA_XDP_DRV_PROG_ID).U32,
        xdp.Find(IFLA_XDP_SKB_PROG_ID).U32,
        xdp.Find(IFLA_XDP_HW_PROG_ID).U32);

    private static LinkStats ReadStats(ReadOnlySpan<byte> value)
    {
        _ = MemoryMarshal.TryRead(value, out rtnl_link_stats64 s);
        return new LinkStats(
            s.rx_packets, s.rx_bytes, s.rx_errors, s.rx_dropped, s.tx_packets, s.tx_bytes, s.tx_errors, s.tx_dropped);
    }

    private static int Saturate(uint value) => (int)Math.Min(value, int.MaxValue);
}
