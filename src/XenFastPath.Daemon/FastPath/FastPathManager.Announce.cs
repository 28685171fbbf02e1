// active-backup bonds: after a failover the switch is told where the addresses behind the bond are now.
using System.Buffers.Binary;
using XenFastPath.Dataplane;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.FastPath;

internal sealed unsafe partial class FastPathManager
{
    private readonly Dictionary<int, int> _toldMembers = [];
    private readonly Announcer _announcer;
    private readonly Rtnl _rtnl;

    public IReadOnlyDictionary<int, int> ToldMembers => _toldMembers;

    public void TellMember(int bond, string device, int member, IReadOnlyList<UplinkPort> uplinks)
    {
        try
        {
            foreach (UplinkPort uplink in uplinks)
            {
                foreach (FdbEntry entry in _rtnl.GetFdb(uplink.BridgeIfindex).Where(e => IsBehind(e, uplink)))
                    _announcer.Add(bond, SlbAddress.Make(uplink.Tag, BinaryPrimitives.ReverseEndianness(entry.Mac.Value) >> 16));
            }
        }
        catch (NetlinkException e)
        {
            throw new RefusalException(device, e.Message);
        }

        _toldMembers[bond] = member;
        _announcer.Send();
    }

    /// <summary>Ten times a second: what has to be confirmed, shifted or announced.</summary>
    public void Tick()
    {
        Slb.Tick();
        _announcer.Send();
    }

    /// <summary>Guests' addresses, and the bridge's own; not those of the bridge's ports, which nobody sends with.</summary>
    private static bool IsBehind(FdbEntry entry, UplinkPort uplink) =>
        entry.MasterIndex == uplink.BridgeIfindex && !entry.IsSelf && entry.Ifindex != uplink.Ifindex
        && (!entry.IsPermanent || entry.Ifindex == uplink.BridgeIfindex);
}
