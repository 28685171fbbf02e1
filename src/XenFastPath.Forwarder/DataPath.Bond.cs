// Bond ports from the manager's side: no sockets of their own, but those of their members.
using System.Runtime.InteropServices;
using XenFastPath.Dataplane;
using XenFastPath.Interop;

namespace XenFastPath.Forwarder;

internal sealed unsafe partial class DataPath
{
    /// <summary>The tables of balance-slb bonds, by port id; null for other bonds.</summary>
    private readonly SharedMemory?[] _slbTables = new SharedMemory?[Layout.PortsMax];

    /// <summary>
    /// Takes a bond's port in, or gives it other members. <paramref name="tables"/>: null, or the mapped xfp_slb_bonds, which is this
    /// object's from the call on. Returns 0, or an errno with the step; then nothing has changed.
    /// </summary>
    public int SetBond(in ForwarderMessage request, SharedMemory? tables, out XskStep step)
    {
        int error = TrySetBond(request, tables, out step);
        // What is not in use any more, or is not going to be.
        SharedMemory? old = error == 0 ? _slbTables[request.Port] : tables;
        if (error == 0)
            _slbTables[request.Port] = tables;
        old?.Dispose();
        return error;
    }

    private int TrySetBond(in ForwarderMessage request, SharedMemory? tables, out XskStep step)
    {
        step = XskStep.BadRequest;
        if (request.Port is 0 or >= Layout.PortsMax || request.Count is 0 or > BondOutput.MembersMax || request.Usable > request.Count
            || request.SlbIndex >= SlbLayout.BondsMax)
            return Errno.EINVAL;
        step = XskStep.PortAlreadyOpen;
        ManagedPort* port = _ports + request.Port;
        if (port->Output.QueueCount != 0 && port->Output.Bond == null)
            return Errno.EEXIST;
        step = XskStep.Member;
        BondOutput members = new() { Policy = request.Policy, Slb = tables is null ? null : (SlbBond*)tables.Address + request.SlbIndex };
        for (int i = 0; i < request.Count; i++)
        {
            uint id = request.Members[i];
            ManagedPort* member = _ports + id;
            if (id is 0 or >= Layout.PortsMax || member->Output.Queues == null || member->Trunk != 0 || (member->Bond != 0 && member->Bond != request.Port))
                return Errno.ENOENT;
            members.Add(member->Output, member->Ifindex, isUsable: i < request.Usable);
        }

        step = XskStep.None;
        if (port->Output.Bond == null)
        {
            _memory.Clear(request.Port);
            *port = new ManagedPort { Ifindex = request.Ifindex };
            port->Output.Bond = (BondOutput*)NativeMemory.AllocZeroed((nuint)_workers.Length, (nuint)sizeof(BondOutput));
            _memory.Status->PortsInUse = ++PortCount;
        }

        port->Output.Generation = request.Generation;
        port->Output.QueueCount = 1;
        for (int i = 0; i < _workers.Length; i++)
        {
            _workers[i].Loop.PostSetBond((ushort)request.Port, OutputOf(request.Port, i), &members, VlansOf(port, i));
            _workers[i].Complete();
        }

        ReleaseMembers(request.Port);
        for (int i = 0; i < request.Count; i++)
            _ports[request.Members[i]].Bond = (ushort)request.Port;
        return 0;
    }

    /// <summary>Lets a bond's port go, whose VLANs are gone. Its members stay, as ports of their own.</summary>
    private void RemoveBond(uint id)
    {
        ManagedPort* port = _ports + id;
        foreach (LoopThread worker in _workers)
        {
            worker.Loop.PostDetachBond((ushort)id);
            worker.Complete();
        }

        ReleaseMembers(id);
        _slbTables[id]?.Dispose();
        _slbTables[id] = null;
        NativeMemory.Free(port->Output.Bond);
        NativeMemory.Free(port->Vlans);
        *port = default;
        _memory.Status->PortsInUse = --PortCount;
    }

    private void ReleaseMembers(uint bond)
    {
        for (uint id = 1; id < Layout.PortsMax; id++)
        {
            if (_ports[id].Bond == bond)
                _ports[id].Bond = 0;
        }
    }
}
