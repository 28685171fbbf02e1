// A kernel in memory: links with masters, and bridges, behind the same netlink messages as the real one. What it refuses, it
// refuses with the errno that the real one has.
using XenFastPath.Interop;
using XenFastPath.Netlink;
using XenFastPath.Tests.Netlink;
using static XenFastPath.Interop.Genetlink;
using static XenFastPath.Interop.IfLink;
using static XenFastPath.Interop.Netlink;
using static XenFastPath.Interop.RtNetlink;

namespace XenFastPath.Tests.Reconcile;

internal sealed partial class KernelModel
{
    private const ushort EthtoolFamily = 0x20;

    private readonly SortedDictionary<int, LinkInfo> _links = [];
    private readonly HashSet<int> _mtuByHand = [];
    private int _lastIndex = 1;

    public KernelModel()
    {
        Rtnl = new Rtnl(new NetlinkSocket(new FakeKernel(Answer)));
        Generic = new GenericNetlink(new NetlinkSocket(new FakeKernel(AnswerGeneric)));
    }

    public Rtnl Rtnl { get; }

    public GenericNetlink Generic { get; }

    /// <summary>Devices without carrier, and devices whose hardware takes tags out of frames; by ifindex.</summary>
    public HashSet<int> WithoutCarrier { get; } = [];

    public HashSet<int> StrippingTags { get; } = [];

    /// <summary>Devices that take tags out of frames even when they are told not to.</summary>
    public HashSet<int> HidingTags { get; } = [];

    /// <summary>Devices that a request has told not to take tags out of frames, and none since to do it.</summary>
    public HashSet<int> TagsSwitchedOff { get; } = [];

    /// <summary>Told of each change that a request makes: the link before and after; null where there is none.</summary>
    public Action<LinkInfo?, LinkInfo?> Changed { get; set; } = (_, _) => { };

    /// <summary>Faults from outside: the errno for a request about this device, 0 for none.</summary>
    public Func<string, int> Fault { get; set; } = _ => 0;

    /// <summary>Does the kernel know address modes of IPv6?</summary>
    public bool HasIpv6 { get; set; } = true;

    /// <summary>In the order of requests: "set" for each that sets such a mode, "up" for each that sets a link up.</summary>
    public List<string> AddressModes { get; } = [];

    public IEnumerable<LinkInfo> Links => _links.Values.Select(Show);

    public LinkInfo? Find(string name) => Links.FirstOrDefault(l => l.Name == name);

    public LinkInfo? Find(int index) => _links.TryGetValue(index, out LinkInfo? link) ? Show(link) : null;

    /// <summary>Somebody makes a link.</summary>
    public LinkInfo Add(LinkInfo link)
    {
        LinkInfo made = link with { Index = ++_lastIndex };     // numbers are never used again
        return _links[made.Index] = made;
    }

    /// <summary>Somebody changes a link.</summary>
    public void Edit(int index, Func<LinkInfo, LinkInfo> edit)
    {
        _links[index] = edit(_links[index]);
        FollowPorts(_links[index].MasterIndex);
    }

    /// <summary>A link vanishes; what was in it is free.</summary>
    public void Vanish(int index)
    {
        _links.Remove(index);
        Addresses.RemoveAll(a => a.Ifindex == index);
        Routes.RemoveAll(r => r.Uses(index));
        _mtuByHand.Remove(index);
        TagsSwitchedOff.Remove(index);
        foreach (LinkInfo port in _links.Values.Where(l => l.MasterIndex == index).ToList())
            _links[port.Index] = Free(port);
        foreach (LinkInfo upper in _links.Values.Where(l => l.Vlan is not null && l.LinkIndex == index).ToList())
            Vanish(upper.Index);
    }

    /// <summary>Without its master; a bond gives a member its own address back and sets it down.</summary>
    private static LinkInfo Free(LinkInfo port) => port.BondSlave is not { } slave ? port with { MasterIndex = 0, BridgePort = null } : port with
    {
        MasterIndex = 0,
        BondSlave = null,
        Address = slave.PermanentAddress,
        Flags = port.Flags & ~LinkFlags.Up,
    };

    /// <summary>A port forwards if it and its bridge are up and it has a carrier.</summary>
    private LinkInfo Show(LinkInfo link)
    {
        // The kernel remembers a primary by name, and shows it while it is in.
        if (link.Bond is { PrimarySlaveIndex: { } primary } bond && _links.GetValueOrDefault(primary)?.MasterIndex != link.Index)
            link = link with { Bond = bond with { PrimarySlaveIndex = null } };
        if (!_links.TryGetValue(link.MasterIndex, out LinkInfo? master) || master.Bridge is null)
            return link with { BridgePort = null, SlaveKind = master?.Kind };
        bool forwards = master.IsUp && link.IsUp && !WithoutCarrier.Contains(link.Index);
        BridgePortState state = forwards ? BridgePortState.Forwarding : BridgePortState.Disabled;
        return link with { SlaveKind = "bridge", BridgePort = (link.BridgePort ?? new BridgePortData()) with { State = state } };
    }

    private IEnumerable<Datagram> Answer(byte[] request)
    {
        NetlinkMessage.TryRead(request, out NetlinkMessage message);
        if (message.Type == RTM_GETLINK)
            return Get(request, message);
        if (message.Type == RTM_GETNEIGH)
            return [FakeKernel.Done(request)];
        if (message.Type == RTM_GETADDR)
            return GetAddresses(request);
        if (message.Type is >= RTM_NEWADDR and <= RTM_GETRULE)
            return [FakeKernel.Ack(request, ChangeHost(message))];
        int errno = message.Type switch
        {
            RTM_NEWLINKPROP => AddAltName(message),
            RTM_DELLINK => Delete(message),
            _ => (message.Flags & NLM_F_CREATE) != 0 ? Create(message) : Change(message),
        };
        return [FakeKernel.Ack(request, errno)];
    }

    private IEnumerable<Datagram> AnswerGeneric(byte[] request)
    {
        NetlinkMessage.TryRead(request, out NetlinkMessage message);
        return message.Type == GENL_ID_CTRL ? [EthtoolIs(request), FakeKernel.Ack(request)] : [FakeKernel.Ack(request, SetFeatures(message))];
    }

    private LinkInfo? Named(NetlinkMessage message)
    {
        message.TryReadHeader(out ifinfomsg header, out NetlinkAttributes attributes);
        string? name = attributes.Find(IFLA_IFNAME).TextOrNull;
        return _links.GetValueOrDefault(header.ifi_index) ?? (header.ifi_index == 0 ? _links.Values.FirstOrDefault(l => l.Name == name) : null);
    }

    private Datagram[] Get(byte[] request, NetlinkMessage message)
    {
        if (Named(message) is not { } link)
            return [FakeKernel.Ack(request, Errno.ENODEV)];
        var writer = new NetlinkWriter(new byte[256]);
        writer.Begin(RTM_NEWLINK, 0);
        writer.Header(new ifinfomsg { ifi_index = link.Index });
        writer.String(IFLA_IFNAME, link.Name);
        return [FakeKernel.Reply(request, RTM_NEWLINK, writer.Written[NLMSG_HDRLEN..]), FakeKernel.Ack(request)];
    }

    private int AddAltName(NetlinkMessage message)
    {
        message.TryReadHeader(out ifinfomsg header, out NetlinkAttributes attributes);
        string name = attributes.Find(IFLA_PROP_LIST).Nested.Find(IFLA_ALT_IFNAME).Text;
        Edit(header.ifi_index, l => l with { AltNames = [.. l.AltNames, name] });
        return 0;
    }

    private int Create(NetlinkMessage message)
    {
        LinkInfo.TryDecode(message, out LinkInfo? wanted);
        if (Fault(wanted!.Name) is var errno and not 0)
            return errno;
        if (_links.Values.Any(l => l.Name == wanted.Name))
            return Errno.EEXIST;
        LinkInfo made = new()
        {
            Name = wanted.Name,
            Kind = wanted.Kind,
            Mtu = wanted.Mtu,
            MinMtu = 68,
            MaxMtu = 65535,
            Address = wanted.Address,
            Bridge = wanted.Kind == "bridge" ? new BridgeData { AgeingTime = TimeSpan.FromSeconds(300) } : null,
            Vlan = wanted.Vlan,
            LinkIndex = wanted.LinkIndex,
            Bond = wanted.Bond,
        };
        if (made.Vlan is not null)
            made = made with { Mtu = _links[made.LinkIndex].Mtu, Address = _links[made.LinkIndex].Address };
        Changed(null, Add(made));
        return 0;
    }

    private int Delete(NetlinkMessage message)
    {
        if (Named(message) is not { } link)
            return Errno.ENODEV;
        if (link.Kind is null)
            return Errno.EOPNOTSUPP;        // hardware cannot be deleted
        if (Fault(link.Name) is var errno and not 0)
            return errno;
        LinkInfo shown = Show(link);
        Vanish(link.Index);
        Changed(shown, null);
        return 0;
    }

    private int Change(NetlinkMessage message)
    {
        if (Named(message) is not { } link)
            return Errno.ENODEV;
        if (Fault(link.Name) is var errno and not 0)
            return errno;
        message.TryReadHeader(out ifinfomsg header, out NetlinkAttributes attributes);
        bool setsMode = attributes.Find(IFLA_AF_SPEC).IsPresent;
        if (setsMode && !HasIpv6)
            return Errno.EAFNOSUPPORT;
        if (setsMode)
            AddressModes.Add("set");
        if ((header.ifi_flags & IFF_UP) != 0)
            AddressModes.Add("up");
        LinkInfo changed = link;
        if (attributes.Find(IFLA_MTU) is { IsPresent: true } mtu)
        {
            if (mtu.S32 < link.MinMtu || (link.MaxMtu > 0 && mtu.S32 > link.MaxMtu))
                return Errno.EINVAL;
            if (link.Vlan is not null && mtu.S32 > _links[link.LinkIndex].Mtu)
                return Errno.ERANGE;
            changed = changed with { Mtu = mtu.S32 };
            _mtuByHand.Add(link.Index);
        }

        if (attributes.Find(IFLA_MASTER) is { IsPresent: true } master)
        {
            if (master.S32 != 0 && !_links.ContainsKey(master.S32))
                return Errno.EINVAL;
            if (master.S32 != 0 && link.Bridge is not null)
                return Errno.ELOOP;
            changed = Free(changed) with { MasterIndex = master.S32 };
            if (master.S32 != 0 && _links[master.S32] is { Bond: not null } bond)
            {
                if (link.IsUp)
                    return Errno.EPERM;
                BondSlaveData slave = new() { State = BondSlaveState.Active, PermanentAddress = link.Address };
                changed = changed with { BondSlave = slave, Address = bond.Address, Flags = changed.Flags | LinkFlags.Up | LinkFlags.LowerUp };
            }
        }

        if (link.Bond is { } before_ && attributes.Find(IFLA_LINKINFO) is { IsPresent: true })
        {
            LinkInfo.TryDecode(message, out LinkInfo? wanted);
            bool hasMembers = _links.Values.Any(l => l.MasterIndex == link.Index);
            bool hasMode = attributes.Find(IFLA_LINKINFO).Nested.Find(IFLA_INFO_DATA).Nested.Find(IFLA_BOND_MODE).IsPresent;
            if (hasMode && (hasMembers || link.IsUp))
                return hasMembers ? Errno.ENOTEMPTY : Errno.EBUSY;
            changed = changed with { Bond = Overlay(before_, wanted!.Bond!, attributes.Find(IFLA_LINKINFO).Nested.Find(IFLA_INFO_DATA).Nested) };
        }

        if (attributes.Find(IFLA_ADDRESS) is { IsPresent: true } address)
            changed = changed with { Address = address.Mac };

        if (attributes.Find(IFLA_IFALIAS) is { IsPresent: true } alias)
            changed = changed with { Alias = alias.Text };
        if ((header.ifi_change & IFF_UP) != 0)
            changed = changed with { Flags = changed.Flags & ~LinkFlags.Up | (LinkFlags)header.ifi_flags & LinkFlags.Up };
        LinkInfo before = Show(link);
        Edit(link.Index, _ => changed);
        foreach (LinkInfo upper in _links.Values.Where(l => l.Vlan is not null && l.LinkIndex == link.Index && l.Mtu > changed.Mtu).ToList())
            Edit(upper.Index, l => l with { Mtu = changed.Mtu });
        Changed(before, Show(changed));
        return 0;
    }

    /// <summary>What a request names is changed, the rest stays.</summary>
    private static BondData Overlay(BondData bond, BondData wanted, NetlinkAttributes named) => bond with
    {
        Mode = named.Find(IFLA_BOND_MODE).IsPresent ? wanted.Mode : bond.Mode,
        UpDelayMs = named.Find(IFLA_BOND_UPDELAY).IsPresent ? wanted.UpDelayMs : bond.UpDelayMs,
        PrimarySlaveIndex = named.Find(IFLA_BOND_PRIMARY).IsPresent ? wanted.PrimarySlaveIndex : bond.PrimarySlaveIndex,
        HashPolicy = named.Find(IFLA_BOND_XMIT_HASH_POLICY).IsPresent ? wanted.HashPolicy : bond.HashPolicy,
        LacpRateFast = named.Find(IFLA_BOND_AD_LACP_RATE).IsPresent ? wanted.LacpRateFast : bond.LacpRateFast,
        UseCarrier = named.Find(IFLA_BOND_USE_CARRIER).IsPresent ? wanted.UseCarrier : bond.UseCarrier,
        LacpUserPortKey = named.Find(IFLA_BOND_AD_USER_PORT_KEY).IsPresent ? wanted.LacpUserPortKey : bond.LacpUserPortKey,
    };

    /// <summary>A bridge takes the least MTU of its ports, until somebody sets it by hand.</summary>
    private void FollowPorts(int bridge)
    {
        if (!_links.TryGetValue(bridge, out LinkInfo? link) || link.Bridge is null || _mtuByHand.Contains(bridge))
            return;
        _links[bridge] = link with { Mtu = _links.Values.Where(l => l.MasterIndex == bridge).Min(l => l.Mtu) };
    }

    private static Datagram EthtoolIs(byte[] request)
    {
        var writer = new NetlinkWriter(new byte[128]);
        writer.Begin(GENL_ID_CTRL, 0);
        writer.Header(default(genlmsghdr));
        writer.String(CTRL_ATTR_FAMILY_NAME, "ethtool");
        writer.U16(CTRL_ATTR_FAMILY_ID, EthtoolFamily);
        return FakeKernel.Reply(request, GENL_ID_CTRL, writer.Written[NLMSG_HDRLEN..]);
    }

    private int SetFeatures(NetlinkMessage message)
    {
        message.TryReadHeader(out genlmsghdr _, out NetlinkAttributes attributes);
        int index = attributes.Find(EthtoolNetlink.ETHTOOL_A_HEADER).Nested.Find(EthtoolNetlink.ETHTOOL_A_HEADER_DEV_INDEX).S32;
        if (!_links.ContainsKey(index))
            return Errno.ENODEV;
        NetlinkAttributes bit = attributes.Find(EthtoolNetlink.ETHTOOL_A_FEATURES_WANTED).Nested.Find(EthtoolNetlink.ETHTOOL_A_BITSET_BITS).Nested
            .Find(EthtoolNetlink.ETHTOOL_A_BITSET_BITS_BIT).Nested;
        if (bit.Find(EthtoolNetlink.ETHTOOL_A_BITSET_BIT_VALUE).IsPresent)
        {
            StrippingTags.Add(index);
            TagsSwitchedOff.Remove(index);
            return 0;
        }

        TagsSwitchedOff.Add(index);
        return StrippingTags.Remove(index) ? 0 : Errno.EINVAL;
    }
}
