// Bulk TCP in one connection, whose Network takes auto's path and the bridge in turns: what chance gives a connection, both have.
// (Between connections one arm's rate differs by up to three times where the ends share two CPUs.)
using System.Diagnostics;
using System.Text.Json;
using XenFastPath.Rig.Arms;
using XenFastPath.Rig.Bpf;
using XenFastPath.Rig.Lab;

namespace XenFastPath.Rig.Workloads;

internal static class Turns
{
    public const string Workload = "turns";

    private const string Auto = "auto", Bridge = BridgeArm.ArmName;
    private const int Pairs = 20;
    private const double SettleSeconds = 0.2, StartSeconds = 1;

    public static void Run(Bench bench)
    {
        foreach (Pair pair in (Pair[])[Pair.VifPif, Pair.VifVif])
        {
            (string Name, int Streams, bool IsBack)[] cells = [.. Tcp.Cells(pair).Where(c => bench.Wants(Workload, c.Name))];
            if (cells.Length == 0)
                continue;
            bench.Each(Workload, pair, 1, SinkKind.None, setup =>
            {
                foreach ((string name, int streams, bool isBack) in cells)
                    Measure(setup, name, streams, isBack);
            }, arm => arm is DaemonArm { Name: Auto });
        }
    }

    private static void Measure(Setup setup, string cell, int streams, bool isBack)
    {
        (Station from, Station to) = isBack ? (setup.Site.B, setup.Site.A) : (setup.Site.A, setup.Site.B);
        DaemonArm daemon = (DaemonArm)setup.Arm;
        using Background server = Tcp.Serve(setup, to);
        using Background client = new("iperf3", setup.Site.Folder + "/iperf3-client", "nsenter", "--net=" + from.Netns.Path,
            "iperf3", "-c", to.Ip, "-C", Tcp.CongestionControl, "-t", "3600", "-P", $"{streams}", "--connect-timeout", "3000");
        Thread.Sleep(TimeSpan.FromSeconds(StartSeconds));
        for (int i = 0; i < Pairs; i++)
        {
            Dictionary<string, double> rates = [];
            foreach (string path in i % 2 == 0 ? (string[])[Auto, Bridge] : [Bridge, Auto])
            {
                daemon.Take(setup.Site, path);
                Thread.Sleep(TimeSpan.FromSeconds(SettleSeconds));
                rates[path] = Rate(to, setup.Effort.Seconds / 2);
            }

            foreach ((string path, double rate) in rates)
                setup.Record(cell, path, Tcp.Rate, rate);
            Console.WriteLine($"    {cell,-28} auto {rates[Auto] / 1e9,6:F2} Gb/s, bridge {rates[Bridge] / 1e9,6:F2}, ratio {rates[Auto] / rates[Bridge]:F2}");
        }
    }

    /// <summary>What a station's device receives, bits a second, headers included.</summary>
    private static double Rate(Station station, double seconds)
    {
        long before = Received(station), start = Stopwatch.GetTimestamp();
        Thread.Sleep(TimeSpan.FromSeconds(seconds));
        long after = Received(station);
        double rate = (after - before) * 8 / Stopwatch.GetElapsedTime(start).TotalSeconds;
        return rate > 0 ? rate : throw new RigException("TCP does not get through");
    }

    private static long Received(Station station)
    {
        using JsonDocument links = JsonDocument.Parse(station.Netns.Run("ip", "-json", "-statistics", "link", "show", "dev", station.Device));
        return links.RootElement[0].GetProperty("stats64").GetProperty("rx").GetProperty("bytes").GetInt64();
    }
}
