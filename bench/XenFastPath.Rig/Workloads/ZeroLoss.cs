// The rate up to which an arm loses nothing (RFC 2544), or no more than one frame in a thousand.
using XenFastPath.Rig.Bpf;
using XenFastPath.Rig.Lab;

namespace XenFastPath.Rig.Workloads;

internal static class ZeroLoss
{
    public const string Workload = "zero-loss";

    private const double Resolution = 1.0 / 64, TrialSeconds = 0.5, DrainSeconds = 0.1;

    public static void Run(Bench bench)
    {
        (string Name, FrameSizes Sizes, double LossMax)[] cells =
        [
            ("VIF->PIF, 64 B, no loss", FrameSizes.Of(64), 0), ("VIF->PIF, 64 B, 0.1 % loss", FrameSizes.Of(64), 0.001),
            ("VIF->PIF, IMIX, 0.1 % loss", FrameSizes.Imix, 0.001),
        ];
        cells = [.. cells.Where(c => bench.Wants(Workload, c.Name)).Take(bench.Effort.IsQuick ? 2 : cells.Length)];
        if (cells.Length == 0)
            return;
        bench.Each(Workload, Pair.VifPif, 1, SinkKind.Xdp, setup =>
        {
            foreach ((string name, FrameSizes sizes, double lossMax) in cells)
                Measure(setup, name, sizes, lossMax);
        });
    }

    private static void Measure(Setup setup, string cell, FrameSizes sizes, double lossMax)
    {
        using Generators generators = new(setup, Direction.Forth, sizes);
        double highest;
        using (Traffic traffic = new(generators.All))
        {
            traffic.During(0.2);
            highest = setup.Measure(generators.All, traffic, TrialSeconds).Received;
        }

        double rate = ZeroLossSearch.Highest(Math.Max(highest, 1), Resolution, r => Loss(setup, generators, r) <= lossMax);
        setup.Record(cell, Throughput.Rate, rate);
        Console.WriteLine($"    {cell,-28} {setup.Arm.Name,-9} {rate / 1e6,7:F3} Mpps (saturated: {highest / 1e6:F3})");
    }

    /// <summary>The part of the frames that did not arrive.</summary>
    private static double Loss(Setup setup, Generators generators, double rate)
    {
        long sent = generators.All[0].Sent, received = setup.Received();
        generators.All[0].SetRate(rate);
        using (Traffic traffic = new(generators.All))
            traffic.During(TrialSeconds);
        Thread.Sleep(TimeSpan.FromSeconds(DrainSeconds));
        long sentNow = generators.All[0].Sent;
        return sentNow == sent ? 1 : 1 - (double)(setup.Received() - received) / (sentNow - sent);
    }
}
