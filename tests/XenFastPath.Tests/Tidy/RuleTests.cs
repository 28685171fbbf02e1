// Rules of the repository that no compiler checks.
using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace XenFastPath.Tests.Tidy;

public sealed partial class RuleTests
{
    /// <summary>Where src may wait for time to pass, and why.</summary>
    private static readonly Dictionary<string, string> s_waits = new()
    {
        ["src/XenFastPath.Api/ApiServer.cs"] = "accept() out of descriptors: nothing wakes it when there are some again",
        ["src/XenFastPath.Cli/Terminal.cs"] = "the interval of stats --watch",
        ["src/XenFastPath.Daemon/FastPath/Reaper.cs"] = "kernels that refuse membarrier",
        ["src/XenFastPath.Reconcile/HostMover.cs"] = "the carrier of a bridge that has got its first port; at most a second",
    };

    /// <summary>The table "Parts" of the design: what each project may use.</summary>
    private static readonly Dictionary<string, string[]> s_references = new()
    {
        ["Interop"] = [],
        ["Netlink"] = ["Interop"],
        ["Model"] = [],
        ["Reconcile"] = ["Model", "Netlink"],
        ["Dataplane"] = ["Interop"],
        ["Api"] = ["Model"],
        ["Daemon"] = ["Api", "Dataplane", "Reconcile"],
        ["Forwarder"] = ["Dataplane"],
        ["Cli"] = ["Api"],
    };

    [Fact]
    public void Nothing_is_left_to_be_done()
    {
        // In pieces, so that a search for these words does not find this file.
        string[] marks = ["TO" + "DO", "FIX" + "ME", "HA" + "CK", "XX" + "X", "NotImplemented" + "Exception"];
        Regex mark = new($@"\b(?:{string.Join('|', marks)})\b");
        AssertNowhere(Tracked.Sources.Concat(Tracked.Files.Where(f => f.Is(".md"))), mark);
    }

    [Fact]
    public void Only_named_places_wait_for_time_to_pass()
    {
        IEnumerable<string> waiting = SourcesOf("src").Where(f => Wait().IsMatch(f.Text)).Select(f => f.Path);
        Assert.Equal(s_waits.Keys.Order(), waiting.Order());
    }

    [Fact]
    public void Native_functions_are_declared_in_interop_only() =>
        AssertNowhere(SourcesOf("src").Where(f => !f.IsIn("src/XenFastPath.Interop")), NativeImport());

    [Fact]
    public void The_data_path_knows_no_json_no_console_and_no_tasks() =>
        AssertNowhere(SourcesOf("src/XenFastPath.Dataplane"), Managed());

    [Fact]
    public void Projects_refer_to_each_other_as_designed()
    {
        Dictionary<string, string[]> actual = Tracked.Files.Where(f => f.IsIn("src") && f.Is(".csproj")).ToDictionary(f => Short(f.Path), References);
        Assert.Equal(s_references.Select(Line).Order(), actual.Select(Line).Order());

        static string[] References(TrackedFile project) =>
            [.. XDocument.Parse(project.Text).Descendants("ProjectReference").Select(r => Short(r.Attribute("Include")!.Value)).Order()];
        static string Short(string path) => Path.GetFileNameWithoutExtension(path).Replace("XenFastPath.", "", StringComparison.Ordinal);
        static string Line(KeyValuePair<string, string[]> project) => $"{project.Key} -> {string.Join(", ", project.Value)}";
    }

    [Fact]
    public void A_markdown_file_has_one_title() =>
        Assert.All(Tracked.Files.Where(f => f.Is(".md")), f => Assert.Single(Title().Matches(CodeBlock().Replace(f.Text, ""))));

    [Fact]
    public void No_file_knows_the_machine_it_was_written_on()
    {
        // A clone in /tmp or right in /home has a parent that any file may name.
        string[] common = ["/", "/tmp", "/home", "/opt", "/srv", "/usr/src", "/var/tmp", "/mnt"];
        string home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        string[] folders = [.. new[] { Tracked.Root, Path.GetDirectoryName(Tracked.Root) ?? "/", home }.Where(f => f.Length > 1 && !common.Contains(f))];
        AssertNowhere(Tracked.Files, new Regex($@"(?<![\w.-])(?:{string.Join('|', folders.Select(Regex.Escape))})(?![\w.-])"));
    }

    /// <summary>What a build makes must not be taken for a source.</summary>
    [Fact]
    public void No_build_output_is_tracked() =>
        Assert.DoesNotContain(Tracked.Files, f => f.Is(".o", ".so", ".a", ".dll", ".exe", ".pdb", ".nupkg"));

    private static IEnumerable<TrackedFile> SourcesOf(string folder) => Tracked.Sources.Where(f => f.IsIn(folder) && f.Is(".cs"));

    private static void AssertNowhere(IEnumerable<TrackedFile> files, Regex forbidden)
    {
        List<string> found = [];
        foreach (TrackedFile file in files)
        {
            for (int i = 0; i < file.Lines.Length; i++)
            {
                if (forbidden.IsMatch(file.Lines[i]))
                    found.Add($"{file.Path}:{i + 1}: {file.Lines[i].Trim()}");
            }
        }

        Assert.Empty(found);
    }

    [GeneratedRegex(@"\b(?:Thread\.Sleep|Task\.Delay|SpinWait|PeriodicTimer)\b")]
    private static partial Regex Wait();

    [GeneratedRegex(@"\[\s*(?:DllImport|LibraryImport)\b")]
    private static partial Regex NativeImport();

    [GeneratedRegex(@"System\.Text\.Json|\bConsole\.|\bTask\b|\basync\b|\bILogger\b")]
    private static partial Regex Managed();

    [GeneratedRegex(@"^# ", RegexOptions.Multiline)]
    private static partial Regex Title();

    [GeneratedRegex(@"^```.*?^```", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex CodeBlock();
}
