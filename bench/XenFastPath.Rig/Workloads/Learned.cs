// How many addresses a switch keeps, and how fast it takes new ones (RFC 2889, 5.7 and 5.8). Station B shows the addresses, one frame from
// each; then A sends a frame to each, and the station that looks on receives those that had to be flooded.
using XenFastPath.Rig.Bpf;
using XenFastPath.Rig.Lab;

namespace XenFastPath.Rig.Workloads;

internal static class Learned
{
    public const string Workload = "learning";
    public const string Addresses = "addresses", Rate = "addresses_per_second", Missing = "missing";

    /// <summary>Shown at once, slowly: what is kept of them is the capacity, or all.</summary>
    private const int Many = 100_000;

    /// <summary>Shown in each trial of the search, always new ones: all trials together stay below what ours keep.</summary>
    private const int Some = 4000;

    /// <summary>Slow enough for every arm, in frames a second; and about as fast as the generator goes, where the search begins.</summary>
    private const double Slow = 50_000, Fast = 16_000_000;

    private const double Resolution = 1.0 / 32, SettleSeconds = 0.05;
    private const string Capacity = "VIF->PIF, 64 B, 100000 addresses shown", Speed = "VIF->PIF, 64 B, 4000 addresses shown at a time";

    public static void Run(Bench bench)
    {
        if (bench.Wants(Workload, Capacity))
        {
            bench.Each(Workload, Pair.VifPifWatched, 1, SinkKind.Xdp, setup =>
            {
                (int kept, long missing) = Trial(setup, Many, first: 1, Slow);
                setup.Record(Capacity, Addresses, kept);
                setup.Record(Capacity, Missing, missing);
                Console.WriteLine($"    {Capacity,-28} {setup.Arm.Name,-9} {kept,7} learned, {missing} frames to them did not arrive");
            });
        }

        if (bench.Wants(Workload, Speed))
        {
            bench.Each(Workload, Pair.VifPifWatched, 1, SinkKind.Xdp, setup =>
            {
                int first = 1;
                double rate = ZeroLossSearch.Highest(Fast, Resolution, r =>
                {
                    (int kept, _) = Trial(setup, Some, first, r);
                    first += Some;
                    return kept == Some;
                });
                setup.Record(Speed, Rate, rate);
                Console.WriteLine($"    {Speed,-28} {setup.Arm.Name,-9} {rate / 1e3,9:F1} thousand addresses a second");
            });
        }
    }

    /// <summary>Shows so many new addresses at a rate; how many of them are known then, and how many frames to them were lost.</summary>
    private static (int Kept, long Missing) Trial(Setup setup, int count, int first, double rate)
    {
        Site site = setup.Site;
        Sink b = setup.Sinks[1], watcher = setup.Sinks[2];
        Send(setup, new Flow(site.B, site.A, FrameSizes.Of(64), Sources: count, Base: first, Limit: count), rate);
        long received = b.Received, flooded = watcher.Flooded;
        Send(setup, new Flow(site.A, site.B, FrameSizes.Of(64), Destinations: count, Base: first, Limit: count), Slow);
        return (count - (int)(watcher.Flooded - flooded), count - (b.Received - received));
    }

    /// <summary>All frames of a flow; until they have arrived, wherever they do.</summary>
    private static void Send(Setup setup, Flow flow, double rate)
    {
        using Generator generator = new(flow);
        generator.SetRate(rate);
        using (Traffic traffic = new([generator]))
        {
            while (generator.Sent < flow.Limit)
                traffic.During(0.001);
        }

        long last, now = Counted(setup);
        do
        {
            last = now;
            Thread.Sleep(TimeSpan.FromSeconds(SettleSeconds));
            now = Counted(setup);
        }
        while (now != last);
    }

    private static long Counted(Setup setup) => setup.Sinks.Sum(s => s.Received + s.Flooded);
}
