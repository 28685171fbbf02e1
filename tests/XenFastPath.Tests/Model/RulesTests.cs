// Names and numbers: what is acceptable, and that each refusal says what and why.
using System.Text;
using XenFastPath.Model;

namespace XenFastPath.Tests.Model;

public sealed class RulesTests
{
    public static TheoryData<string, string, string> BadLabels => new()
    {
        { "", "network", "empty" },
        { " ", "network", "blanks" },
        { "\t\n", "network", "blanks" },
        { " a", "a", "blanks" },
        { "a ", "a", "blanks" },
        { "a\nb", "a?b", "control characters" },
        { "\e[31mred", "?[31mred", "control characters" },
        { new string('x', 65), "xxxxxxxxxxxxxxxx...", "65 characters; at most 64" },
    };

    [Theory]
    [MemberData(nameof(BadLabels))]
    public void A_bad_label_is_refused(string label, string subject, string reason) =>
        Refusal.Of(() => Rules.CheckLabel(label), subject, reason);

    [Theory]
    [InlineData("a")]
    [InlineData("Network 0 (eth0)")]
    [InlineData("日本")]
    [InlineData("vif1.0")]
    public void A_label_is_free_text(string label) => Rules.CheckLabel(label);

    [Fact]
    public void A_label_of_64_characters_fits() => Rules.CheckLabel(new string('x', 64));

    [Theory]
    [InlineData("", "bridge", "not a device name")]
    [InlineData(".", ".", "not a device name")]
    [InlineData("..", "..", "not a device name")]
    [InlineData("a/b", "a/b", "slash")]
    [InlineData("a:b", "a:b", "colon")]
    [InlineData("a b", "a b", "blanks")]
    [InlineData("a\u00a0b", "a\u00a0b", "blanks")]
    [InlineData("sixteen-bytes-xx", "sixteen-bytes-xx", "16 bytes")]
    [InlineData("ünfzehn-bytesx", "ünfzehn-bytesx", null)]
    [InlineData("ünfzehn-bytesxx", "ünfzehn-bytesxx", "16 bytes")]
    [InlineData("br%d", "br%d", "per cent")]            // the kernel would make br0 of it
    [InlineData("vif1.0", "vif1.0", "begin with vif")]
    [InlineData("tap0", "tap0", "begin with tap")]
    [InlineData("eth0", "eth0", "begin with eth")]
    [InlineData("xenbr0", "xenbr0", null)]
    [InlineData("...", "...", null)]
    [InlineData("VIF1", "VIF1", null)]
    public void Bridge_names(string name, string subject, string? reason)
    {
        if (reason is null)
            Rules.CheckBridgeName(name);
        else
            Refusal.Of(() => Rules.CheckBridgeName(name), subject, reason);
    }

    [Theory]
    [InlineData(67, false)]
    [InlineData(68, true)]
    [InlineData(65535, true)]
    [InlineData(65536, false)]
    [InlineData(-1, false)]
    [InlineData(int.MinValue, false)]
    public void Mtu(int mtu, bool isAccepted)
    {
        if (isAccepted)
            Rules.CheckMtu("net", mtu);
        else
            Refusal.Of(() => Rules.CheckMtu("net", mtu), "net", $"MTU {mtu} is out of range 68..65535");
    }

    [Theory]
    [InlineData("00:16:3e:00:00:01", null)]
    [InlineData("FE:FF:FF:FF:FF:FF", null)]
    [InlineData("", "is not a MAC address")]
    [InlineData("00:16:3e:00:00", "is not a MAC address")]
    [InlineData("00:16:3e:00:00:01:02", "is not a MAC address")]
    [InlineData("00-16-3e-00-00-01", "is not a MAC address")]
    [InlineData("00:16:3e:00:00:1", "is not a MAC address")]
    [InlineData("00:16:3e:00:00:0g", "is not a MAC address")]
    [InlineData("00:16:3e:00:00:+1", "is not a MAC address")]
    [InlineData("00:00:00:00:00:00", "group or zero")]
    [InlineData("01:16:3e:00:00:01", "group or zero")]
    [InlineData("ff:ff:ff:ff:ff:ff", "group or zero")]
    public void Mac(string mac, string? reason)
    {
        if (reason is null)
        {
            Rules.CheckMac("vif1.0", mac);
            return;
        }

        Refusal.Of(() => Rules.CheckMac("vif1.0", mac), "vif1.0", reason);
        Refusal.Of(() => Rules.CheckMac("vif1.0", mac), "vif1.0", mac);
    }

    [Fact]
    public void A_datapath_has_a_word_both_ways()
    {
        foreach (Datapath datapath in Enum.GetValues<Datapath>())
        {
            Assert.Equal(datapath.ToString().ToLowerInvariant(), Rules.Word(datapath));
            Assert.Equal(datapath, Rules.ParseDatapath("net", Rules.Word(datapath)));
        }

        Refusal.Of(() => Rules.ParseDatapath("net", "Auto"), "net", "\"Auto\" is none of auto, afxdp, redirect, bridge");
    }

    [Theory]
    [InlineData("lan", "lan")]
    [InlineData("xenbr-1.2_x", "xenbr-1.2_x")]
    [InlineData("fifteen-bytes-x", "fifteen-bytes-x")]
    [InlineData("sixteen-bytes-xx", "xapi2")]
    [InlineData("with blank", "xapi2")]
    [InlineData("日本", "xapi2")]
    [InlineData("vif1.0", "xapi2")]
    [InlineData("eth0", "xapi2")]
    [InlineData("br%d", "xapi2")]
    [InlineData(".", "xapi2")]
    public void The_bridge_of_a_network_without_one(string label, string bridge) =>
        Assert.Equal(bridge, Rules.BridgeFor(label, name => name is "xapi0" or "xapi1"));

    [Fact]
    public void Whatever_the_label_the_bridge_made_of_it_is_acceptable()
    {
        Random random = new(1);
        const string letters = "abvifethtap019._-%/: \té日";
        for (int i = 0; i < 5000; i++)
        {
            string label = string.Concat(Enumerable.Range(0, random.Next(1, 20)).Select(_ => letters[random.Next(letters.Length)]));
            string bridge = Rules.BridgeFor(label, _ => false);
            Rules.CheckBridgeName(bridge);
            Assert.True(bridge == label || bridge == "xapi0", $"{label} -> {bridge}");
            Assert.InRange(Encoding.UTF8.GetByteCount(bridge), 1, 15);
        }
    }
}
