// /proc/self/ns/net: see network_namespaces(7).
using System.Globalization;

namespace XenFastPath.Interop;

/// <summary>Which network namespace this process lives in.</summary>
public static class NetworkNamespace
{
    /// <summary>Its identity: the inode that the link "net:[4026531840]" names.</summary>
    public static ulong Inode { get; } = Read();

    private static ulong Read()
    {
        string target = new FileInfo("/proc/self/ns/net").LinkTarget ?? "net:[0]";
        return ulong.Parse(target.AsSpan(5, target.Length - 6), CultureInfo.InvariantCulture);
    }
}
