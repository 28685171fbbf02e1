// What the manager thread asks of the loop: to take ports in and let them go, to change tables, to count.
using System.Runtime.InteropServices;

namespace XenFastPath.Dataplane;

public sealed unsafe partial class PacketLoop
{
    private enum Command
    {
        None,
        Attach,
        Forget,
        Detach,
        AttachVlan,
        DetachVlan,
        SetBond,
        DetachBond,
        Reclaim,
        SetTable,
        Barrier,
        Pause,
        Resume,
        Audit,
    }

    // The manager fills these in, then raises _posted; the loop answers by raising _done. One command at a time.
    private Command _command;
    private ushort _commandPort;
    private OutputPort _commandOutput;
    private void* _commandTable;
    private BondOutput* _commandMembers;
    private long _result;
    private int _posted;
    private int _done;

    private bool _barrierPending;
    private bool _isPaused;
    private uint _retiredFrames;
    private uint* _auditFill;
    private uint* _auditTx;
    private uint* _auditHandedOver;
    private uint* _auditWaiting;

    /// <summary>Called by the loop thread when a command is done, to wake the manager. Set before the loop runs.</summary>
    public delegate*<nint, void> CommandDone { get; set; }

    /// <summary>Argument of <see cref="CommandDone"/>.</summary>
    public nint CommandDoneArgument { get; set; }

    /// <summary>Manager: has the latest command been carried out?</summary>
    public bool IsIdle => Volatile.Read(ref _done) == _posted;

    /// <summary>Manager: the latest command's result.</summary>
    public long Result => _result;

    /// <summary>
    /// Manager: takes a port in; its queues' rings are set up and empty. The loop fills the fill rings of those that it serves. Each
    /// command about ports and tables goes to all loops of the forwarder.
    /// </summary>
    public void PostAttach(ushort port, OutputPort output)
    {
        _commandPort = port;
        _commandOutput = output;
        Post(Command.Attach);
    }

    /// <summary>Manager: has nothing sent to a port any more. All loops first do this, then <see cref="PostDetach"/>.</summary>
    public void PostForget(ushort port)
    {
        _commandPort = port;
        Post(Command.Forget);
    }

    /// <summary>Manager: lets a port go. When done, the loop touches its queues no more; their frames are still accounted to them.</summary>
    public void PostDetach(ushort port)
    {
        _commandPort = port;
        Post(Command.Detach);
    }

    /// <summary>
    /// Manager: takes a VLAN's port in, whose <see cref="OutputPort.Tag"/> is not 0 and whose queues are those of its trunk, which is in
    /// already. <paramref name="table"/> is the trunk's, the same for all its VLANs, zeroed when the first of them comes. The trunk
    /// goes after its VLANs; until then the table is the loop's.
    /// </summary>
    public void PostAttachVlan(ushort port, OutputPort output, ushort* table)
    {
        _commandPort = port;
        _commandOutput = output;
        _commandTable = table;
        Post(Command.AttachVlan);
    }

    /// <summary>Manager: lets a VLAN's port go. Frames with its tag are dropped from now on.</summary>
    public void PostDetachVlan(ushort port, ushort* table)
    {
        _commandPort = port;
        _commandTable = table;
        Post(Command.DetachVlan);
    }

    /// <summary>
    /// Manager: takes a bond's port in, or changes its members. <paramref name="output"/> has the <see cref="BondOutput"/> that is the
    /// loop's, empty the first time; <paramref name="members"/> is what it is to become, read before the command is done.
    /// <paramref name="table"/> as for its VLANs; null: it has none.
    /// </summary>
    public void PostSetBond(ushort port, OutputPort output, BondOutput* members, ushort* table)
    {
        _commandPort = port;
        _commandOutput = output;
        _commandMembers = members;
        _commandTable = table;
        Post(Command.SetBond);
    }

    /// <summary>Manager: lets a bond's port go, after its VLANs and before its members.</summary>
    public void PostDetachBond(ushort port)
    {
        _commandPort = port;
        Post(Command.DetachBond);
    }

    /// <summary>Manager: takes the frames of a closed queue back. The result is their number.</summary>
    public void PostReclaim(ushort queueIndex)
    {
        _commandPort = queueIndex;
        Post(Command.Reclaim);
    }

    /// <summary>Manager: changes to another MAC table (<see cref="MacTable"/>). When done, the old one is not read any more.</summary>
    public void PostSetTable(void* table)
    {
        _commandTable = table;
        Post(Command.SetTable);
    }

    /// <summary>
    /// Manager: done when every frame that waited in an RX ring, or was handed over, at this moment has been dealt with; dealt with can
    /// mean handed over, so after all loops have done it, they must do it once more.
    /// </summary>
    public void PostBarrier() => Post(Command.Barrier);

    /// <summary>Manager: has the loop do nothing but listen, so that another can count.</summary>
    public void PostPause() => Post(Command.Pause);

    /// <summary>Manager: the end of a pause.</summary>
    public void PostResume() => Post(Command.Resume);

    /// <summary>
    /// Manager: checks that every frame has exactly one owner and every count is right, while all other loops pause. Result 0 if so.
    /// </summary>
    public void PostAudit() => Post(Command.Audit);

    private void Post(Command command)
    {
        Invariant(IsIdle);
        _command = command;
        Volatile.Write(ref _posted, _posted + 1);
    }

    private void InitMailbox()
    {
        _auditFill = (uint*)NativeMemory.AllocZeroed(Layout.XsksMax, sizeof(uint));
        _auditTx = (uint*)NativeMemory.AllocZeroed(Layout.XsksMax, sizeof(uint));
        _auditHandedOver = (uint*)NativeMemory.AllocZeroed(Layout.XsksMax, sizeof(uint));
        _auditWaiting = (uint*)NativeMemory.AllocZeroed(Layout.XsksMax, sizeof(uint));
    }

    private void ReadMailbox()
    {
        if (Volatile.Read(ref _posted) == _done || _barrierPending)
            return;
        _result = 0;
        switch (_command)
        {
            case Command.Attach:
                Attach(_commandPort, _commandOutput);
                break;
            case Command.Forget:
                _outputs[_commandPort].QueueCount = 0;      // what still comes in by it is counted as ever
                break;
            case Command.Detach:
                Detach(_commandPort);
                break;
            case Command.AttachVlan:
                AttachVlan(_commandPort, _commandOutput, (ushort*)_commandTable);
                break;
            case Command.DetachVlan:
                DetachVlan(_commandPort, (ushort*)_commandTable);
                break;
            case Command.SetBond:
                SetBond(_commandPort, _commandOutput, _commandMembers, (ushort*)_commandTable);
                break;
            case Command.DetachBond:
                DetachBond(_commandPort);
                break;
            case Command.Reclaim:
                uint count = _frames.Reclaim(_commandPort);
                _retiredFrames -= count;
                _result = count;
                break;
            case Command.SetTable:
                _table = new MacTable(_commandTable);
                break;
            case Command.Barrier:
                BeginBarrier();
                return;
            case Command.Pause:
                _isPaused = true;
                break;
            case Command.Resume:
                _isPaused = false;
                break;
            case Command.Audit:
                _result = Audit() ? 0 : 1;
                break;
        }

        Finish();
    }

    private void BeginBarrier()
    {
        for (int i = 0; i < _activeCount; i++)
            _active[i]->BarrierIndex = _active[i]->Rx.Published();
        for (int i = 0; i < _loops.Length; i++)
        {
            if (i != _number)
                _links[i].BarrierIndex = _links[i].In.Published();
        }

        _barrierPending = true;
    }

    private void CheckBarrier()
    {
        for (int i = 0; i < _loops.Length; i++)
        {
            if (i != _number && !_links[i].In.HasConsumed(_links[i].BarrierIndex))
                return;
        }

        for (int i = 0; i < _activeCount; i++)
        {
            if (!_active[i]->Rx.HasConsumed(_active[i]->BarrierIndex))
                return;
        }

        _barrierPending = false;
        Finish();
    }

    private void Finish()
    {
        Volatile.Write(ref _done, _done + 1);
        if (CommandDone != null)
            CommandDone(CommandDoneArgument);
    }

    private void Attach(ushort port, OutputPort output)
    {
        _outputs[port] = output;
        for (int i = 0; i < output.QueueCount; i++)
        {
            PortQueue* q = output.Queues + i;
            if (q->Worker != _number)
                continue;
            q->Owner = port;
            _active[_activeCount++] = q;
            PortQueue.Refill(q, _frames);
        }
    }

    private void Detach(ushort port)
    {
        _outputs[port] = default;
        // Nobody hands frames for it over any more, but some may wait; their queue is about to go.
        for (int i = 0; i < _loops.Length; i++)
        {
            if (i != _number)
                TakeHandedOver(i);
        }

        _activeCount = Remove(_active, _activeCount, port, out uint held);
        _retiredFrames += held;
        _touchedCount = Remove(_touched, _touchedCount, port, out _);
        _unwatchedCount = Remove(_unwatched, _unwatchedCount, port, out _);
    }

    private static int Remove(PortQueue** list, int count, ushort port, out uint held)
    {
        int kept = 0;
        held = 0;
        for (int i = 0; i < count; i++)
        {
            PortQueue* q = list[i];
            if (q->Port != port)
                list[kept++] = q;
            else
                held += q->FillHeld + q->TxHeld;
        }

        return kept;
    }

    /// <summary>One pass over the ledger, compared with every queue's own count and with the free frames.</summary>
    private bool Audit()
    {
        new Span<uint>(_auditFill, Layout.XsksMax).Clear();
        new Span<uint>(_auditTx, Layout.XsksMax).Clear();
        new Span<uint>(_auditHandedOver, Layout.XsksMax).Clear();
        new Span<uint>(_auditWaiting, Layout.XsksMax).Clear();
        uint free = _arena.CountOwners(_auditFill, _auditTx, _auditHandedOver), notHeld = 0, cached = 0, retired = 0, held = 0;
        foreach (PacketLoop loop in _loops)
        {
            notHeld += loop.CountHandedOver(_auditWaiting);
            cached += loop._frames.Count;
            retired += loop._retiredFrames;
        }

        bool good = free == _arena.Depot.Count + cached;
        foreach (PacketLoop loop in _loops)
            good &= AreRight(loop, ref held);
        good &= free + held + notHeld + retired == _arena.FrameCount - 1;
        _counters[(int)LoopCounter.Audits]++;
        if (!good)
            _counters[(int)LoopCounter.AuditFailures]++;
        return good;
    }

    /// <summary>Do the counts of a loop's queues agree with the ledger's?</summary>
    private bool AreRight(PacketLoop loop, ref uint held)
    {
        bool good = true;
        for (int i = 0; i < loop._activeCount; i++)
        {
            PortQueue* q = loop._active[i];
            good &= _auditFill[q->Index] == q->FillHeld && _auditTx[q->Index] == q->TxHeld;
            good &= _auditHandedOver[q->Index] == _auditWaiting[q->Index];
            good &= q->FillHeld <= q->FillQuota && q->TxHeld <= q->Tx.Size;
            held += q->FillHeld + q->TxHeld;
        }

        return good;
    }

    private static void Invariant(bool holds)
    {
        if (!holds)
            Environment.FailFast("packet loop: a command was posted before the last one was done");
    }
}
