// A classic BPF program (Documentation/networking/filter.rst) for a notification socket that drops the neighbour
// messages of some interfaces before they take room in the receive buffer. Its loads are big-endian, while netlink
// integers are in the host's order: the constants it compares with are therefore put in network order.
using System.Net;
using XenFastPath.Interop;
using static XenFastPath.Interop.Netlink;
using static XenFastPath.Interop.RtNetlink;

namespace XenFastPath.Netlink;

internal static class NeighbourFilter
{
    /// <summary>What the 8-bit jumps of the program reach, with room to spare.</summary>
    public const int IfindexesMax = 128;

    private const uint TypeOffset = 4;        // nlmsghdr.nlmsg_type
    private const uint IfindexOffset = 20;    // ndmsg.ndm_ifindex behind the nlmsghdr
    private const uint Accept = uint.MaxValue, Drop = 0;

    /// <summary>The program for up to <see cref="IfindexesMax"/> interfaces.</summary>
    public static sock_filter[] Build(ReadOnlySpan<int> ifindexes)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(ifindexes.Length, IfindexesMax, nameof(ifindexes));
        int count = ifindexes.Length;
        var program = new sock_filter[count + 6];
        program[0] = Load(BPF_H, TypeOffset);
        program[1] = JumpIfEqual(NetworkOrder(RTM_NEWNEIGH), yes: 1, no: 0);
        program[2] = JumpIfEqual(NetworkOrder(RTM_DELNEIGH), yes: 0, no: count + 1);    // neither: to Accept
        program[3] = Load(BPF_W, IfindexOffset);
        for (int i = 0; i < count; i++)
            program[4 + i] = JumpIfEqual(NetworkOrder(ifindexes[i]), yes: count - i, no: 0);    // to Drop
        program[4 + count] = Return(Accept);
        program[5 + count] = Return(Drop);
        return program;
    }

    private static uint NetworkOrder(int value) => (uint)IPAddress.HostToNetworkOrder(value);

    private static uint NetworkOrder(ushort value) => (ushort)IPAddress.HostToNetworkOrder((short)value);

    private static sock_filter Load(ushort size, uint offset) =>
        new() { code = (ushort)(BPF_LD | size | BPF_ABS), k = offset };

    private static sock_filter JumpIfEqual(uint value, int yes, int no) =>
        new() { code = BPF_JMP | BPF_JEQ | BPF_K, jt = checked((byte)yes), jf = checked((byte)no), k = value };

    private static sock_filter Return(uint value) => new() { code = BPF_RET | BPF_K, k = value };
}
