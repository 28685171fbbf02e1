using XenFastPath.Netlink;

namespace XenFastPath.Tests.Netlink;

public sealed class MacAddressTests
{
    [Theory]
    [InlineData("52:54:00:ab:cd:ef", 0x525400abcdefu, "52:54:00:ab:cd:ef")]
    [InlineData("52-54-00-AB-CD-EF", 0x525400abcdefu, "52:54:00:ab:cd:ef")]
    [InlineData("00:00:00:00:00:00", 0u, "00:00:00:00:00:00")]
    [InlineData("ff:ff:ff:ff:ff:ff", 0xffffffffffffu, "ff:ff:ff:ff:ff:ff")]
    public void Parse_and_print(string text, ulong value, string printed)
    {
        Assert.Equal(value, MacAddress.Parse(text).Value);
        Assert.Equal(printed, new MacAddress(value).ToString());
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("52:54:00:ab:cd")]
    [InlineData("52:54:00:ab:cd:ef:01")]
    [InlineData("52:54-00:ab:cd:ef")]
    [InlineData("52.54.00.ab.cd.ef")]
    [InlineData("5 :54:00:ab:cd:ef")]
    [InlineData("-2:54:00:ab:cd:ef")]
    [InlineData("g2:54:00:ab:cd:ef")]
    public void Nonsense_is_refused(string? text) => Assert.False(MacAddress.TryParse(text, out _));

    [Fact]
    public void Nonsense_throws_what_it_was()
    {
        FormatException e = Assert.Throws<FormatException>(() => MacAddress.Parse("vif"));
        Assert.Equal("'vif' is not a MAC address.", e.Message);
    }

    [Fact]
    public void Bytes_go_in_and_out()
    {
        var bytes = new byte[6];
        MacAddress.Parse("01:02:03:04:05:06").CopyTo(bytes);
        Assert.Equal([1, 2, 3, 4, 5, 6], bytes);
        Assert.Equal(0x010203040506ul, MacAddress.Read(bytes).Value);
    }

    [Theory]
    [InlineData("00:00:00:00:00:00", true, false, false, false)]
    [InlineData("01:00:5e:00:00:01", false, true, false, false)]
    [InlineData("ff:ff:ff:ff:ff:ff", false, true, true, true)]
    [InlineData("fe:ff:ff:ff:ff:ff", false, false, false, true)]
    [InlineData("00:16:3e:00:00:01", false, false, false, false)]
    public void Kinds(string text, bool zero, bool multicast, bool broadcast, bool local)
    {
        MacAddress mac = MacAddress.Parse(text);
        Assert.Equal(
            (zero, multicast, broadcast, local),
            (mac.IsZero, mac.IsMulticast, mac.IsBroadcast, mac.IsLocallyAdministered));
    }
}
