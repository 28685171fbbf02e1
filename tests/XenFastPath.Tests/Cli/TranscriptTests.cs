using XenFastPath.Tests.Api;

namespace XenFastPath.Tests.Cli;

public sealed class TranscriptTests
{
    [Theory]
    [InlineData("network")]
    [InlineData("pif")]
    [InlineData("vlan")]
    [InlineData("bond")]
    [InlineData("vif")]
    [InlineData("show")]
    [InlineData("state")]
    [InlineData("declare")]
    [InlineData("stats")]
    [InlineData("json")]
    [InlineData("brctl")]
    [InlineData("usage")]
    [InlineData("help")]
    public async Task Prints_as_written(string name)
    {
        string path = Golden.File($"{name}.txt");
        string actual = await Transcript.ReplayAsync(await File.ReadAllLinesAsync(path));
        Assert.NotEqual("", actual);
        Golden.Check(path, actual);
    }
}
