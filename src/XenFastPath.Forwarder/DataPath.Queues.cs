// The queues of a port from the manager's side: sockets, workers, and how many frames they may hold.
using System.Runtime.InteropServices;
using XenFastPath.Dataplane;
using XenFastPath.Interop;

namespace XenFastPath.Forwarder;

internal sealed unsafe partial class DataPath
{
    private int OpenQueues(in ForwarderMessage request, PortQueue* queues, uint fill, uint tx, out uint opened, out XskStep step,
        out ForwarderPortFlags flags)
    {
        step = XskStep.None;
        opened = 0;
        flags = ForwarderPortFlags.None;
        bool isPhysical = (request.PortFlags & ForwarderPortFlags.IsPhysical) != 0;
        _memory.Clear(request.Port);
        for (; opened < request.QueueCount; opened++)
        {
            PortQueue* q = queues + opened;
            q->Port = (ushort)request.Port;
            q->Ordinal = (ushort)opened;
            q->Index = TakeQueueIndex();
            q->FillQuota = fill;
            q->TxQuota = tx;
            q->Worker = TakeWorker();
            q->Counters = _memory.Row(q->Worker, request.Port);
            XskRequest socket = new()
            {
                Ifindex = request.Ifindex,
                Queue = opened,
                FillFrames = fill,
                TxFrames = Limits.TxFramesMax,
                BusyPollUs = isPhysical ? _busyPollUs : 0,
                ZeroCopyTxMetadata = (request.PortFlags & ForwarderPortFlags.ZeroCopyTxMetadata) != 0,
            };
            // Zero-copy first; what the first queue gets, the others get too.
            bool wantsZeroCopy = ((opened == 0 ? request.PortFlags : flags) & ForwarderPortFlags.ZeroCopy) != 0;
            int error = wantsZeroCopy ? _zeroCopy.Open(socket, q, out step) : Errno.EOPNOTSUPP;
            if (wantsZeroCopy && error == 0)
                flags |= ForwarderPortFlags.ZeroCopy;
            else if (opened == 0 || !wantsZeroCopy)
                error = _copy.Open(socket, q, out step);
            if (error != 0)
            {
                Release(q);
                return error;
            }
        }

        return 0;
    }

    /// <summary>
    /// Closes queues that no loop serves, or no longer. Frames and ledger indices become free only when no driver can
    /// write into the frames any more. Frees <paramref name="queues"/>.
    /// </summary>
    private void Retire(PortQueue* queues, uint count, ForwarderPortFlags flags)
    {
        bool isZeroCopy = (flags & ForwarderPortFlags.ZeroCopy) != 0;
        XskGroup group = isZeroCopy ? _zeroCopy : _copy;
        for (uint i = 0; i < count; i++)
            group.Close(queues + i);
        if (isZeroCopy && count != 0)
            Tmds.Linux.LibC.poll(null, 0, ZeroCopyGraceMs);
        for (uint i = 0; i < count; i++)
        {
            LoopThread worker = _workers[queues[i].Worker];
            worker.Loop.PostReclaim(queues[i].Index);
            worker.Complete();
            Release(queues + i);
        }

        NativeMemory.Free(queues);
    }

    private int EnterXskMap(ManagedPort* port, int xskMap)
    {
        for (uint i = 0; i < port->Output.QueueCount; i++)
        {
            uint slot = port->XskBase + i;
            int fd = port->Output.Queues[i].Fd;
            int error = LibBpf.bpf_map_update_elem(xskMap, &slot, &fd, LibBpf.BPF_ANY);
            if (error != 0)
                return -error;
            if (!_workers[port->Output.Queues[i].Worker].Watch(fd))
                return Errno.Last;
        }

        return 0;
    }

    /// <summary>The worker that serves the fewest queues gets the next one.</summary>
    private ushort TakeWorker()
    {
        int least = 0;
        for (int i = 1; i < _queuesOf.Length; i++)
        {
            if (_queuesOf[i] < _queuesOf[least])
                least = i;
        }

        _queuesOf[least]++;
        return (ushort)least;
    }

    private void Release(PortQueue* q)
    {
        _queueTaken[q->Index] = false;
        _queuesOf[q->Worker]--;
    }

    private ushort TakeQueueIndex()
    {
        ushort index = 0;
        while (_queueTaken[index])
            index++;
        _queueTaken[index] = true;
        return index;
    }

    /// <summary>What no quota claims may be on its way out: as much for one queue as for another.</summary>
    private void ShareSpareFrames()
    {
        uint spare = _arena.FrameCount - _quotaFrames;
        for (uint id = 1; id < Layout.PortsMax; id++)
        {
            OutputPort* output = &_ports[id].Output;
            for (int i = 0; i < output->QueueCount && _ports[id].Trunk == 0 && output->Bond == null; i++)
                Volatile.Write(ref output->Queues[i].TxLimit, Limits.TxLimit(output->Queues[i].TxQuota, spare, _queueCount));
        }
    }
}
