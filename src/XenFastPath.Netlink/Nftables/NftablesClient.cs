// nftables, read only: which chains exist and at which hooks (NFT_MSG_GETCHAIN of nfnetlink). This is how Observe
// learns that somebody filters bridged frames, which the fast path would bypass.
using System.Diagnostics.CodeAnalysis;
using XenFastPath.Interop;
using static XenFastPath.Interop.Netlink;
using static XenFastPath.Interop.NfTables;
using Errno = XenFastPath.Interop.Errno;

namespace XenFastPath.Netlink;

/// <summary>NFPROTO_ families that tables belong to.</summary>
public enum NftFamily : byte
{
    Unspecified = NFPROTO_UNSPEC,
    Inet = NFPROTO_INET,
    IPv4 = NFPROTO_IPV4,
    Arp = NFPROTO_ARP,
    Netdev = NFPROTO_NETDEV,
    Bridge = NFPROTO_BRIDGE,
    IPv6 = NFPROTO_IPV6,
}

/// <summary>
/// A base chain's place. What <paramref name="Hook"/> means depends on the family: 0 is prerouting, or ingress for
/// netdev.
/// </summary>
public sealed record NftHook(uint Hook, int Priority)
{
    /// <summary>The devices of a netdev chain; a name that ends in '*' stands for all that begin so.</summary>
    public IReadOnlyList<string> Devices { get; init; } = [];
}

/// <summary>A chain. <paramref name="UseCount"/> counts its rules and the jumps to it.</summary>
public sealed record NftChain(NftFamily Family, string Table, string Name, uint UseCount)
{
    private const ushort NewChain = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN;
    private const ushort DeleteChain = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELCHAIN;

    /// <summary>Null for a chain that others jump to.</summary>
    public NftHook? Hook { get; init; }

    /// <summary>"filter", "nat" or "route" for a base chain.</summary>
    public string? Type { get; init; }

    /// <summary>A base chain's verdict for what no rule decides: true accepts, false drops.</summary>
    public bool? Accepts { get; init; }

    /// <summary>Takes NFT_MSG_NEWCHAIN and NFT_MSG_DELCHAIN; false for other messages.</summary>
    public static bool TryDecode(NetlinkMessage message, [MaybeNullWhen(false)] out NftChain chain)
    {
        chain = null;
        if (message.Type is not (NewChain or DeleteChain)
            || !message.TryReadHeader(out nfgenmsg header, out NetlinkAttributes attributes))
        {
            return false;
        }
        NetlinkAttribute hook = attributes.Find(NFTA_CHAIN_HOOK), policy = attributes.Find(NFTA_CHAIN_POLICY);
        chain = new NftChain(
            (NftFamily)header.nfgen_family,
            attributes.Find(NFTA_CHAIN_TABLE).Text,
            attributes.Find(NFTA_CHAIN_NAME).Text,
            attributes.Find(NFTA_CHAIN_USE).U32BigEndian)
        {
            Hook = hook.IsPresent ? ReadHook(hook.Nested) : null,
            Type = attributes.Find(NFTA_CHAIN_TYPE).TextOrNull,
            Accepts = policy.IsPresent ? policy.U32BigEndian == NF_ACCEPT : null,
        };
        return true;
    }

    private static NftHook ReadHook(NetlinkAttributes hook)
    {
        // NFTA_HOOK_DEVS names them all; NFTA_HOOK_DEV, which may come with it, is what older kernels say if there is
        // only one.
        NetlinkAttribute all = hook.Find(NFTA_HOOK_DEVS), one = hook.Find(NFTA_HOOK_DEV);
        var devices = new List<string>();
        foreach (NetlinkAttribute device in all.Nested)
            devices.Add(device.Type == NFTA_DEVICE_PREFIX ? device.Text + "*" : device.Text);
        if (!all.IsPresent && one.IsPresent)
            devices.Add(one.Text);
        return new NftHook(hook.Find(NFTA_HOOK_HOOKNUM).U32BigEndian, (int)hook.Find(NFTA_HOOK_PRIORITY).U32BigEndian)
        {
            Devices = devices,
        };
    }
}

/// <summary>Requests to nf_tables. Thread-safe.</summary>
public sealed class NftablesClient : IDisposable
{
    private readonly NetlinkSocket _socket;

    /// <summary>Opens a socket in this thread's network namespace.</summary>
    public NftablesClient() : this(new NetlinkSocket(NETLINK_NETFILTER))
    {
    }

    /// <summary>Uses a NETLINK_NETFILTER socket, which it then owns.</summary>
    public NftablesClient(NetlinkSocket socket) => _socket = socket;

    /// <summary>The chains of all families; none when the kernel has no nf_tables.</summary>
    public List<NftChain> GetChains()
    {
        var request = new NetlinkWriter(stackalloc byte[64]);
        request.Begin(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN, 0);
        request.Header(new nfgenmsg { nfgen_family = NFPROTO_UNSPEC });
        try
        {
            return _socket.Dump<NftChain>(request.Written, NftChain.TryDecode, "dump nftables chains");
        }
        catch (NetlinkException e) when (e.Errno is Errno.EINVAL or Errno.EOPNOTSUPP or Errno.EPROTONOSUPPORT)
        {
            return [];      // nfnetlink knows no subsystem of that number
        }
    }

    /// <summary>Closes the socket.</summary>
    public void Dispose() => _socket.Dispose();
}
