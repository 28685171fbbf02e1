// VLANs in the packet loop: a trunk's frames are sorted by their tag, which is taken off before the look-up and put in front of
// what leaves by a VLAN port. In between a frame of a VLAN is like any other.
using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using XenFastPath.Interop;

namespace XenFastPath.Dataplane;

public sealed unsafe partial class PacketLoop
{
    /// <summary>Entries of a trunk's table: one for each VLAN identifier; its value is the VLAN's port id, 0: no VLAN of ours.</summary>
    public const int VlanTableEntries = 4096;

    private const ushort VidMask = VlanTableEntries - 1;
    private const int EtherTypeOffset = 12;

    // As they lie in memory on a little-endian machine.
    private const ushort EtherType8021Q = 0x0081, EtherType8021Ad = 0xa888, EtherTypeOldQinQ = 0x0091;

    /// <summary>The batch of a trunk: its frames belong to different ports, each with its own Network, word and counters.</summary>
    [SkipLocalsInit]
    private void ReceiveTrunk(PortQueue* q, xdp_desc* batch, uint count)
    {
        ulong* keys = stackalloc ulong[Limits.BatchFrames];
        ulong* found = stackalloc ulong[Limits.BatchFrames];
        ulong* words = stackalloc ulong[Limits.BatchFrames];
        ushort* ports = stackalloc ushort[Limits.BatchFrames];
        for (uint i = 0; i < count; i++)
        {
            xdp_desc* descriptor = batch + i;
            ports[i] = Untag(q, descriptor);
            words[i] = Volatile.Read(ref _ports[ports[i]].Word);
            keys[i] = KeyOf(descriptor, PortEntry.NetworkOf(words[i]));
        }

        _table.LookupBatch(keys, found, count);
        Route route = default;
        ushort routeOf = 0;

        for (uint i = 0; i < count; i++)
        {
            xdp_desc* descriptor = batch + i;
            if (ports[i] == 0)
            {
                DropNoVlan(q, descriptor);
                continue;
            }

            Source source = new(ports[i], words[i], _outputs[ports[i]].Counters);
            source.Count(PortCounter.RxFrames, 1);
            source.Count(PortCounter.RxBytes, descriptor->len);
            if (found[i] != route.Word || ports[i] != routeOf)
            {
                Resolve(q, source, found[i], &route);
                routeOf = ports[i];
            }

            Forward(q, descriptor, source, keys[i], &route);
        }
    }

    /// <summary>
    /// The port that a trunk's frame belongs to; if that is a VLAN's, the tag is off when this returns, and the descriptor says so:
    /// until it is released it is the loop's. 0: a tag that no VLAN of ours has, or more than one tag.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ushort Untag(PortQueue* q, xdp_desc* descriptor)
    {
        if (!IsWhole(descriptor))
            return q->Owner;
        byte* data = _arena.Base + descriptor->addr;
        ushort etherType = Unsafe.ReadUnaligned<ushort>(data + EtherTypeOffset);
        if (!IsTag(etherType))
            return q->Owner;
        if (etherType != EtherType8021Q || descriptor->len < Limits.EthernetHeaderBytes + Limits.VlanTagBytes
            || IsTag(Unsafe.ReadUnaligned<ushort>(data + EtherTypeOffset + Limits.VlanTagBytes)))
            return 0;
        ushort port = q->Vlans[BinaryPrimitives.ReverseEndianness(Unsafe.ReadUnaligned<ushort>(data + Limits.EthernetHeaderBytes)) & VidMask];
        // Somebody else's frame is not written to; Forward finds that out, and counts it.
        if (port == 0 || !_arena.IsOwned(Arena.FrameOf(descriptor->addr), FrameOwner.Fill, q->Index))
            return port;
        MoveAddresses(data, data + Limits.VlanTagBytes);
        descriptor->addr += Limits.VlanTagBytes;
        descriptor->len -= Limits.VlanTagBytes;
        return port;
    }

    private void DropNoVlan(PortQueue* q, xdp_desc* descriptor)
    {
        OutputPort* owner = _outputs + q->Owner;
        owner->Count(PortCounter.RxFrames);
        owner->Count(PortCounter.RxBytes, descriptor->len);
        if (!TryTakeReceived(q, descriptor, out uint frame))
            return;
        _frames.Return(frame);
        owner->Count(PortCounter.DropNoVlan);
    }

    /// <summary>Puts a tag with priority 0 behind the addresses of a frame, which then begins four bytes earlier.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void PushTag(byte* data, ushort tag)
    {
        MoveAddresses(data, data - Limits.VlanTagBytes);
        Unsafe.WriteUnaligned(data + EtherTypeOffset - Limits.VlanTagBytes, EtherType8021Q | (uint)BinaryPrimitives.ReverseEndianness(tag) << 16);
    }

    /// <summary>Moves both addresses, 12 bytes; the places may overlap.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void MoveAddresses(byte* from, byte* to)
    {
        ulong first = Unsafe.ReadUnaligned<ulong>(from);
        uint rest = Unsafe.ReadUnaligned<uint>(from + sizeof(ulong));
        Unsafe.WriteUnaligned(to, first);
        Unsafe.WriteUnaligned(to + sizeof(ulong), rest);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsTag(ushort etherType) => etherType is EtherType8021Q or EtherType8021Ad or EtherTypeOldQinQ;

    private void AttachVlan(ushort port, OutputPort output, ushort* table)
    {
        _outputs[port] = output;
        table[output.Tag] = port;
        if (output.Bond != null)
            SetMembers(output.Bond, owner: null, table);
        for (int i = 0; output.Bond == null && i < output.QueueCount; i++)
        {
            if (output.Queues[i].Worker == _number)
                output.Queues[i].Vlans = table;
        }
    }

    private void DetachVlan(ushort port, ushort* table)
    {
        table[_outputs[port].Tag] = 0;
        _outputs[port] = default;
    }
}
