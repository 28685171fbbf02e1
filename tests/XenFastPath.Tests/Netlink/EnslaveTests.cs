// A port comes into its bridge with one request, and a refusal of it is a value: the caller goes the longer way.
using XenFastPath.Interop;
using XenFastPath.Netlink;
using static XenFastPath.Interop.IfLink;
using static XenFastPath.Interop.Netlink;
using static XenFastPath.Interop.RtNetlink;

namespace XenFastPath.Tests.Netlink;

public sealed class EnslaveTests
{
    [Fact]
    public void One_request_names_master_and_address_mode()
    {
        byte[] request = FakeKernel.CaptureRtnl(r => Assert.True(r.TryEnslaveWithoutLinkLocal(7, 9)));
        Assert.True(NetlinkMessage.TryRead(request, out NetlinkMessage message));
        Assert.Equal(RTM_NEWLINK, message.Type);
        Assert.Equal(0, message.Flags & NLM_F_CREATE);
        Assert.True(message.TryReadHeader(out ifinfomsg header, out NetlinkAttributes attributes));
        Assert.Equal((7, 9), (header.ifi_index, attributes.Find(IFLA_MASTER).S32));
        NetlinkAttribute mode = attributes.Find(IFLA_AF_SPEC).Nested.Find(AF_INET6).Nested.Find(IFLA_INET6_ADDR_GEN_MODE);
        Assert.Equal(IN6_ADDR_GEN_MODE_NONE, mode.U8);
    }

    [Fact]
    public void To_settle_a_carrier_one_link_is_asked_for_and_no_counters()
    {
        byte[] request = FakeKernel.CaptureRtnl(r => r.SettleCarrier(7));
        Assert.True(NetlinkMessage.TryRead(request, out NetlinkMessage message));
        Assert.Equal((RTM_GETLINK, NLM_F_REQUEST | NLM_F_ACK), (message.Type, message.Flags));     // a dump would not do it
        Assert.True(message.TryReadHeader(out ifinfomsg header, out NetlinkAttributes attributes));
        Assert.Equal((7, RTEXT_FILTER_SKIP_STATS), (header.ifi_index, attributes.Find(IFLA_EXT_MASK).U32));
    }

    [Theory]
    [InlineData(Errno.EAFNOSUPPORT)]
    [InlineData(Errno.ENODEV)]
    public void A_refusal_is_a_value(int errno)
    {
        using var rtnl = new Rtnl(new NetlinkSocket(new FakeKernel(request => [FakeKernel.Ack(request, errno)])));
        Assert.False(rtnl.TryEnslaveWithoutLinkLocal(7, 9));
    }
}
