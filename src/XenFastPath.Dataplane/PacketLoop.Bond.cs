// Bonds in the packet loop: frames that come in by a member are the bond's, and what leaves by the bond leaves by one member.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace XenFastPath.Dataplane;

/// <summary>
/// The members of a bond that have sockets: first those that may transmit, in the kernel's order. Lives in native memory of the
/// manager, one for each loop; what is attached is the loop's and changes only by <see cref="PacketLoop.PostSetBond"/>.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct BondOutput
{
    /// <summary>Members of one bond on the fast path.</summary>
    public const int MembersMax = 8;

    private fixed ulong _queues[MembersMax];
    private fixed ushort _queueCounts[MembersMax];
    private fixed uint _ifindexes[MembersMax];

    /// <summary>balance-slb: the table that says which member sends a source address, shared with control and the program; else null.</summary>
    public SlbBond* Slb;

    /// <summary>Members that frames may leave by.</summary>
    public ushort Usable;

    /// <summary>All members that frames come in by.</summary>
    public ushort Count;

    public BondPolicy Policy;

    /// <summary>Adds a member; those that may transmit come first.</summary>
    public void Add(in OutputPort member, uint ifindex, bool isUsable)
    {
        _ifindexes[Count] = ifindex;
        _queues[Count] = (ulong)member.Queues;
        _queueCounts[Count++] = member.QueueCount;
        if (isUsable)
            Usable = Count;
    }

    /// <summary>First queue of a member.</summary>
    public readonly PortQueue* QueuesOf(int member) => (PortQueue*)_queues[member];

    /// <summary>How many queues it has.</summary>
    public readonly int QueueCountOf(int member) => _queueCounts[member];

    /// <summary>
    /// The queue that an untagged frame leaves by, which a worker received by a queue of this ordinal; null: no member may transmit.
    /// </summary>
    public readonly PortQueue* Choose(byte* frame, uint length, ushort tag, uint ordinal, ushort worker)
    {
        if (Usable == 0)
            return null;
        int member = Slb != null ? MemberOf(frame, length, tag) : -1;
        if (member < 0)
            member = Usable == 1 ? 0 : (int)(BondHash.Of(Policy, frame, length, tag) % Usable);
        return OutputPort.Choose(QueuesOf(member), _queueCounts[member], ordinal, worker);
    }

    /// <summary>balance-slb: by the bucket of the source address; -1: the table leaves it to the kernel's hash.</summary>
    private readonly int MemberOf(byte* frame, uint length, ushort tag)
    {
        const int sourceOffset = 6;
        int bucket = SlbAddress.Bucket(SlbAddress.Make(tag, Unsafe.ReadUnaligned<ulong>(frame + sourceOffset)));
        Interlocked.Add(ref Slb->FastBytes[bucket], length);     // other workers send for the bond too
        uint ifindex = Volatile.Read(ref Slb->Member[bucket]);
        for (int i = 0; i < Count; i++)
        {
            if (_ifindexes[i] == ifindex)
                return i;
        }

        return -1;
    }
}

public sealed unsafe partial class PacketLoop
{
    /// <summary>
    /// Sets what a bond's port is. Its members are in already, as ports; from now on their frames are the bond's, and the bond's VLANs'
    /// by <paramref name="table"/> (null: it carries none). A member leaves the bond before it leaves the loop.
    /// </summary>
    private void SetBond(ushort port, OutputPort output, BondOutput* members, ushort* table)
    {
        SetMembers(output.Bond, owner: 0, null);
        *output.Bond = *members;
        _outputs[port] = output;
        SetMembers(output.Bond, port, table);
    }

    private void DetachBond(ushort port)
    {
        BondOutput* bond = _outputs[port].Bond;
        SetMembers(bond, owner: 0, null);
        *bond = default;
        _outputs[port] = default;
    }

    /// <summary>Says of all members whose their frames are (0: their own port's; null: as it is) and which table their tags are in.</summary>
    private void SetMembers(BondOutput* bond, ushort? owner, ushort* table)
    {
        for (int i = 0; i < bond->Count; i++)
        {
            for (int j = 0; j < bond->QueueCountOf(i); j++)
            {
                PortQueue* q = bond->QueuesOf(i) + j;
                if (q->Worker != _number)
                    continue;
                q->Vlans = table;
                if (owner is { } port)
                    q->Owner = port == 0 ? q->Port : port;
            }
        }
    }
}
