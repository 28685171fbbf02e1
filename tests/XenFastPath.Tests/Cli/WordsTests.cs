using XenFastPath.Cli;

namespace XenFastPath.Tests.Cli;

public sealed class WordsTests
{
    [Theory]
    [InlineData(0, "0")]
    [InlineData(0.4, "0")]
    [InlineData(7, "7")]
    [InlineData(999, "999")]
    [InlineData(999.96, "1.00k")]
    [InlineData(1000, "1.00k")]
    [InlineData(9994, "9.99k")]
    [InlineData(9996, "10.0k")]
    [InlineData(12_345, "12.3k")]
    [InlineData(99_960, "100k")]
    [InlineData(810_000, "810k")]
    [InlineData(999_960, "1.00M")]
    [InlineData(14_880_952, "14.9M")]
    [InlineData(9.2e18, "9.20E")]
    [InlineData(9e21, "9000E")]
    public void Count_has_three_digits(double value, string expected) => Assert.Equal(expected, Words.Count(value));

    [Theory]
    [InlineData(null, "-")]
    [InlineData(0.04, "0.0 s")]
    [InlineData(9.94, "9.9 s")]
    [InlineData(119.4, "119 s")]
    [InlineData(126.0, "2 min")]
    [InlineData(90_000.0, "25 h")]
    public void Seconds_are_as_coarse_as_their_size(double? seconds, string expected) =>
        Assert.Equal(expected, Words.Seconds(seconds));

    [Theory]
    [InlineData(null, "-")]
    [InlineData(100L, "100 Mb/s")]
    [InlineData(1000L, "1 Gb/s")]
    [InlineData(2500L, "2.5 Gb/s")]
    [InlineData(400_000L, "400 Gb/s")]
    public void Speed_is_as_on_the_box(long? mbps, string expected) => Assert.Equal(expected, Words.Speed(mbps));

    [Fact]
    public void Columns_align_whatever_the_names()
    {
        using var output = new StringWriter();
        var table = new Table("NAME", ">N", "LAST");
        table.Add("Süd", "1", "x");
        table.Add("\e[31mevil\n", "12345", null);
        table.Add("日本", "", "");
        table.Write(new Terminal(output, output));
        const string expected = "NAME            N  LAST\nSüd             1  x\n?[31mevil?  12345  -\n日本\n";
        Assert.Equal(expected, output.ToString());
    }
}
