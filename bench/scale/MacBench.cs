// A million addresses: learned by the kernel's bridges, mirrored by the daemon into its own table, the forwarder's and the program's.
using System.Diagnostics;
using System.Globalization;
using XenFastPath.Api;
using XenFastPath.Netlink;

namespace XenFastPath.Scale;

internal static class MacBench
{
    /// <summary>An uplink's burst of new addresses, which the mirror takes at once (MirrorState.PifLearnBurst).</summary>
    private const int PerPort = 65_536;

    public static void Run(Table table, string folder, string bin, int macs)
    {
        int ports = (macs + PerPort - 1) / PerPort;
        using Dom0 dom0 = new(folder, ports);
        using DaemonProcess daemon = new(folder, bin, dom0.Name, $"--macs-max {Math.Max(macs, 1024)}");
        for (int p = 1; p <= ports; p++)
            daemon.Call(ApiMethods.NetworkCreate, new NetworkCreateParams($"net{p}", Pif: Dom0.Vif(p), Datapath: "afxdp"));
        Tool.Until(() => daemon.Call(ApiMethods.PifList, new Empty()).Count(p => p is { State: "forwarding", Path.Path: "afxdp" }) == ports,
            "all ports forward; " + daemon.LogFile);
        double before = Tool.MemoryMib(daemon.Pid, "VmRSS");
        long kernelBefore = MemAvailableKib();
        double cpu = Tool.CpuSeconds(daemon.Pid);
        Stopwatch watch = Stopwatch.StartNew();
        double inserted = Insert(dom0, macs);
        Tool.Until(() => daemon.Call(ApiMethods.FdbSync, new Empty()).Entries >= macs, "all addresses are in the tables; " + daemon.LogFile);
        double all = watch.Elapsed.TotalMilliseconds;
        cpu = Tool.CpuSeconds(daemon.Pid) - cpu;
        table.Add($"{macs} addresses into the kernel's bridges by netlink", inserted, "ms", "");
        table.Add("until they are in all three tables", all, "ms", $"{all * 1e6 / macs:F0} ns each; daemon's CPU {cpu * 1e9 / macs:F0} ns each");
        table.Add("daemon's memory for them", Tool.MemoryMib(daemon.Pid, "VmRSS") - before, "MiB", $"peak {Tool.MemoryMib(daemon.Pid, "VmHWM"):F0} MiB");
        table.Add("the machine's, with the bridges' own", (kernelBefore - MemAvailableKib()) / 1024.0, "MiB", "all tables");
        daemon.Stop();
        Cost restart = daemon.Start();
        Tool.Until(() => daemon.Call(ApiMethods.FdbSync, new Empty()).Entries >= macs, "all addresses are in the tables again; " + daemon.LogFile);
        table.Add("restart with them", restart, $"peak {Tool.MemoryMib(daemon.Pid, "VmHWM"):F0} MiB");
    }

    /// <summary>As if the bridges had learned them; milliseconds.</summary>
    private static double Insert(Dom0 dom0, int macs)
    {
        double ms = 0;
        Namespaces.Inside(dom0.Name, () =>
        {
            using Rtnl rtnl = new();
            Stopwatch watch = Stopwatch.StartNew();
            for (int p = 1, next = 0; next < macs; p++)
            {
                int ifindex = rtnl.GetLink(Dom0.Vif(p))!.Index;
                FdbChange[] changes = [.. Enumerable.Range(next, Math.Min(PerPort, macs - next))
                    .Select(m => FdbChange.Refresh(ifindex, new MacAddress(0x02_10_00_00_00_00UL + (uint)m)))];
                if (rtnl.ChangeFdb(changes, out NetlinkError failure) is var failed and > 0)
                    throw new InvalidOperationException($"{failed} addresses were refused: {failure}");
                next += changes.Length;
            }

            ms = watch.Elapsed.TotalMilliseconds;
        });
        return ms;
    }

    private static long MemAvailableKib()
    {
        string line = File.ReadLines("/proc/meminfo").First(l => l.StartsWith("MemAvailable:", StringComparison.Ordinal));
        return long.Parse(line.Split(' ')[^2], CultureInfo.InvariantCulture);
    }
}
