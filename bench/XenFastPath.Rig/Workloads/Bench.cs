// What all workloads have in common: the arms, in turns, each time on a site of its own.
using System.Diagnostics;
using XenFastPath.Rig.Arms;
using XenFastPath.Rig.Bpf;
using XenFastPath.Rig.Lab;
using XenFastPath.Rig.Results;

namespace XenFastPath.Rig.Workloads;

/// <summary>How much is measured.</summary>
/// <param name="Repetitions">Of each arm.</param>
/// <param name="Seconds">Of each measurement.</param>
/// <param name="IsQuick">Fewer cells.</param>
internal sealed record Effort(int Repetitions, double Seconds, bool IsQuick);

/// <summary>One run of the rig.</summary>
internal sealed class Bench(string tag, IReadOnlyList<Arm> arms, Effort effort, Samples samples, string? only)
{
    // An arm that does not start with one address does not start with more.
    private readonly Dictionary<(string Arm, int Addresses), string> _refused = [];

    public Effort Effort => effort;

    public Samples Samples => samples;

    /// <summary>Is a cell asked for? A pattern names a part of "workload/cell".</summary>
    public bool Wants(string workload, string cell) => only is null || $"{workload}/{cell}".Contains(only, StringComparison.OrdinalIgnoreCase);

    /// <summary>One arm on a site of its own, outside the turns.</summary>
    public Setup SetUp(string workload, Arm arm, Pair pair, int addresses, SinkKind sinks) => new(this, tag, workload, arm, pair, addresses, sinks);

    /// <summary>
    /// Sets up each arm as often as there are repetitions, all arms in turns, and lets <paramref name="measure"/> do its work. An arm that
    /// cannot is left out by name.
    /// </summary>
    /// <param name="workload">Whose table it is.</param>
    /// <param name="pair">Who the second station is.</param>
    /// <param name="addresses">How many addresses the second station has.</param>
    /// <param name="sinks">Counting programs on the stations' devices.</param>
    /// <param name="measure">Measures what it likes on a running arm.</param>
    /// <param name="isAsked">Which arms the workload is about; null: all.</param>
    public void Each(string workload, Pair pair, int addresses, SinkKind sinks, Action<Setup> measure, Predicate<Arm>? isAsked = null)
    {
        List<Arm> asked = [.. arms.Where(a => isAsked is null || isAsked(a))];
        List<Arm> able = [.. asked.Where(a => a.Learns || pair != Pair.VifPifWatched)];
        foreach (Arm arm in asked.Except(able))
            samples.LeaveOut(workload, arm.Name, "is no switch that learns addresses");
        for (int repetition = 0; repetition < effort.Repetitions; repetition++)
        {
            for (int i = 0; i < able.Count; i++)
            {
                Arm arm = able[(i + repetition) % able.Count];
                if (_refused.TryGetValue((arm.Name, 1), out string? reason) || _refused.TryGetValue((arm.Name, addresses), out reason))
                {
                    samples.LeaveOut(workload, arm.Name, reason);
                    continue;
                }

                try
                {
                    using Setup setup = SetUp(workload, arm, pair, addresses, sinks);
                    measure(setup);
                }
                catch (Exception e) when (e is RigException or XenFastPath.Interop.SystemCallException)
                {
                    Console.WriteLine($"    {arm.Name}: {e.Message}");
                    samples.LeaveOut(workload, arm.Name, e.Message);
                    if (e is ArmException)
                        _refused[(arm.Name, addresses)] = e.Message;
                }
            }
        }
    }
}

/// <summary>An arm that does not start here.</summary>
internal sealed class ArmException(string message) : RigException(message);

/// <summary>A running arm on its site, with what is needed to measure it.</summary>
internal sealed class Setup : IDisposable
{
    private readonly Parts _parts = new();
    private readonly Bench _bench;
    private readonly string _workload;

    public Setup(Bench bench, string tag, string workload, Arm arm, Pair pair, int addresses, SinkKind sinks)
    {
        (_bench, _workload, Arm, Addresses) = (bench, workload, arm, addresses);
        try
        {
            Site = _parts.Add(new Site(tag, pair));
            if (sinks != SinkKind.None)
                Count(sinks);
            if (!arm.FinishesChecksums)
                TurnOffloadsOff();
            _parts.Add(Start(arm, sinks != SinkKind.None));
        }
        catch
        {
            _parts.Dispose();
            throw;
        }
    }

    public Arm Arm { get; }

    public Site Site { get; }

    /// <summary>Of station B; station A has one.</summary>
    public int Addresses { get; }

    /// <summary>Of all stations, if there are any: A, B, and the one who looks on.</summary>
    public Sink[] Sinks { get; private set; } = [];

    public Effort Effort => _bench.Effort;

    public void Record(string cell, string metric, double value) => Record(cell, Arm.Name, metric, value);

    /// <summary>Of an arm that this one stands for.</summary>
    public void Record(string cell, string arm, string metric, double value) => _bench.Samples.Add(new Sample(_workload, cell, arm, metric, value));

    /// <summary>From A to B, or back.</summary>
    public Generator Generator(FrameSizes sizes, bool isBack = false) => new(isBack
        ? new Flow(Site.B, Site.A, sizes, Sources: Addresses)
        : new Flow(Site.A, Site.B, sizes, Destinations: Addresses));

    /// <summary>Test frames received by both stations.</summary>
    public long Received() => Sinks.Sum(s => s.Received);

    /// <summary>What happens in so many seconds of traffic.</summary>
    public Measurement Measure(Generator[] generators, Traffic traffic, double seconds)
    {
        long sent = generators.Sum(g => g.Sent), received = Received();
        CpuSeconds[] spent = Cpu.Spent();
        long start = Stopwatch.GetTimestamp();
        traffic.During(seconds);
        long receivedNow = Received();
        double elapsed = Stopwatch.GetElapsedTime(start).TotalSeconds;
        CpuSeconds[] cores = Cpu.Shares(spent, Cpu.Spent(), elapsed);
        return new Measurement((receivedNow - received) / elapsed, (generators.Sum(g => g.Sent) - sent) / elapsed, cores);
    }

    public void Dispose() => _parts.Dispose();

    /// <summary>Frames come from the generator as XDP frames, which takes a NAPI at dom0's ends; they end in a counting program.</summary>
    private void Count(SinkKind kind)
    {
        foreach (Station station in Site.Stations)
            Site.Dom0.Run("ethtool", "-K", station.Near, "gro", "on");
        Sinks = [.. Site.Stations.Select(s => _parts.Add(new Sink(s, kind)))];
    }

    /// <summary>For an arm behind which unfinished checksums would stay so: the stations send whole ones.</summary>
    private void TurnOffloadsOff()
    {
        foreach (Station station in Site.Stations)
            station.Netns.Run("ethtool", "-K", station.Device, "tx", "off");
    }

    private IDisposable Start(Arm arm, bool hasSinks)
    {
        using Generator a = Generator(FrameSizes.Of(64)), b = Generator(FrameSizes.Of(64), isBack: true);
        Learning learning = new(hasSinks ? () => SendAll(a, b) : () => Ping(), Addresses + 1);
        try
        {
            return arm.Start(Site, learning);
        }
        catch (RigException e)
        {
            throw new ArmException(e.Message);
        }
    }

    /// <summary>A frame from each address, and some more: the next round begins elsewhere, and so does what a full ring loses.</summary>
    private void SendAll(Generator a, Generator b)
    {
        const int more = 100;
        Send(b, Addresses + more);
        Send(a, more);
    }

    /// <summary>Shows both addresses without the generator.</summary>
    private void Ping() => Site.A.Netns.TryRun("ping", "-q", "-c", "2", "-i", "0.01", "-W", "1", Site.B.Ip);

    private static void Send(Generator generator, int frames) => generator.Flow.From.Netns.Inside(() =>
    {
        Cpu.Pin(Cpu.Generator);
        generator.Run(frames);
        return 0;
    });
}

/// <summary>Rates in frames a second; what share of the time each CPU was busy.</summary>
internal sealed record Measurement(double Received, double Offered, CpuSeconds[] Cores)
{
    /// <summary>Frames that arrive for a second of CPU time, of all CPUs together.</summary>
    public double PerCpuSecond => Busy > 0 ? Received / Busy : 0;

    /// <summary>CPUs that were busy, and that the hypervisor took.</summary>
    public double Busy => Cores.Sum(c => c.Busy);

    public double Stolen => Cores.Sum(c => Math.Max(0, 1 - c.Busy - c.Idle));
}
