// The smaller kinds of link: vlan, veth, vxlan and tun, each with its IFLA_INFO_DATA.
using System.Net;
using System.Net.Sockets;
using XenFastPath.Interop;
using static XenFastPath.Interop.IfLink;

namespace XenFastPath.Netlink;

/// <summary>
/// A VLAN subinterface. <paramref name="Protocol"/> is the EtherType of its tag: 0x8100, or 0x88a8 for 802.1ad.
/// </summary>
public sealed record VlanData(ushort Id, ushort Protocol)
{
    internal VlanData(NetlinkAttributes attributes)
        : this(attributes.Find(IFLA_VLAN_ID).U16, attributes.Find(IFLA_VLAN_PROTOCOL).U16BigEndian)
    {
    }
}

/// <summary>A VLAN subinterface of the link with index <paramref name="LowerIndex"/>.</summary>
public sealed record VlanSettings(int LowerIndex, ushort Id, ushort Protocol = PktSched.ETH_P_8021Q) : LinkKindSettings
{
    public override string Kind => "vlan";

    internal override int? LowerLink => LowerIndex;

    internal override void WriteData(NetlinkWriter request)
    {
        request.U16BigEndian(IFLA_VLAN_PROTOCOL, Protocol);
        request.U16(IFLA_VLAN_ID, Id);
    }
}

/// <summary>
/// A veth pair; <paramref name="Peer"/> describes the other end, which may live in another namespace.
/// </summary>
public sealed record VethSettings(LinkSettings Peer) : LinkKindSettings
{
    public override string Kind => "veth";

    internal override void WriteData(NetlinkWriter request)
    {
        using NetlinkNest peer = request.Nest(VETH_INFO_PEER);
        request.Header(Peer.Header(index: 0));
        Peer.WriteBasics(request);
    }
}

/// <summary>A VXLAN tunnel. <paramref name="Remote"/> is a peer or a multicast group.</summary>
public sealed record VxlanData(uint Id, IPAddress? Remote, IPAddress? Local, ushort Port, int LowerIndex, bool Learning)
{
    internal VxlanData(NetlinkAttributes attributes)
        : this(
            attributes.Find(IFLA_VXLAN_ID).U32,
            attributes.Find(IFLA_VXLAN_GROUP).Address ?? attributes.Find(IFLA_VXLAN_GROUP6).Address,
            attributes.Find(IFLA_VXLAN_LOCAL).Address ?? attributes.Find(IFLA_VXLAN_LOCAL6).Address,
            attributes.Find(IFLA_VXLAN_PORT).U16BigEndian,
            attributes.Find(IFLA_VXLAN_LINK).S32,
            attributes.Find(IFLA_VXLAN_LEARNING).Bool)
    {
    }
}

/// <summary>A VXLAN tunnel with network identifier <paramref name="Id"/>.</summary>
public sealed record VxlanSettings(uint Id) : LinkKindSettings
{
    public override string Kind => "vxlan";

    public IPAddress? Remote { get; init; }

    public IPAddress? Local { get; init; }

    /// <summary>UDP; IANA's is 4789, while the kernel's own default is 8472.</summary>
    public ushort Port { get; init; } = 4789;

    public int? LowerIndex { get; init; }

    public byte? Ttl { get; init; }

    public bool? Learning { get; init; }

    internal override void WriteData(NetlinkWriter request)
    {
        request.U32(IFLA_VXLAN_ID, Id);
        request.Address(IsIpv6(Remote) ? IFLA_VXLAN_GROUP6 : IFLA_VXLAN_GROUP, Remote);
        request.Address(IsIpv6(Local) ? IFLA_VXLAN_LOCAL6 : IFLA_VXLAN_LOCAL, Local);
        request.S32(IFLA_VXLAN_LINK, LowerIndex);
        request.U8(IFLA_VXLAN_TTL, Ttl);
        request.Bool(IFLA_VXLAN_LEARNING, Learning);
        request.U16BigEndian(IFLA_VXLAN_PORT, Port);
    }

    private static bool IsIpv6(IPAddress? address) => address?.AddressFamily == AddressFamily.InterNetworkV6;
}

public enum TunType : byte
{
    Tun = (byte)IFF_TUN,
    Tap = (byte)IFF_TAP,
}

/// <summary>A tun or tap device.</summary>
public sealed record TunData(TunType Type, bool VnetHeader, bool MultiQueue, bool Persistent, int Queues)
{
    internal TunData(NetlinkAttributes attributes)
        : this(
            (TunType)attributes.Find(IFLA_TUN_TYPE).U8,
            attributes.Find(IFLA_TUN_VNET_HDR).Bool,
            attributes.Find(IFLA_TUN_MULTI_QUEUE).Bool,
            attributes.Find(IFLA_TUN_PERSIST).Bool,
            attributes.Find(IFLA_TUN_NUM_QUEUES).S32)
    {
    }
}
