// No long lines, files or functions.
using System.Text.RegularExpressions;

namespace XenFastPath.Tests.Tidy;

public sealed partial class SizeTests
{
    private const int LineMax = 160, FileMax = 400, FunctionMax = 70;

    [Fact]
    public void No_line_is_longer_than_160() =>
        AssertAtMost(LineMax, Tracked.Sources.SelectMany(f => f.Lines.Select((line, i) => ($"{f.Path}:{i + 1}", line.Length))));

    [Fact]
    public void No_source_file_is_longer_than_400_lines() =>
        AssertAtMost(FileMax, Tracked.Sources.Where(f => f.IsIn("src")).Select(f => (f.Path, f.Text.Count(c => c == '\n'))));

    [Fact]
    public void No_function_is_longer_than_70_lines()
    {
        Assert.True(Tracked.Sources.SelectMany(Functions).Count() > 500, "the test does not see functions any more");
        AssertAtMost(FunctionMax, Tracked.Sources.SelectMany(Functions));
    }

    /// <summary>The test's own eyes: three functions, of which one is local to another and counts with it.</summary>
    [Fact]
    public void Functions_are_found_and_types_are_none()
    {
        const string source = """
            namespace A;

            public sealed class B(int c)
            {
                public int P
                {
                    get => 1;
                }

                private static void Two(
                    int argument)
                {
                    if (argument > 0)
                    {
                        void Local()
                        {
                        }
                    }
                }

                private struct Nested
                {
                    public void Three() => Run(x =>
                    {
                        x();
                    });
                }
            }
            """;
        Assert.Equal([("b.cs: public int P", 4), ("b.cs: private static void Two(", 10), ("b.cs: public void Three() => Run(x =>", 4)],
            Functions(new TrackedFile("b.cs", source)));
    }

    /// <summary>
    /// Every outermost block that is no type, with its head. Relies on the layout that the build enforces: a brace on a line of
    /// its own, its partner in the same column.
    /// </summary>
    private static List<(string Name, int Size)> Functions(TrackedFile file)
    {
        List<(string, int)> found = [];
        string[] lines = file.Lines;
        for (int open = 1; open < lines.Length; open++)
        {
            string indent = Indent(lines[open]);
            if (!file.Is(".cs", ".c") || lines[open] != indent + "{")
                continue;
            int head = open - 1;
            while (head > 0 && Indent(lines[head]).Length > indent.Length)
                head--;
            int close = Array.FindIndex(lines, open, l => l.StartsWith(indent + "}", StringComparison.Ordinal));
            if (close < 0 || Type().IsMatch(string.Join(' ', lines[head..open])))
                continue;
            found.Add(($"{file.Path}: {lines[head].Trim()}", close - head + 1));
            open = close;
        }

        return found;
    }

    private static string Indent(string line) => line[..^line.TrimStart().Length];

    private static void AssertAtMost(int max, IEnumerable<(string Name, int Size)> present) =>
        Assert.Empty(present.Where(p => p.Size > max).Select(p => $"{p.Name}: {p.Size}, allowed {max}").Order());

    [GeneratedRegex(@"^\s*(?:\w+ )*(?:class|struct|interface|enum|record|namespace) ")]
    private static partial Regex Type();
}
