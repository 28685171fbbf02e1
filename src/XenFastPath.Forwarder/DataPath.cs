// Arena, workers and ports of one forwarder, as the manager handles them.
using System.Runtime.InteropServices;
using XenFastPath.Dataplane;
using XenFastPath.Interop;

namespace XenFastPath.Forwarder;

/// <summary>
/// The data path from the manager's side. A port comes in: sockets, then the loops, then the XSKMAP. It goes the other way round:
/// XSKMAP, loops, sockets, and last its frames back to the free ones. Every loop knows every port; each of a port's queues is served by
/// the one whose number it bears.
/// </summary>
internal sealed unsafe partial class DataPath : IDisposable
{
    /// <summary>A zero-copy driver may write into a chunk until its queue is torn down, which happens after close has returned.</summary>
    private const int ZeroCopyGraceMs = 1000;

    [StructLayout(LayoutKind.Sequential)]
    private struct ManagedPort
    {
        /// <summary>As the first worker has it; <see cref="OutputOf"/> says what another one gets.</summary>
        public OutputPort Output;
        public uint Ifindex;
        public uint XskBase;
        public uint Quota;
        public ForwarderPortFlags Flags;

        /// <summary>A VLAN: its trunk's port id. 0: it has sockets of its own.</summary>
        public ushort Trunk;

        /// <summary>A trunk: tables of its VLANs, one for each loop; null before the first.</summary>
        public ushort* Vlans;

        /// <summary>A member: its bond's port id.</summary>
        public ushort Bond;
    }

    private readonly ForwarderMemory _memory;
    private readonly Arena _arena;
    private readonly LoopThread[] _workers;
    private readonly int[] _queuesOf;
    private readonly int _busyPollUs;
    private readonly int _vifFillFrames;
    private readonly XskGroup _copy;
    private readonly XskGroup _zeroCopy;
    private readonly ManagedPort* _ports;
    private readonly bool* _queueTaken;
    private uint _quotaFrames;
    private uint _queueCount;

    public DataPath(ForwarderMemory memory, PortEntry* ports, Heartbeats* heartbeats, ForwarderOptions options)
    {
        _memory = memory;
        _arena = new Arena(options.ArenaBytes);
        _memory.Status->FramesTotal = _arena.FrameCount;
        _quotaFrames = Limits.ReservedFrames(options.Workers);
        _queuesOf = new int[options.Workers];
        _busyPollUs = options.BusyPollUs;
        _vifFillFrames = options.VifFillFrames;
        _copy = new XskGroup(_arena, isZeroCopy: false);
        _zeroCopy = new XskGroup(_arena, isZeroCopy: true);
        _ports = (ManagedPort*)NativeMemory.AllocZeroed(Layout.PortsMax, (nuint)sizeof(ManagedPort));
        _queueTaken = (bool*)NativeMemory.AllocZeroed(Layout.XsksMax, sizeof(bool));
        _workers = new LoopThread[options.Workers];
        PacketLoop[] loops = new PacketLoop[options.Workers];
        for (int i = 0; i < loops.Length; i++)
            loops[i] = new PacketLoop(_arena, ports, Heartbeats.WorkerNs(heartbeats, i), memory.Loop(i), &Clock.NowNs, (ushort)i);
        PacketLoop.Join(loops);
        try
        {
            for (int i = 0; i < loops.Length; i++)
                _workers[i] = new LoopThread(loops[i], memory.Loop(i), i, options.Cpus is null ? -1 : options.Cpus[i], options.BusyPollUs);
        }
        catch (SystemCallException)
        {
            foreach (LoopThread? worker in _workers)
                worker?.Dispose();
            _arena.Dispose();
            throw;
        }

        foreach (LoopThread worker in _workers)
            worker.Start();
        Volatile.Write(ref heartbeats->Workers, (uint)options.Workers);
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
        uint fill = (uint)(isPhysical ? Limits.PifFillFrames : _vifFillFrames);
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
            Counters = _memory.Row(0, request.Port),
            Generation = request.Generation,
            QueueCount = (ushort)request.QueueCount,
        };
        _quotaFrames += quota;
        _queueCount += request.QueueCount;
        _memory.Status->PortsInUse = ++PortCount;
        ShareSpareFrames();
        for (int i = 0; i < _workers.Length; i++)
        {
            _workers[i].Loop.PostAttach((ushort)request.Port, OutputOf(request.Port, i));
            _workers[i].Complete();
        }

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
        }

        foreach (LoopThread worker in _workers)
        {
            worker.Loop.PostForget((ushort)id);
            worker.Complete();
        }

        foreach (LoopThread worker in _workers)
        {
            worker.Loop.PostDetach((ushort)id);
            worker.Complete();
        }

        for (uint i = 0; i < count; i++)
            _workers[queues[i].Worker].Unwatch(queues[i].Fd);
        Retire(queues, count, port->Flags);
        NativeMemory.Free(port->Vlans);
        _quotaFrames -= port->Quota;
        _queueCount -= count;
        *port = default;
        _memory.Status->PortsInUse = --PortCount;
        ShareSpareFrames();
        return 0;
    }

    public void SetTable(void* table)
    {
        foreach (LoopThread worker in _workers)
        {
            worker.Loop.PostSetTable(table);
            worker.Complete();
        }
    }

    public void Barrier()
    {
        // What the first pass finds in an RX ring may be handed over to another worker, which the second one waits for.
        for (int pass = 0; pass < (_workers.Length == 1 ? 1 : 2); pass++)
        {
            foreach (LoopThread worker in _workers)
            {
                worker.Loop.PostBarrier();
                worker.Complete();
            }
        }
    }

    public bool Audit()
    {
        // All at once: each waits for the slowest.
        for (int i = 1; i < _workers.Length; i++)
        {
            _workers[i].Loop.PostPause();
            _workers[i].Begin();
        }

        for (int i = 1; i < _workers.Length; i++)
            _workers[i].Complete();
        _workers[0].Loop.PostAudit();
        bool isGood = _workers[0].Complete() == 0;
        for (int i = 1; i < _workers.Length; i++)
        {
            _workers[i].Loop.PostResume();
            _workers[i].Begin();
        }

        for (int i = 1; i < _workers.Length; i++)
            _workers[i].Complete();

        return isGood;
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

    /// <summary>Stops the loops. The sockets go with the process.</summary>
    public void Dispose()
    {
        foreach (LoopThread worker in _workers)
            worker.Dispose();
        _arena.Dispose();
    }

    /// <summary>What a worker's loop knows of a port: its own row of counters, its own copy of a bond.</summary>
    private OutputPort OutputOf(uint id, int worker)
    {
        OutputPort output = _ports[id].Output;
        output.Counters = _memory.Row(worker, id);
        if (output.Bond != null)
            output.Bond += worker;
        return output;
    }

    /// <summary>A worker's table of a trunk's VLANs; null: the port has none.</summary>
    private static ushort* VlansOf(ManagedPort* trunk, int worker) =>
        trunk->Vlans == null ? null : trunk->Vlans + worker * PacketLoop.VlanTableEntries;
}
