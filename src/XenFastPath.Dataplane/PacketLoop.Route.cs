// Where a frame leaves, from the word that the MAC table has for its destination. Frames of a batch that go to one port share the answer.
using System.Runtime.CompilerServices;
using XenFastPath.Interop;

namespace XenFastPath.Dataplane;

/// <summary>What a table word means for the frames of one source, as the ports were when the first of them in the batch was seen.</summary>
internal unsafe struct Route
{
    /// <summary>The word that this is the meaning of.</summary>
    public ulong Word;

    /// <summary>The port that the frames leave by; null: none, and <see cref="Drop"/> says why.</summary>
    public OutputPort* Port;

    /// <summary>The queue; null: there is none, or it depends on the frame.</summary>
    public PortQueue* Queue;

    public uint FrameBytesMax;

    /// <summary>A bond chooses by the frame's addresses; a tag needs room in front of the frame.</summary>
    public bool IsPerFrame;

    /// <summary>Frames of the usual length need nothing done to them, and leave by <see cref="Queue"/>, which this worker serves.</summary>
    public bool IsPlain;

    public PortCounter Drop;
}

public sealed unsafe partial class PacketLoop
{
    /// <summary>Finds out what a word means for frames that came in by a queue and belong to a source.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Resolve(PortQueue* q, Source source, ulong word, Route* route)
    {
        *route = new Route { Word = word };
        if (word is 0 or MacTable.BusyWord)
        {
            route->Drop = word == 0 ? PortCounter.DropUnknown : PortCounter.DropTableBusy;
            return;
        }

        uint id = (uint)FdbWord.PortOf(word) & (Layout.PortsMax - 1);
        OutputPort* port = _outputs + id;
        ulong outputWord = Volatile.Read(ref _ports[id].Word);
        if (port->QueueCount == 0 || port->Generation != FdbWord.GenerationOf(word) || PortEntry.GenerationOf(outputWord) != port->Generation)
            route->Drop = PortCounter.DropOutputGone;
        else if (PortEntry.NetworkOf(outputWord) != PortEntry.NetworkOf(source.Word))
            route->Drop = PortCounter.DropOtherNetwork;
        // The program judged this frame by where the MAC was then; if it has moved, its new port may be isolated too. The output's
        // Egress flag is not looked at: a port that leaves the path lets the frames in flight through.
        else if ((outputWord & source.Word & (ulong)PortFlags.Isolated) != 0)
            route->Drop = PortCounter.DropIsolated;
        else if (id == source.Port)
            route->Drop = PortCounter.DropSamePort;
        else
            SetOutput(q, source, port, _ports[id].FrameBytesMax, route);
    }

    private void SetOutput(PortQueue* q, Source source, OutputPort* port, uint frameBytesMax, Route* route)
    {
        route->Port = port;
        route->FrameBytesMax = frameBytesMax;
        route->IsPerFrame = port->Bond != null || port->Tag != 0;
        if (port->Bond != null)
            return;
        route->Queue = OutputPort.Choose(port->Queues, port->QueueCount, q->Ordinal, _number);
        route->IsPlain = !route->IsPerFrame && route->Queue->Worker == _number && (source.Word & (ulong)PortFlags.Unfinished) == 0;
    }

    /// <summary>The queue of a frame whose port has a tag or is a bond; null: it cannot leave.</summary>
    private PortQueue* Choose(PortQueue* q, xdp_desc* descriptor, Route* route)
    {
        OutputPort* port = route->Port;
        if (descriptor->len > route->FrameBytesMax || LacksTagRoom(descriptor, port))
            return null;
        return port->Bond == null ? route->Queue : port->Bond->Choose(_arena.Base + descriptor->addr, descriptor->len, port->Tag, q->Ordinal, _number);
    }

    /// <summary>The kernel leaves 256 bytes in front of what it receives; a tag needs four of them.</summary>
    private static bool LacksTagRoom(xdp_desc* descriptor, OutputPort* port) =>
        port->Tag != 0 && (descriptor->addr & ~Arena.ChunkMask) < Limits.VlanTagBytes;

    /// <summary>Why a frame could not go where its route leads; <paramref name="queue"/> is the one it would have left by, if there was one.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private PortCounter WhyNot(xdp_desc* descriptor, ulong key, Route* route, PortQueue* queue)
    {
        if (key == 0)
            return descriptor->len < Limits.EthernetHeaderBytes ? PortCounter.DropRunt : PortCounter.DropBadDescriptor;
        if (route->Port == null)
            return route->Drop;
        if (queue != null)
            return queue->Worker == _number ? PortCounter.DropTxFull : PortCounter.DropWorkerBusy;
        if (descriptor->len > route->FrameBytesMax)
            return PortCounter.DropOversize;
        return LacksTagRoom(descriptor, route->Port) ? PortCounter.DropBadDescriptor : PortCounter.DropOutputGone;
    }
}
