// What PIFs and VIFs have in common: a path and counters, and devices to complete with.
using XenFastPath.Api;

namespace XenFastPath.Cli;

internal static class PortText
{
    /// <summary>"afxdp native/copy ×2", "redirect native/tc" or "bridge".</summary>
    public static string Path(PortPathInfo? path, Terminal terminal)
    {
        if (path is null)
        {
            return Words.None;
        }
        string mode = string.Join('/', new[] { path.Xdp, path.Umem, path.Path == "redirect" ? "tc" : null }.OfType<string>());
        string queues = path.Queues > 0 ? $" {(terminal.IsUnicode ? '×' : 'x')}{path.Queues}" : "";
        return mode.Length > 0 ? $"{path.Path} {mode}{queues}" : path.Path + queues;
    }

    /// <summary>The lines of a port that are not its own kind's.</summary>
    public static void Describe(PortPathInfo? path, PortCountersInfo? counters, Facts facts, Terminal terminal)
    {
        facts.Add("path", Path(path, terminal));
        facts.Add("path-reason", path?.Reason);
        foreach ((string name, long value) in counters is null ? [] : Counters(counters))
        {
            facts.Add(name.Replace('_', '-'), Words.Number(value));
        }
    }

    /// <summary>All counters of a port with their names, zero or not.</summary>
    public static IEnumerable<(string Name, long Value)> Counters(PortCountersInfo counters) =>
    [
        ("rx_frames", counters.RxFrames), ("rx_bytes", counters.RxBytes),
        ("tx_frames", counters.TxFrames), ("tx_bytes", counters.TxBytes),
        ("fast_rx_frames", counters.FastRxFrames), ("fast_tx_frames", counters.FastTxFrames),
        ("kernel_frames", counters.KernelFrames), ("dropped_frames", counters.DroppedFrames),
        .. counters.Named.OrderBy(c => c.Key, StringComparer.Ordinal).Select(c => (c.Key, c.Value)),
    ];
}

/// <summary>The network devices of this machine, to complete words the daemon does not know yet.</summary>
internal static class KernelDevices
{
    private static readonly DirectoryInfo Folder = new("/sys/class/net");

    public static IEnumerable<string> All()
    {
        IEnumerable<FileSystemInfo> entries = Folder.Exists ? Folder.EnumerateFileSystemInfos() : [];
        return entries.Select(entry => entry.Name).Where(name => name != "lo").Order(StringComparer.Ordinal);
    }
}
