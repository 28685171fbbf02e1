// /proc/self/ns/net: see network_namespaces(7).
using System.Globalization;

namespace XenFastPath.Interop;

/// <summary>Which network namespace this process lives in.</summary>
public static class NetworkNamespace
{
    /// <summary>Its identity: the inode that the link "net:[4026531840]" names.</summary>
    public static ulong Inode { get; } = Read("/proc/self/ns/net");

    /// <summary>The calling thread's, which may have gone into another one (setns(2)).</summary>
    public static ulong OfThread() => Read("/proc/thread-self/ns/net");

    private static ulong Read(string link)
    {
        string target = new FileInfo(link).LinkTarget ?? "net:[0]";
        return ulong.Parse(target.AsSpan(5, target.Length - 6), CultureInfo.InvariantCulture);
    }
}
