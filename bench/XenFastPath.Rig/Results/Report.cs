// bench/results: README.md with all tables, and a plot of each.
using System.Globalization;
using System.Text;
using XenFastPath.Rig.Arms;
using XenFastPath.Rig.Workloads;

namespace XenFastPath.Rig.Results;

internal static class Report
{
    private static readonly string[] s_ours = ["afxdp", "redirect", "auto"];

    public static void Write(string folder, Samples samples, IReadOnlyList<Arm> arms)
    {
        StringBuilder text = new("# Results of the bench rig\n\n");
        text.Append("Written by `bench/rig/run.sh`; every single measurement is in [samples.tsv](samples.tsv). Each value is the median of its repetitions,\n");
        text.Append("with the smallest and the largest; in bold its ratio to the kernel bridge's median in the same run. The arms took turns.\n\n");
        text.Append("These are veths in one machine: generator, switch and receiver share its CPUs. Read them as ratios, not as a card's line rate.\n");
        text.Append("The generator runs on CPU 0, processes that forward run on the others. The kernel does its part of an arm's work on the CPU that\n");
        text.Append("brought the frame. CPU time is everything that was busy, the generator and the receiver's counting included.\n\n");
        foreach (Arm arm in arms)
            text.Append("- **").Append(arm.Name).Append("**: ").Append(arm.Describe()).Append(Offloads(arm)).Append('\n');
        foreach (IGrouping<string, TableSpec> workload in TableSpec.All.GroupBy(s => s.Workload))
        {
            if (samples.Runs(workload.Key).Any())
                WriteWorkload(text, folder, samples, workload);
        }

        File.WriteAllText(Path.Combine(folder, "README.md"), text.ToString());
    }

    private static string Offloads(Arm arm) =>
        arm.FinishesChecksums ? "" : "; nobody finishes checksums behind it, so TCP and UDP are measured with the stations' `tx` offload off";

    private static void WriteWorkload(StringBuilder text, string folder, Samples samples, IGrouping<string, TableSpec> workload)
    {
        text.Append("\n## ").Append(workload.First().Title.Split(',')[0]).Append("\n\n");
        foreach (string run in samples.Runs(workload.Key))
            text.Append("- ").Append(run).Append('\n');
        if (workload.Key == Throughput.Workload && OthersBusy(samples) is > 0.1 and double others)
        {
            text.Append(CultureInfo.InvariantCulture,
                $"\nThe machine was not at rest: CPU 1 was {others:P0} busy while the bridge worked on CPU 0. Arms with processes of their\n");
            text.Append("own had to share CPU 1 with whoever that was, so their values are too low, and spread.\n");
        }

        foreach (TableSpec spec in workload)
        {
            ResultTable table = new(spec, samples, BridgeArm.ArmName);
            if (table.Rows.Count == 0)
                continue;
            text.Append("\n### ").Append(spec.Title).Append("\n\n").Append(Markdown.Table(table));
            if (spec == workload.First() || spec.Metric == Latency.P99)
            {
                foreach ((string file, Func<string, bool>? rows) in Plots(spec))
                {
                    File.WriteAllText(Path.Combine(folder, file), SvgBars.Draw(table, spec.Title, rows));
                    text.Append("\n![").Append(spec.Title).Append("](").Append(file).Append(")\n");
                }

                text.Append('\n').Append(Markdown.Ratios(table, s_ours));
            }
        }

        LeftOut[] missing = [.. samples.Missing.Where(l => l.Workload == workload.Key)];
        if (missing.Length > 0)
            text.Append("\nLeft out:\n\n");
        foreach (LeftOut entry in missing)
            text.Append("- ").Append(entry.Arm).Append(": ").Append(entry.Reason).Append('\n');
    }

    /// <summary>How busy CPU 1 was, 0 to 1, while the bridge had nothing to do there; null if there is no such CPU.</summary>
    private static double? OthersBusy(Samples samples)
    {
        double[] busy = [.. samples.All.Where(s => s is { Workload: Throughput.Workload, Arm: BridgeArm.ArmName, Metric: "cpu1_busy" }).Select(s => s.Value)];
        return busy.Length > 0 ? Statistics.Median(busy) : null;
    }

    /// <summary>The main cells of throughput have a plot of their own, for the project's README.</summary>
    private static IEnumerable<(string File, Func<string, bool>? Rows)> Plots(TableSpec spec)
    {
        if (spec.Workload != Throughput.Workload)
            return [(spec.Metric == Latency.P50 ? "latency.svg" : spec.Metric == Latency.P99 ? "latency-p99.svg" : spec.Workload + ".svg", null)];
        HashSet<string> main = [.. Throughput.Cells(isQuick: true).Select(c => c.Name)];
        return [("throughput.svg", main.Contains), ("throughput-more.svg", row => !main.Contains(row))];
    }
}
