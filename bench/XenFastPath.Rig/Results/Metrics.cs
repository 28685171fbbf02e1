// What is shown of each workload: which metric, in which unit.
using System.Globalization;
using XenFastPath.Rig.Workloads;

namespace XenFastPath.Rig.Results;

/// <summary>One table and its plot.</summary>
/// <param name="Title">For people.</param>
/// <param name="Workload">Whose samples.</param>
/// <param name="Metric">Which.</param>
/// <param name="Unit">What the scaled value is in.</param>
/// <param name="Scale">Sample units for one unit.</param>
/// <param name="Digits">Behind the point.</param>
/// <param name="IsLessBetter">As for times.</param>
/// <param name="HasRatio">Is its ratio to the bridge worth showing?</param>
internal sealed record TableSpec(string Title, string Workload, string Metric, string Unit, double Scale, int Digits, bool IsLessBetter = false,
    bool HasRatio = true)
{
    public static IReadOnlyList<TableSpec> All { get; } =
    [
        new("Throughput", Throughput.Workload, Throughput.Rate, "Mpps", 1e6, 3),
        new("Frames for a second of CPU time", Throughput.Workload, Throughput.PerCpu, "million frames", 1e6, 3),
        new("CPUs busy", Throughput.Workload, Throughput.Cpu, "CPUs", 1, 2, IsLessBetter: true),
        new("CPUs that the hypervisor took meanwhile", Throughput.Workload, Throughput.Stolen, "CPUs", 1, 2, IsLessBetter: true, HasRatio: false),
        new("TCP", Tcp.Workload, Tcp.Rate, "Gb/s", 1e9, 2),
        new("TCP, paths in turns under one connection", Turns.Workload, Tcp.Rate, "Gb/s", 1e9, 2),
        new("Latency, median", Latency.Workload, Latency.P50, "µs", 1, 1, IsLessBetter: true),
        new("Latency, p99", Latency.Workload, Latency.P99, "µs", 1, 1, IsLessBetter: true),
        new("Latency, p99.9", Latency.Workload, Latency.P999, "µs", 1, 1, IsLessBetter: true),
        new("Highest rate without loss (RFC 2544)", ZeroLoss.Workload, Throughput.Rate, "Mpps", 1e6, 3),
        new("Addresses learned (RFC 2889)", Learned.Workload, Learned.Addresses, "addresses", 1, 0),
        new("Highest rate at which all are learned (RFC 2889)", Learned.Workload, Learned.Rate, "thousand/s", 1e3, 1),
    ];

    public string Format(double value) => (value / Scale).ToString("F" + Digits, CultureInfo.InvariantCulture);
}

/// <summary>What one arm did in one cell.</summary>
/// <param name="Summary">Of its own values.</param>
/// <param name="Ratio">Its median by the bridge's; null without a bridge.</param>
/// <param name="Pairs">Its values by the bridge's of the same turn; null without a bridge.</param>
internal sealed record Cell(Summary Summary, double? Ratio, Summary? Pairs);

/// <summary>Samples as a table of cells and arms.</summary>
internal sealed class ResultTable
{
    private readonly Dictionary<(string Cell, string Arm), Cell> _cells = [];

    public ResultTable(TableSpec spec, Samples samples, string baseline)
    {
        Spec = spec;
        List<Sample> own = [.. samples.All.Where(s => s.Workload == spec.Workload && s.Metric == spec.Metric)];
        Rows = [.. own.Select(s => s.Cell).Distinct()];
        Arms = [.. own.Select(s => s.Arm).Distinct()];
        foreach (string row in Rows)
        {
            double[] reference = [.. samples.Of(spec.Workload, row, baseline, spec.Metric)];
            foreach (string arm in Arms)
            {
                double[] values = [.. samples.Of(spec.Workload, row, arm, spec.Metric)];
                if (values.Length > 0)
                    _cells[(row, arm)] = Compare(values, reference);
            }
        }
    }

    public TableSpec Spec { get; }

    /// <summary>In the order of measuring.</summary>
    public IReadOnlyList<string> Rows { get; }

    public IReadOnlyList<string> Arms { get; }

    public Cell? this[string row, string arm] => _cells.GetValueOrDefault((row, arm));

    internal static Cell Compare(double[] values, double[] reference)
    {
        Summary summary = Statistics.Summarise(values);
        double[] pairs = [.. values.Zip(reference).Where(p => p.Second > 0).Select(p => p.First / p.Second)];
        if (pairs.Length == 0)
            return new Cell(summary, null, null);
        double median = Statistics.Median(reference);
        return new Cell(summary, median > 0 ? summary.Median / median : null, Statistics.Summarise(pairs));
    }
}
