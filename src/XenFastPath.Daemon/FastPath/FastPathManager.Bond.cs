// Bonds in the fast path: a bond is a port whose frames come and go by its members, which have XDP and sockets.
using XenFastPath.Dataplane;
using XenFastPath.Interop;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.FastPath;

internal sealed unsafe partial class FastPathManager
{
    private FastPathPort? BondOf(FastPathPort member) => member.Settings.BondIfindex != 0 ? PortOf(member.Settings.BondIfindex) : null;

    private List<FastPathPort> ActiveMembersOf(FastPathPort bond) =>
        [.. _ports.Values.Where(p => p.IsActiveMember && p.Settings.BondIfindex == bond.Ifindex)];

    /// <summary>
    /// Brings a bond in line with its settings and with the members that have sockets now, or takes it from the forwarder if none of
    /// them may transmit. A member that is to rest does so in the program before the forwarder hears of it.
    /// </summary>
    /// <param name="bond">Null: nothing to do.</param>
    /// <param name="without">A member that is about to leave.</param>
    private void UpdateBond(FastPathPort? bond, FastPathPort? without = null)
    {
        if (bond is not { Settings: { Bond: { } wanted, Path: PortPath.Afxdp } } || _failures.ContainsKey(bond.Ifindex))
            return;
        int[] usable = wanted.Usable.Members.ToArray();
        List<FastPathPort> members = [.. _ports.Values.Where(p => p != without && p.Queues > 0 && p.Settings.BondIfindex == bond.Ifindex)];
        List<FastPathPort> active = [.. usable.Select(u => members.Find(m => m.Ifindex == u)).OfType<FastPathPort>()];
        List<FastPathPort> resting = ActiveMembersOf(bond).FindAll(m => !active.Contains(m));
        // One that leaves must not bring frames any more. At a failover they all stay, and what is to be sent must not wait.
        if (without is not null || active.Count == 0)
            Rest(resting);
        bool wasCarried = bond.IsCarried;
        string? failure = null;
        if (active.Count > 0 && _forwarder.Client is { } client)
            failure = OpenBond(bond, client, [.. active, .. members.Except(active)], active.Count);
        else if (bond.IsCarried)
            LeaveForwarder(bond);
        else if (usable.Length > 0 && without is null && _forwarder.Client is not null && usable.All(_failures.ContainsKey))
            failure = $"no member is on the fast path: {_failures[usable[0]]}";
        if (failure is not null)
        {
            LeaveForwarder(bond);
            _failures[bond.Ifindex] = failure;
            if (usable.All(_lasting.Contains))
                _lasting.Add(bond.Ifindex);
            Log.Warning($"{bond.Device}: no fast path: {failure}");
            return;
        }

        foreach (FastPathPort member in active.Where(m => bond.IsCarried && !m.IsActiveMember))
        {
            member.IsActiveMember = true;
            Publish(member);
        }

        Rest(resting.FindAll(m => m.IsActiveMember));
        if (bond.IsCarried == wasCarried)
            return;
        Publish(bond);
        TellMirror([bond.Mirror, .. RejoinVlans(bond)]);
    }

    /// <summary>A bond has left: its members are nobody's.</summary>
    private void ClearMembers(FastPathPort bond)
    {
        foreach (FastPathPort member in _ports.Values.Where(p => p.Settings.BondIfindex == bond.Ifindex))
        {
            member.IsActiveMember = false;
            Publish(member);
        }
    }

    /// <summary>What an earlier daemon knew of a bond: which members were in use.</summary>
    private BondPortSettings TakeOverBond(List<(int Ifindex, ushort Id)> members)
    {
        IEnumerable<int> active = members.Where(m => ((PortFlags)(ushort)_maps.Ports[m.Id].Word & PortFlags.Ingress) != 0).Select(m => m.Ifindex);
        return new BondPortSettings(BondingMode.ActiveBackup, BondHashPolicy.Layer2, new MemberList(active));
    }

    /// <summary>From now on nothing is redirected from these members; what was is through when this returns.</summary>
    private void Rest(List<FastPathPort> members)
    {
        foreach (FastPathPort member in members)
        {
            member.IsActiveMember = false;
            Publish(member);
        }

        if (members.Count == 0)
            return;
        Reaper.WaitForPrograms();
        TryBarrier();
    }

    /// <summary>Tells the forwarder. Null, or why it refuses.</summary>
    private string? OpenBond(FastPathPort bond, ForwarderClient client, List<FastPathPort> members, int usable)
    {
        BondPortSettings wanted = bond.Settings.Bond!;
        int slb = wanted.Mode == BondingMode.BalanceSlb ? Slb.IndexOf(bond.Ifindex) : -1;
        if (wanted.Mode == BondingMode.BalanceSlb && slb < 0)
            return "its balance-slb table is not there";
        if (members.Count > BondOutput.MembersMax)
            return $"{members.Count} members; at most {BondOutput.MembersMax}";
        ForwarderMessage message = new()
        {
            Port = bond.Id,
            Generation = bond.Generation,
            Ifindex = (uint)bond.Ifindex,
            Count = (uint)members.Count,
            Usable = (ushort)usable,
            Policy = PolicyOf(wanted.HashPolicy),
            SlbIndex = (byte)Math.Max(slb, 0),
        };
        for (int i = 0; i < members.Count; i++)
            message.Members[i] = members[i].Id;
        try
        {
            ForwarderMessage reply = client.SetBond(message, slb < 0 ? -1 : Slb.Maps!.BondsFd);
            if (reply.Error != 0)
                return $"the forwarder refuses its members ({reply.Step}: {Errno.Describe(reply.Error)})";
        }
        catch (ForwarderGoneException e)
        {
            return e.Message;
        }

        bond.IsCarried = true;
        bond.IsZeroCopy = members.TrueForAll(m => m.IsZeroCopy);
        bond.IsNativeXdp = members.TrueForAll(m => m.IsNativeXdp);
        return null;
    }

    /// <summary>Any stable choice keeps a flow in order; a tunnel's inner headers are not looked at here.</summary>
    private static BondPolicy PolicyOf(BondHashPolicy policy) => policy switch
    {
        BondHashPolicy.Layer2 => BondPolicy.Layer2,
        BondHashPolicy.Layer34 or BondHashPolicy.Encap34 => BondPolicy.Layer34,
        BondHashPolicy.VlanSourceMac => BondPolicy.VlanSourceMac,
        _ => BondPolicy.Layer23,
    };
}
