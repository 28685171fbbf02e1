// Requests, answers and failures against a kernel that is one function.
using XenFastPath.Netlink;
using static XenFastPath.Interop.Netlink;
using Errno = XenFastPath.Interop.Errno;

namespace XenFastPath.Tests.Netlink;

public sealed class SocketTests
{
    private const ushort Question = 100, Answer = 101;

    private static byte[] Request(ushort flags = 0)
    {
        var writer = new NetlinkWriter(new byte[64]);
        writer.Begin(Question, flags);
        writer.U32(1, 7);
        return writer.Written.ToArray();
    }

    private static byte[] Part(byte[] request, byte value, ushort flags = NLM_F_MULTI) =>
        FakeKernel.Reply(request, Answer, [value, 0, 0, 0], flags);

    private static bool Decode(NetlinkMessage message, out byte value)
    {
        value = message.Payload.Length > 0 ? message.Payload[0] : (byte)0;
        return message.Type == Answer;
    }

    private static List<byte> Dump(FakeKernel kernel)
    {
        using var socket = new NetlinkSocket(kernel);
        return socket.Dump<byte>(Request(), Decode, "dump things");
    }

    [Fact]
    public void A_request_is_stamped_and_acknowledged()
    {
        var kernel = new FakeKernel();
        using var socket = new NetlinkSocket(kernel);
        socket.Execute(Request(NLM_F_CREATE), "make", "it");
        socket.Execute(Request(), "make", "it");
        Assert.Equal([1u, 2u], kernel.Requests.Select(r => FakeKernel.Header(r).nlmsg_seq));
        Assert.Equal(NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE, FakeKernel.Header(kernel.Requests[0]).nlmsg_flags);
        Assert.Equal(0u, FakeKernel.Header(kernel.Requests[0]).nlmsg_pid);
    }

    [Fact]
    public void The_socket_asks_for_extended_acks_and_strict_checks_and_lives_without()
    {
        var kernel = new FakeKernel { OptionResult = (_, _) => Errno.EINVAL };
        using var socket = new NetlinkSocket(kernel);
        Assert.Superset(
            new HashSet<(int, int)> { (270, NETLINK_EXT_ACK), (270, NETLINK_CAP_ACK), (270, NETLINK_GET_STRICT_CHK) },
            kernel.Options.Select(o => (o.Level, o.Option)).ToHashSet());
        socket.Execute(Request(), "make", "it");
    }

    [Fact]
    public void A_refusal_reads_operation_object_errno_and_the_kernels_words()
    {
        var kernel = new FakeKernel(request =>
            [FakeKernel.Ack(request, Errno.EBUSY, "Device is already a bridge port")]);
        using var socket = new NetlinkSocket(kernel);
        NetlinkException e =
            Assert.Throws<NetlinkException>(() => socket.Execute(Request(), "set master of", "vif1.0"));
        Assert.Equal(
            "set master of vif1.0: EBUSY (Device or resource busy): Device is already a bridge port", e.Message);
        Assert.Equal((Errno.EBUSY, "set master of", "vif1.0"), (e.Errno, e.Operation, e.ObjectName));
        Assert.Equal("Device is already a bridge port", e.Error.Text);
    }

    [Fact]
    public void A_refusal_tells_where_in_the_request()
    {
        var kernel = new FakeKernel(request =>
            [FakeKernel.Ack(request, Errno.ERANGE, "Attribute failed policy validation", 32)]);
        using var socket = new NetlinkSocket(kernel);
        NetlinkException e = Assert.Throws<NetlinkException>(() => socket.Execute(Request(), "change", "x"));
        Assert.Equal(32, e.Error.Offset);
        Assert.EndsWith(
            ": Attribute failed policy validation (at byte 32 of the request)", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("err-mtu", 22, "mtu greater than device maximum", null)]
    [InlineData("err-create-bond", 95, "Unknown device type", "modprobe bonding")]
    [InlineData("err-create-vlan", 95, "Unknown device type", "modprobe 8021q")]
    [InlineData("err-master", 95, null, null)]
    [InlineData("err-capped", 34, "Attribute failed policy validation", null)]
    [InlineData("err-fdb-del", 2, null, null)]
    public void Refusals_of_a_real_kernel(string golden, int errno, string? text, string? hint)
    {
        byte[] reply = Golden.Load(golden).Replies[0];
        using var socket = new NetlinkSocket(new FakeKernel(request => [FakeKernel.Replay(request, reply)]));
        NetlinkException e = Assert.Throws<NetlinkException>(() => socket.Execute(Request(), "try", "it"));
        Assert.Equal((errno, text), (e.Errno, e.Error.Text));
        Assert.Equal(hint, e.ModuleHint(golden.Contains("bond", StringComparison.Ordinal) ? "bond" : "vlan"));
    }

    [Fact]
    public void The_offset_is_found_behind_a_capped_request()
    {
        NetlinkMessage.TryRead(Golden.Load("err-capped").Replies[0], out NetlinkMessage message);
        Assert.Equal(
            new NetlinkError(Errno.ERANGE, "Attribute failed policy validation", Offset: 32),
            NetlinkError.Read(message));
    }

    [Fact]
    public void Modules_by_kind()
    {
        static string? Hint(string kind, int errno, string? text) =>
            new NetlinkException("create", "x", errno, text).ModuleHint(kind);
        Assert.Equal("modprobe bridge", Hint("bridge", Errno.EOPNOTSUPP, "Unknown device type"));
        Assert.Equal("modprobe vxlan", Hint("vxlan", Errno.EOPNOTSUPP, "Unknown device type"));
        Assert.Equal("modprobe tun", Hint("tap", Errno.ENOENT, null));
        Assert.Null(Hint("bridge", Errno.EOPNOTSUPP, null));    // a bridge without VLAN filtering says just this
        Assert.Null(Hint("bridge", Errno.ENOENT, null));
    }

    [Fact]
    public void Failures_name_the_link_though_they_have_its_index()
    {
        byte[] link = Golden.Load("get-link").Replies[0];
        var kernel = new FakeKernel(request => FakeKernel.Header(request).nlmsg_type == 18
            ? [FakeKernel.Replay(request, link), FakeKernel.Ack(request)]
            : [FakeKernel.Ack(request, Errno.EPERM)]);
        using var rtnl = new Rtnl(new NetlinkSocket(kernel));
        NetlinkException e = Assert.Throws<NetlinkException>(() => rtnl.SetMtu(5, 9000));
        Assert.Equal("set mtu 9000 of va: EPERM (Operation not permitted)", e.Message);
        var empty = new FakeKernel(request => [FakeKernel.Ack(request, Errno.ENODEV)]);
        using var blind = new Rtnl(new NetlinkSocket(empty));
        e = Assert.Throws<NetlinkException>(() => blind.DeleteLink(9));
        Assert.Equal("delete ifindex 9: ENODEV (No such device)", e.Message);
    }

    [Fact]
    public void A_dump_comes_in_parts()
    {
        byte[] values = [1, 2, 3];
        var kernel = new FakeKernel(request =>
            [(byte[])[.. Part(request, 1), .. Part(request, 2)], Part(request, 3), FakeKernel.Done(request)]);
        Assert.Equal(values, Dump(kernel));
        Assert.Equal(NLM_F_REQUEST | NLM_F_DUMP, FakeKernel.Header(kernel.Requests[0]).nlmsg_flags);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void An_interrupted_dump_starts_again(bool onlyTheEndSaysSo)
    {
        int attempt = 0;
        var kernel = new FakeKernel(request =>
        {
            ushort flag = ++attempt < 3 ? NLM_F_DUMP_INTR : (ushort)0;
            ushort partFlag = onlyTheEndSaysSo ? (ushort)0 : flag;
            return [Part(request, 7, (ushort)(NLM_F_MULTI | partFlag)), FakeKernel.Done(request, flag)];
        });
        Assert.Equal([7], Dump(kernel));
        Assert.Equal([1u, 2u, 3u], kernel.Requests.Select(r => FakeKernel.Header(r).nlmsg_seq));
    }

    [Fact]
    public void A_dump_interrupted_without_end_gives_up()
    {
        var kernel = new FakeKernel(request => [Part(request, 7), FakeKernel.Done(request, NLM_F_DUMP_INTR)]);
        NetlinkException e = Assert.Throws<NetlinkException>(() => Dump(kernel));
        Assert.Equal(NetlinkSocket.DumpAttemptsMax, kernel.Requests.Count);
        Assert.Contains("interrupted by changes 10 times", e.Message, StringComparison.Ordinal);
        Assert.Equal(Errno.EINTR, e.Errno);
    }

    [Fact]
    public void A_dump_may_fail_at_its_start_or_at_its_end()
    {
        var refusing = new FakeKernel(r => [FakeKernel.Ack(r, Errno.EPERM)]);
        NetlinkException start = Assert.Throws<NetlinkException>(() => Dump(refusing));
        Assert.Equal("dump things: EPERM (Operation not permitted)", start.Message);
        var kernel = new FakeKernel(r => [Part(r, 1), FakeKernel.Done(r, errno: Errno.ENOMEM)]);
        Assert.Equal(Errno.ENOMEM, Assert.Throws<NetlinkException>(() => Dump(kernel)).Errno);
    }

    [Fact]
    public void Answers_to_somebody_or_something_else_are_ignored()
    {
        var kernel = new FakeKernel(request =>
        [
            FakeKernel.Reply(request, Answer, [1, 0, 0, 0], sequence: FakeKernel.Header(request).nlmsg_seq - 1),
            FakeKernel.Reply(request, Answer, [2, 0, 0, 0], port: 1),
            FakeKernel.Reply(request, NLMSG_ERROR, new byte[20], sequence: 99),
            FakeKernel.Reply(request, NLMSG_NOOP, []),
            Part(request, 3),
            FakeKernel.Done(request),
        ]);
        Assert.Equal([3], Dump(kernel));
    }

    [Fact]
    public void A_lost_answer_is_a_timeout()
    {
        using var socket = new NetlinkSocket(new FakeKernel(_ => []));
        NetlinkException e = Assert.Throws<NetlinkException>(() => socket.Execute(Request(), "make", "it"));
        Assert.Equal(Errno.ETIMEDOUT, e.Errno);
    }

    [Fact]
    public void An_overrun_is_an_error()
    {
        var kernel = new FakeKernel(request => [Part(request, 1), Datagram.Failure(Errno.ENOBUFS)]);
        Assert.Equal(Errno.ENOBUFS, Assert.Throws<NetlinkException>(() => Dump(kernel)).Errno);
    }

    [Fact]
    public void A_datagram_too_long_for_the_buffer_starts_the_dump_again()
    {
        const int MessageTooLong = 90;
        int attempt = 0;
        var kernel = new FakeKernel(request => ++attempt == 1
            ? [Part(request, 1), Datagram.Failure(MessageTooLong), FakeKernel.Done(request)]
            : [Part(request, 1), Part(request, 2), FakeKernel.Done(request)]);
        byte[] values = [1, 2];
        Assert.Equal(values, Dump(kernel));
    }

    [Fact]
    public void A_truncated_datagram_is_an_error()
    {
        var kernel = new FakeKernel(request => [Part(request, 1)[..^2], FakeKernel.Done(request)]);
        NetlinkException e = Assert.Throws<NetlinkException>(() => Dump(kernel));
        Assert.Contains("truncated or malformed", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Threads_take_turns()
    {
        var kernel = new FakeKernel(request => [Part(request, request[16]), FakeKernel.Done(request)]);
        using var socket = new NetlinkSocket(kernel);
        await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(() =>
        {
            for (int i = 0; i < 200; i++)
                Assert.Single(socket.Dump<byte>(Request(), Decode, "dump things"));
        })));
    }
}
