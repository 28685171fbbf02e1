// What a link is to be: the part that every link has, and the part that belongs to its kind.
using XenFastPath.Interop;
using static XenFastPath.Interop.IfLink;
using static XenFastPath.Interop.RtNetlink;

namespace XenFastPath.Netlink;

/// <summary>Settings that any link takes, to create or to change it. What is null stays as it is.</summary>
public sealed record LinkSettings
{
    public static LinkSettings None { get; } = new();

    public string? Name { get; init; }

    public bool? Up { get; init; }

    public int? Mtu { get; init; }

    public MacAddress? Address { get; init; }

    /// <summary>Free text; empty removes it.</summary>
    public string? Alias { get; init; }

    /// <summary>The bridge or bond to join; 0 leaves it.</summary>
    public int? MasterIndex { get; init; }

    public int? TxQueueLength { get; init; }

    /// <summary>When creating only.</summary>
    public int? TxQueues { get; init; }

    /// <summary>When creating only.</summary>
    public int? RxQueues { get; init; }

    /// <summary>An open file of the network namespace to live in.</summary>
    public int? NamespaceFd { get; init; }

    /// <summary>False: the kernel shall not make an IPv6 link-local address (addr_gen_mode none).</summary>
    public bool? Ipv6LinkLocal { get; init; }

    // While it creates a link the kernel ignores the first and refuses the second: they take another request. Measured
    // on 6.18.
    internal bool NeedsLink => Alias is not null || Ipv6LinkLocal is not null;

    internal ifinfomsg Header(int index, bool withUp = true) => new()
    {
        ifi_index = index,
        ifi_flags = withUp && Up == true ? IFF_UP : 0,
        ifi_change = withUp && Up is not null ? IFF_UP : 0,
    };

    internal void WriteBasics(NetlinkWriter request)
    {
        request.String(IFLA_IFNAME, Name);
        request.S32(IFLA_MTU, Mtu);
        request.Mac(IFLA_ADDRESS, Address);
        request.S32(IFLA_MASTER, MasterIndex);
        request.S32(IFLA_TXQLEN, TxQueueLength);
        request.S32(IFLA_NUM_TX_QUEUES, TxQueues);
        request.S32(IFLA_NUM_RX_QUEUES, RxQueues);
        request.S32(IFLA_NET_NS_FD, NamespaceFd);
    }

    internal void WriteExtras(NetlinkWriter request)
    {
        if (Alias is not null)
            request.Bytes(IFLA_IFALIAS, System.Text.Encoding.UTF8.GetBytes(Alias));
        if (Ipv6LinkLocal is not { } linkLocal)
            return;
        using NetlinkNest families = request.Nest(IFLA_AF_SPEC), inet6 = request.Nest(AF_INET6);
        request.U8(IFLA_INET6_ADDR_GEN_MODE, linkLocal ? IN6_ADDR_GEN_MODE_EUI64 : IN6_ADDR_GEN_MODE_NONE);
    }
}

/// <summary>Settings of one kind of link, to create it or to change it. What is null stays as it is.</summary>
public abstract record LinkKindSettings
{
    /// <summary>The kernel's name of the kind, such as "bridge".</summary>
    public abstract string Kind { get; }

    /// <summary>The device that this one is put upon, if the kind has one.</summary>
    internal virtual int? LowerLink => null;

    /// <summary>Writes the attributes of IFLA_INFO_DATA.</summary>
    internal abstract void WriteData(NetlinkWriter request);
}

/// <summary>A kind that needs no settings, such as "dummy".</summary>
public sealed record PlainKind(string Name) : LinkKindSettings
{
    public override string Kind => Name;

    internal override void WriteData(NetlinkWriter request)
    {
    }
}
