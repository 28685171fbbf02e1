// The repository's own files, as git lists them: tracked ones, and new ones that are not ignored.
using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace XenFastPath.Tests.Tidy;

/// <summary>A text file; <paramref name="Path"/> is relative to the repository's root.</summary>
internal sealed record TrackedFile(string Path, string Text)
{
    public string[] Lines { get; } = Text.Split('\n');

    public bool Is(params ReadOnlySpan<string> extensions) => extensions.Contains(System.IO.Path.GetExtension(Path));

    public bool IsIn(string folder) => Path.StartsWith(folder + "/", StringComparison.Ordinal);

    public override string ToString() => Path;
}

internal static class Tracked
{
    private static readonly Lazy<List<TrackedFile>?> s_files = new(Read);

    public static string Root { get; } = FindRoot();

    public static List<TrackedFile> Files
    {
        get
        {
            Assert.SkipWhen(s_files.Value is null, "git is not installed, or this is no clone");
            return s_files.Value!;
        }
    }

    /// <summary>What people write: no captures, no recorded bytes.</summary>
    public static IEnumerable<TrackedFile> Sources =>
        Files.Where(f => f.Is(".cs", ".c", ".h", ".py", ".sh", ".csproj", ".props", ".targets") || f.Path == ".ci/run");

    private static string FindRoot([CallerFilePath] string caller = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(caller)!, "../../.."));

    private static List<TrackedFile>? Read()
    {
        ProcessStartInfo start = new("git", ["-C", Root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        try
        {
            using Process git = Process.Start(start)!;
            Task<string> errors = git.StandardError.ReadToEndAsync();
            string[] paths = git.StandardOutput.ReadToEnd().Split('\0', StringSplitOptions.RemoveEmptyEntries);
            git.WaitForExit();
            _ = errors.Result;
            if (git.ExitCode != 0)
                return null;
            // A file that is removed but not committed yet is still listed.
            return [.. paths.Where(p => File.Exists(Path.Combine(Root, p))).Select(p => new TrackedFile(p, File.ReadAllText(Path.Combine(Root, p))))];
        }
        catch (Win32Exception)
        {
            return null;
        }
    }
}
