// Notifications from a fake kernel, and the filter program run by an interpreter.
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using XenFastPath.Interop;
using XenFastPath.Netlink;
using static XenFastPath.Interop.Netlink;

namespace XenFastPath.Tests.Netlink;

public sealed class MonitorTests
{
    private const int SolSocket = 1, SolNetlink = 270;
    private const int ReceiveBuffer = 8, AttachFilter = 26, DetachFilter = 27, ReceiveBufferForce = 33;

    private struct Collector : INetlinkHandler
    {
        public int Entries, Others;

        public void Handle(NetlinkMessage message)
        {
            if (FdbEntry.TryDecode(message, out _))
                Entries++;
            else
                Others++;
        }
    }

    private static byte[] Learned => Golden.Load("notify-fdb").Replies[0];

    private static byte[] LinkChanged => Golden.Load("notify-link").Replies[0];

    [Fact]
    public void Groups_are_joined_by_number_and_left()
    {
        var kernel = new FakeKernel();
        using var monitor = new NetlinkMonitor(kernel, [RtNetlink.RTNLGRP_LINK, RtNetlink.RTNLGRP_BRVLAN]);
        monitor.Leave(RtNetlink.RTNLGRP_LINK);
        Assert.Equal(
            [(NETLINK_ADD_MEMBERSHIP, 1), (NETLINK_ADD_MEMBERSHIP, 33), (NETLINK_DROP_MEMBERSHIP, 1)],
            kernel.Options.Where(o => o.Level == SolNetlink).Select(o => (o.Option, BitConverter.ToInt32(o.Value))));
    }

    [Fact]
    public void The_buffer_is_forced_or_else_asked_for()
    {
        var kernel = new FakeKernel { OptionResult = (_, option) => option == ReceiveBufferForce ? Errno.EPERM : 0 };
        using var monitor = new NetlinkMonitor(kernel, [], 1 << 22);
        Assert.Equal([ReceiveBufferForce, ReceiveBuffer], kernel.Options.Select(o => o.Option));
        Assert.All(kernel.Options, o => Assert.Equal(1 << 22, BitConverter.ToInt32(o.Value)));
    }

    [Fact]
    public void A_refused_group_is_an_error()
    {
        var kernel = new FakeKernel { OptionResult = (level, _) => level == SolNetlink ? Errno.EPERM : 0 };
        NetlinkException e = Assert.Throws<NetlinkException>(() => new NetlinkMonitor(kernel, [9]));
        Assert.Equal("join netlink group 9: EPERM (Operation not permitted)", e.Message);
    }

    [Fact]
    public void Draining_hands_over_every_message()
    {
        var kernel = new FakeKernel();
        using var monitor = new NetlinkMonitor(kernel, []);
        kernel.Push([Learned, LinkChanged, (byte[])[.. Learned, .. Learned]]);
        var collector = default(Collector);
        Assert.Equal(new NetlinkDrain(4, Overrun: false, More: false), monitor.Drain(ref collector));
        Assert.Equal((3, 1), (collector.Entries, collector.Others));
        Assert.Equal(default, monitor.Drain(ref collector));
    }

    [Theory]
    [InlineData(105)]   // ENOBUFS
    [InlineData(90)]    // EMSGSIZE
    public void An_overrun_is_reported_and_the_rest_still_read(int errno)
    {
        var kernel = new FakeKernel();
        using var monitor = new NetlinkMonitor(kernel, []);
        kernel.Push([Learned, Datagram.Failure(errno), Learned]);
        var collector = default(Collector);
        Assert.Equal(new NetlinkDrain(2, Overrun: true, More: false), monitor.Drain(ref collector));
        kernel.Push([Learned[..^4]]);
        Assert.True(monitor.Drain(ref collector).Overrun);
    }

    [Fact]
    public void Draining_can_be_limited()
    {
        var kernel = new FakeKernel();
        using var monitor = new NetlinkMonitor(kernel, []);
        kernel.Push([Learned, Learned, Learned]);
        var collector = default(Collector);
        Assert.Equal(new NetlinkDrain(2, Overrun: false, More: true), monitor.Drain(ref collector, 2));
        Assert.Equal(new NetlinkDrain(1, Overrun: false, More: false), monitor.Drain(ref collector, 2));
    }

    [Fact]
    public void Draining_does_not_allocate()
    {
        byte[] learned = Learned;
        var kernel = new FakeKernel();
        using var monitor = new NetlinkMonitor(kernel, []);
        var collector = default(Collector);
        kernel.Push(Enumerable.Repeat<Datagram>(learned, 1000));
        monitor.Drain(ref collector, 100);
        long before = GC.GetAllocatedBytesForCurrentThread();
        monitor.Drain(ref collector);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.Equal(1000, collector.Entries);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(NetlinkMonitor.MutedMax)]
    public void The_filter_drops_the_neighbours_of_muted_interfaces_only(int count)
    {
        int[] muted = [.. Enumerable.Range(0, count).Select(i => 0x01020304 + i * 257)];
        sock_filter[] program = Program(muted);
        foreach (ushort type in new ushort[] { 16, 17, 20, 28, 29, 30, 84, 0x1c00 })
        {
            bool isNeighbour = type is 28 or 29;
            foreach (int ifindex in muted)
                Assert.Equal(!isNeighbour, Accepts(program, Message(type, ifindex)));
            int swapped = BinaryPrimitives.ReverseEndianness(muted[0]);
            foreach (int ifindex in new[] { 0, 5, muted[0] - 1, muted[^1] + 1, swapped })
                Assert.True(Accepts(program, Message(type, ifindex)));
        }
    }

    [Fact]
    public void Muting_takes_a_real_notification()
    {
        byte[] learned = Learned;       // on ifindex 8
        Assert.False(Accepts(Program([8]), learned));
        Assert.True(Accepts(Program([6]), learned));
        Assert.True(Accepts(Program([4]), LinkChanged));    // of ifindex 4
    }

    [Fact]
    public void Muting_nothing_detaches()
    {
        var kernel = new FakeKernel { OptionResult = (_, option) => option == DetachFilter ? Errno.ENOENT : 0 };
        using var monitor = new NetlinkMonitor(kernel, []);
        monitor.MuteNeighbours([]);
        Assert.Equal((SolSocket, DetachFilter), (kernel.Options[^1].Level, kernel.Options[^1].Option));
        Assert.Throws<ArgumentOutOfRangeException>(() => monitor.MuteNeighbours(new int[NetlinkMonitor.MutedMax + 1]));
    }

    private static byte[] Message(ushort type, int ifindex)
    {
        var writer = new NetlinkWriter(new byte[64]);
        writer.Begin(type, 0);
        writer.Header(new ndmsg { ndm_family = 7, ndm_ifindex = ifindex });
        return writer.Written.ToArray();
    }

    // Takes the program out of the setsockopt call, where it is a pointer that is good for the call only.
    private static unsafe sock_filter[] Program(int[] muted)
    {
        var transport = new ProgramCatcher();
        using var monitor = new NetlinkMonitor(transport, []);
        monitor.MuteNeighbours(muted);
        return transport.Program;
    }

    private sealed unsafe class ProgramCatcher : INetlinkTransport
    {
        public sock_filter[] Program { get; private set; } = [];

        public int Fd => -1;

        public uint PortId => 0;

        public int Send(ReadOnlySpan<byte> messages) => 0;

        public int Receive(out ReadOnlySpan<byte> datagram)
        {
            datagram = default;
            return Errno.EAGAIN;
        }

        public int SetOption(int level, int option, ReadOnlySpan<byte> value)
        {
            if ((level, option) == (SolSocket, AttachFilter))
            {
                sock_fprog filter = MemoryMarshal.Read<sock_fprog>(value);
                Program = new ReadOnlySpan<sock_filter>(filter.filter, filter.len).ToArray();
            }
            return 0;
        }

        public void Dispose()
        {
        }
    }

    // The five instructions that the filter uses, as the kernel defines them: big-endian loads; a load past the end
    // drops.
    private static bool Accepts(sock_filter[] program, ReadOnlySpan<byte> packet)
    {
        uint accumulator = 0;
        for (int pc = 0; ; pc++)
        {
            sock_filter i = program[pc];
            int offset = (int)i.k;
            switch (i.code)
            {
                case BPF_LD | BPF_H | BPF_ABS when packet.Length >= offset + 2:
                    accumulator = BinaryPrimitives.ReadUInt16BigEndian(packet[offset..]);
                    break;
                case BPF_LD | BPF_W | BPF_ABS when packet.Length >= offset + 4:
                    accumulator = BinaryPrimitives.ReadUInt32BigEndian(packet[offset..]);
                    break;
                case BPF_JMP | BPF_JEQ | BPF_K:
                    pc += accumulator == i.k ? i.jt : i.jf;
                    break;
                case BPF_RET | BPF_K:
                    return i.k != 0;
                default:
                    return false;
            }
        }
    }
}
