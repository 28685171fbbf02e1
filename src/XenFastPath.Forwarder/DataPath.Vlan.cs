// VLAN ports from the manager's side: they have no sockets, only a place in their trunk's table.
using System.Runtime.InteropServices;
using XenFastPath.Dataplane;
using XenFastPath.Interop;

namespace XenFastPath.Forwarder;

internal sealed unsafe partial class DataPath
{
    /// <summary>Takes a VLAN's port in; its id is free. Returns 0, or an errno with the step.</summary>
    private int AddVlan(in ForwarderMessage request, out XskStep step)
    {
        step = XskStep.BadRequest;
        if (request.Trunk >= Layout.PortsMax || request.Tag is 0 or >= PacketLoop.VlanTableEntries - 1)
            return Errno.EINVAL;
        step = XskStep.Trunk;
        ManagedPort* trunk = _ports + request.Trunk;
        if (trunk->Output.QueueCount == 0 || trunk->Trunk != 0)
            return Errno.ENOENT;
        if (trunk->Vlans == null)
            trunk->Vlans = (ushort*)NativeMemory.AllocZeroed((nuint)(_workers.Length * PacketLoop.VlanTableEntries), sizeof(ushort));
        if (trunk->Vlans[request.Tag] != 0)
            return Errno.EEXIST;
        _memory.Clear(request.Port);
        ManagedPort* port = _ports + request.Port;
        *port = new ManagedPort { Ifindex = request.Ifindex, Trunk = (ushort)request.Trunk };
        port->Output = trunk->Output;
        port->Output.Generation = request.Generation;
        port->Output.Tag = (ushort)request.Tag;
        _memory.Status->PortsInUse = ++PortCount;
        for (int i = 0; i < _workers.Length; i++)
        {
            _workers[i].Loop.PostAttachVlan((ushort)request.Port, OutputOf(request.Port, i), VlansOf(trunk, i));
            _workers[i].Complete();
        }

        step = XskStep.None;
        return 0;
    }

    private void RemoveVlan(uint id)
    {
        ManagedPort* trunk = _ports + _ports[id].Trunk;
        for (int i = 0; i < _workers.Length; i++)
        {
            _workers[i].Loop.PostDetachVlan((ushort)id, VlansOf(trunk, i));
            _workers[i].Complete();
        }

        _ports[id] = default;
        _memory.Status->PortsInUse = --PortCount;
    }

    private void RemoveVlansOf(uint trunk)
    {
        for (uint id = 1; id < Layout.PortsMax; id++)
        {
            if (_ports[id].Trunk == trunk)
                RemoveVlan(id);
        }
    }
}
