// Bulk TCP as guests do it: iperf3 with the offloads that a veth has by default, no counting program anywhere.
using System.Diagnostics;
using System.Text.Json;
using XenFastPath.Rig.Bpf;
using XenFastPath.Rig.Lab;

namespace XenFastPath.Rig.Workloads;

internal static class Tcp
{
    public const string Workload = "tcp";
    public const string Rate = "bits_per_second";

    /// <summary>Linux's own default. This machine's may be another: with BBR, which paces what it sends, runs had one of two rates.</summary>
    public const string CongestionControl = "cubic";

    private const int Port = 5201, StallSecondsMax = 5;

    public static void Run(Bench bench)
    {
        foreach (Pair pair in (Pair[])[Pair.VifPif, Pair.VifVif])
        {
            (string Name, int Streams, bool IsBack)[] cells = [.. Cells(pair).Where(c => bench.Wants(Workload, c.Name))];
            if (cells.Length == 0)
                continue;
            bench.Each(Workload, pair, 1, SinkKind.None, setup =>
            {
                foreach ((string name, int streams, bool isBack) in cells)
                    Measure(setup, name, streams, isBack);
            });
        }
    }

    /// <summary>The cells of two stations.</summary>
    public static IEnumerable<(string Name, int Streams, bool IsBack)> Cells(Pair pair)
    {
        foreach (int streams in (int[])[1, 8])
        {
            string suffix = $"TCP, {streams} stream{(streams == 1 ? "" : "s")}";
            yield return ($"{(pair == Pair.VifVif ? "VIF->VIF" : "VIF->PIF")}, {suffix}", streams, false);
            if (pair == Pair.VifPif)
                yield return ($"PIF->VIF, {suffix}", streams, true);
        }
    }

    /// <summary>An iperf3 server for one test, which listens.</summary>
    public static Background Serve(Setup setup, Station to)
    {
        Background server = new("iperf3", setup.Site.Folder + "/iperf3", "nsenter", "--net=" + to.Netns.Path, "iperf3", "-s", "-1");
        server.Until(() => to.Netns.Run("ss", "-Hltn", $"sport = :{Port}").Length > 0, "the iperf3 server listens");
        return server;
    }

    private static void Measure(Setup setup, string cell, int streams, bool isBack)
    {
        (Station from, Station to) = isBack ? (setup.Site.B, setup.Site.A) : (setup.Site.A, setup.Site.B);
        using Background server = Serve(setup, to);
        int seconds = Math.Max(2, (int)(setup.Effort.Seconds * 2));
        CpuSeconds[] spent = Cpu.Spent();
        long start = Stopwatch.GetTimestamp();
        (int status, string output) = Tool.TryRun(
            seconds + StallSecondsMax, "nsenter", "--net=" + from.Netns.Path,
            "iperf3", "-c", to.Ip, "-C", CongestionControl, "-t", $"{seconds}", "-P", $"{streams}", "-J", "--connect-timeout", "3000");
        double elapsed = Stopwatch.GetElapsedTime(start).TotalSeconds;
        if (status != 0 || Received(output) is not { } rate)
            throw new RigException($"{cell}: TCP does not get through");
        double cores = Cpu.Shares(spent, Cpu.Spent(), elapsed).Sum(c => c.Busy);
        setup.Record(cell, Rate, rate);
        setup.Record(cell, Throughput.Cpu, cores);
        Console.WriteLine($"    {cell,-28} {setup.Arm.Name,-9} {rate / 1e9,7:F2} Gb/s, {cores:F2} CPUs");
    }

    /// <summary>What iperf3's receiver has counted, in bits a second.</summary>
    private static double? Received(string json)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(json);
            double rate = document.RootElement.GetProperty("end").GetProperty("sum_received").GetProperty("bits_per_second").GetDouble();
            return rate > 0 ? rate : null;
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            return null;
        }
    }
}
