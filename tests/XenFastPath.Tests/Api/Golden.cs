// Expected text lives in files beside the tests. XFP_UPDATE_GOLDEN=1 writes them anew; see git diff then.
using System.Runtime.CompilerServices;

namespace XenFastPath.Tests.Api;

internal static class Golden
{
    public static bool Updating { get; } = Environment.GetEnvironmentVariable("XFP_UPDATE_GOLDEN") == "1";

    /// <summary>The path of <c>golden/name</c> beside the test's source file.</summary>
    public static string File(string name, [CallerFilePath] string caller = "") =>
        Path.Combine(Path.GetDirectoryName(caller)!, "golden", name);

    /// <summary>Compares text with the file.</summary>
    public static void Check(string path, string actual)
    {
        if (Updating)
        {
            System.IO.File.WriteAllText(path, actual);
        }
        Assert.Equal(System.IO.File.ReadAllText(path), actual);
    }
}
