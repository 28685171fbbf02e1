// Every method with its exact bytes: "> " lines of golden/METHOD.txt are sent, "< " lines are what must come back.
using System.Text;
using XenFastPath.Api;

namespace XenFastPath.Tests.Api;

public sealed class GoldenTests
{
    public static TheoryData<string> Methods => [.. MethodTable.ByName.Keys.Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Methods))]
    [InlineData("envelope")]
    [InlineData("params")]
    public async Task Answers_as_written(string name)
    {
        await using var server = new TestServer();
        using RawClient client = server.Connect();
        string path = Golden.File($"{name}.txt");
        var actual = new StringBuilder();
        foreach (string line in await System.IO.File.ReadAllLinesAsync(path))
        {
            if (line.StartsWith("> ", StringComparison.Ordinal))
            {
                actual.Append(line).Append("\n< ").Append(await client.AskAsync(line[2..])).Append('\n');
            }
        }
        Assert.NotEqual(0, actual.Length);
        Golden.Check(path, actual.ToString());
    }
}
