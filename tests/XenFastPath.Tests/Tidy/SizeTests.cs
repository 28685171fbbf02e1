// Long lines, files and functions. What is too long today is named with its size, and may only shrink.
using System.Text.RegularExpressions;

namespace XenFastPath.Tests.Tidy;

public sealed partial class SizeTests
{
    private const int LineMax = 160, FileMax = 400, FunctionMax = 70;

    /// <summary>Lines over the maximum, by file.</summary>
    private static readonly Dictionary<string, int> s_longLines = new()
    {
        ["bench/XenFastPath.Bench/NetlinkBench.cs"] = 1,
        ["src/XenFastPath.Daemon/Control/ApiHandler.Reports.cs"] = 1,
        ["src/XenFastPath.Daemon/Control/Diagnosis.cs"] = 2,
        ["src/XenFastPath.Daemon/Control/Views.cs"] = 2,
        ["src/XenFastPath.Daemon/FastPath/ForeignPrograms.cs"] = 1,
        ["src/XenFastPath.Daemon/Program.cs"] = 1,
        ["tests/XenFastPath.KernelTests/ComparisonTests.cs"] = 4,
        ["tests/XenFastPath.KernelTests/FailureTests.cs"] = 1,
        ["tests/XenFastPath.KernelTests/HostileTests.cs"] = 2,
        ["tests/XenFastPath.KernelTests/Lab/Lab.cs"] = 1,
        ["tests/XenFastPath.KernelTests/Lab/XdpProgram.cs"] = 1,
        ["tests/XenFastPath.KernelTests/LifecycleTests.cs"] = 2,
        ["tests/XenFastPath.KernelTests/PathTests.cs"] = 4,
        ["tests/XenFastPath.KernelTests/ProgramTests.cs"] = 3,
    };

    /// <summary>Lengths of functions over the maximum.</summary>
    private static readonly Dictionary<string, int> s_longFunctions = new()
    {
        ["tests/XenFastPath.KernelTests/ComparisonTests.cs: private static string Run(string body, string datapath)"] = 85,
        ["tests/XenFastPath.KernelTests/MoveTests.cs: public void Ten_thousand_moves_leave_no_mac_on_its_old_port()"] = 74,
    };

    [Fact]
    public void No_line_is_longer_than_160() =>
        AssertRatchet(s_longLines, Tracked.Sources.Select(f => (f.Path, Size: f.Lines.Count(l => l.Length > LineMax))).Where(f => f.Size > 0));

    [Fact]
    public void No_source_file_is_longer_than_400_lines() =>
        AssertRatchet([], Tracked.Sources.Where(f => f.IsIn("src")).Select(f => (f.Path, Size: f.Text.Count(c => c == '\n'))).Where(f => f.Size > FileMax));

    [Fact]
    public void No_function_is_longer_than_70_lines()
    {
        Assert.True(Tracked.Sources.SelectMany(Functions).Count() > 500, "the test does not see functions any more");
        AssertRatchet(s_longFunctions, Tracked.Sources.SelectMany(Functions).Where(f => f.Size > FunctionMax));
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

    /// <summary>Everything over the maximum is on the list and no longer than there; everything on the list is still over it.</summary>
    private static void AssertRatchet(Dictionary<string, int> allowed, IEnumerable<(string Name, int Size)> present)
    {
        Dictionary<string, int> sizes = present.ToDictionary();
        IEnumerable<KeyValuePair<string, int>> over = sizes.Where(s => s.Value > allowed.GetValueOrDefault(s.Key));
        Assert.Empty(over.Select(s => $"{s.Key}: {s.Value}, allowed {allowed.GetValueOrDefault(s.Key)}").Order());
        Assert.Empty(allowed.Keys.Except(sizes.Keys).Select(name => $"{name}: no longer too long, take it off the list"));
    }

    [GeneratedRegex(@"^\s*(?:\w+ )*(?:class|struct|interface|enum|record|namespace) ")]
    private static partial Regex Type();
}
