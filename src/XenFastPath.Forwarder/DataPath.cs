// Arena, loop and ports of one forwarder, as the manager handles them.
using System.Runtime.InteropServices;
using XenFastPath.Dataplane;
using XenFastPath.Interop;

namespace XenFastPath.Forwarder;

/// <summary>
/// The data path from the manager's side. A port comes in: sockets, then the loop, then the XSKMAP. It goes the other way round:
/// XSKMAP, loop, sockets, and last its frames back to the free stack.
/// </summary>
internal sealed unsafe partial class DataPath : IDisposable
{
    /// <summary>A zero-copy driver may write into a chunk until its queue is torn down, which happens after close has returned.</summary>
    private const int ZeroCopyGraceMs = 1000;

    [StructLayout(LayoutKind.Sequential)]
    private struct ManagedPort
    {
        public OutputPort Output;
        public uint Ifindex;
        public uint XskBase;
        public uint Quota;
        public ForwarderPortFlags Flags;

        /// <summary>A VLAN: its trunk's port id. 0: it has sockets of its own.</summary>
        public ushort Trunk;

        /// <summary>A trunk: the loop's table of its VLANs; null before the first.</summary>
        public ushort* Vlans;

        /// <summary>A member: its bond's port id.</summary>
        public ushort Bond;
    }

    private readonly ForwarderMemory _memory;
    private readonly Arena _arena;
    private readonly PacketLoop _loop;
    private readonly LoopThread _thread;
    private readonly XskGroup _copy;
    private readonly XskGroup _zeroCopy;
    private readonly ManagedPort* _ports;
    private readonly bool* _queueTaken;
    private uint _quotaFrames = Limits.ReservedFrames;

    public DataPath(ForwarderMemory memory, PortEntry* ports, Heartbeats* heartbeats, long arenaBytes, int cpu)
    {
        _memory = memory;
        _arena = new Arena(arenaBytes);
        _memory.Status->FramesTotal = _arena.FrameCount;
        _loop = new PacketLoop(_arena, ports, Heartbeats.WorkerNs(heartbeats, 0), memory.Loop, &Clock.NowNs);
        _copy = new XskGroup(_arena, isZeroCopy: false);
        _zeroCopy = new XskGroup(_arena, isZeroCopy: true);
        _ports = (ManagedPort*)NativeMemory.AllocZeroed(Layout.PortsMax, (nuint)sizeof(ManagedPort));
        _queueTaken = (bool*)NativeMemory.AllocZeroed(Layout.XsksMax, sizeof(bool));
        try
        {
            _thread = new LoopThread(_loop, memory.Loop, cpu);
        }
        catch (SystemCallException)
        {
            _arena.Dispose();
            throw;
        }

        _thread.Start();
    }

    public uint PortCount { get; private set; }

    /// <summary>What Hello says of one port.</summary>
    public bool TryDescribe(uint id, out ForwarderMessage message)
    {
        ManagedPort* port = _ports + id;
        message = new ForwarderMessage
        {
            Verb = ForwarderVerb.PortInfo,
            Protocol = ForwarderMessage.CurrentProtocol,
            LayoutVersion = Layout.Version,
            Port = id,
            Generation = port->Output.Generation,
            Ifindex = port->Ifindex,
            QueueCount = port->Trunk == 0 && port->Output.Bond == null ? port->Output.QueueCount : 0u,
            XskBase = port->XskBase,
            PortFlags = port->Flags | (port->Trunk == 0 && port->Output.Bond != null ? ForwarderPortFlags.IsBond : 0),
            Trunk = port->Trunk,
            Tag = port->Output.Tag,
        };
        return port->Output.QueueCount != 0;
    }

    public int Add(in ForwarderMessage request, int xskMap, out XskStep step, out ForwarderPortFlags flags)
    {
        flags = ForwarderPortFlags.None;
        step = XskStep.BadRequest;
        if (request.Port is 0 or >= Layout.PortsMax || (request.Trunk == 0 && request.QueueCount is 0 or > Limits.QueuesPerPortMax))
            return Errno.EINVAL;
        step = XskStep.PortAlreadyOpen;
        ManagedPort* port = _ports + request.Port;
        if (port->Output.QueueCount != 0)
            return Errno.EEXIST;
        if (request.Trunk != 0)
            return AddVlan(request, out step);
        step = XskStep.Quota;
        bool isPhysical = (request.PortFlags & ForwarderPortFlags.IsPhysical) != 0;
        uint fill = (uint)(isPhysical ? Limits.PifFillFrames : Limits.VifFillFrames);
        uint tx = (uint)(isPhysical ? Limits.PifTxFrames : Limits.VifTxFrames);
        uint quota = (fill + tx) * request.QueueCount;
        if (_quotaFrames + quota > _arena.FrameCount)
            return Errno.ENOSPC;

        PortQueue* queues = (PortQueue*)NativeMemory.AllocZeroed(request.QueueCount, (nuint)sizeof(PortQueue));
        int error = OpenQueues(request, queues, fill, tx, out uint opened, out step, out flags);
        if (error != 0)
        {
            Retire(queues, opened, flags);
            return error;
        }

        *port = new ManagedPort { Ifindex = request.Ifindex, XskBase = request.XskBase, Quota = quota, Flags = flags };
        port->Output = new OutputPort
        {
            Queues = queues,
            Counters = _memory.Row(request.Port),
            Generation = request.Generation,
            QueueCount = (ushort)request.QueueCount,
        };
        _quotaFrames += quota;
        _memory.Status->PortsInUse = ++PortCount;
        _loop.PostAttach((ushort)request.Port, port->Output);
        _thread.Complete();
        step = XskStep.XskMap;
        error = EnterXskMap(port, xskMap);
        if (error != 0)
            Remove(request.Port, xskMap);
        return error;
    }

    public int Remove(uint id, int xskMap)
    {
        if (id >= Layout.PortsMax || _ports[id].Output.QueueCount == 0)
            return Errno.ENOENT;
        ManagedPort* port = _ports + id;
        if (port->Trunk != 0)
        {
            RemoveVlan(id);
            return 0;
        }

        if (port->Vlans != null)
            RemoveVlansOf(id);
        if (port->Output.Bond != null)
        {
            RemoveBond(id);
            return 0;
        }

        if (port->Bond != 0)
            Remove(port->Bond, xskMap);     // control takes a member out of its bond first; whoever does not has no bond any more
        PortQueue* queues = port->Output.Queues;
        uint count = port->Output.QueueCount;
        for (uint i = 0; i < count; i++)
        {
            uint slot = port->XskBase + i;
            LibBpf.bpf_map_delete_elem(xskMap, &slot);
            _thread.Unwatch(queues[i].Fd);
        }

        _loop.PostDetach((ushort)id);
        _thread.Complete();
        Retire(queues, count, port->Flags);
        NativeMemory.Free(port->Vlans);
        _quotaFrames -= port->Quota;
        *port = default;
        _memory.Status->PortsInUse = --PortCount;
        return 0;
    }

    public void SetTable(void* table)
    {
        _loop.PostSetTable(table);
        _thread.Complete();
    }

    public void Barrier()
    {
        _loop.PostBarrier();
        _thread.Complete();
    }

    public bool Audit()
    {
        _loop.PostAudit();
        return _thread.Complete() == 0;
    }

    public void ReadStatistics()
    {
        for (uint id = 1; id < Layout.PortsMax; id++)
        {
            OutputPort* output = &_ports[id].Output;
            if (output->QueueCount != 0 && _ports[id].Trunk == 0 && output->Bond == null)
                XskSocket.ReadStatistics(output->Queues, output->QueueCount);
        }
    }

    /// <summary>Stops the loop. The sockets go with the process.</summary>
    public void Dispose()
    {
        _thread.Dispose();
        _arena.Dispose();
    }

    private int OpenQueues(in ForwarderMessage request, PortQueue* queues, uint fill, uint tx, out uint opened, out XskStep step,
        out ForwarderPortFlags flags)
    {
        step = XskStep.None;
        opened = 0;
        flags = ForwarderPortFlags.None;
        ulong* counters = _memory.Row(request.Port);
        new Span<ulong>(counters, CounterMemory.RowSlots).Clear();
        for (; opened < request.QueueCount; opened++)
        {
            PortQueue* q = queues + opened;
            q->Port = (ushort)request.Port;
            q->Ordinal = (ushort)opened;
            q->Index = TakeQueueIndex();
            q->FillQuota = fill;
            q->TxQuota = tx;
            q->Counters = counters;
            XskRequest socket = new()
            {
                Ifindex = request.Ifindex,
                Queue = opened,
                FillFrames = fill,
                TxFrames = tx,
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
                _queueTaken[q->Index] = false;
                return error;
            }
        }

        return 0;
    }

    /// <summary>
    /// Closes queues that the loop does not serve, or no longer. Frames and ledger indices become free only when no driver can
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
            _loop.PostReclaim(queues[i].Index);
            _thread.Complete();
            _queueTaken[queues[i].Index] = false;
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
            if (!_thread.Watch(fd))
                return Errno.Last;
        }

        return 0;
    }

    private ushort TakeQueueIndex()
    {
        ushort index = 0;
        while (_queueTaken[index])
            index++;
        _queueTaken[index] = true;
        return index;
    }
}
