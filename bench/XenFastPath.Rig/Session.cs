// The workloads of one run, in the order of their weight.
using System.Globalization;
using XenFastPath.Rig.Arms;
using XenFastPath.Rig.Results;
using XenFastPath.Rig.Workloads;

namespace XenFastPath.Rig;

internal static class Session
{
    public const string SamplesFile = "samples.tsv";

    public static void Run(RigOptions options, Arm[] all, Effort effort, Samples samples)
    {
        List<Arm> arms = [];
        List<(string Arm, string Reason)> missing = [];
        foreach (Arm arm in all.Where(a => options.Arms is null || options.Arms.Contains(a.Name)))
        {
            if (arm.WhyNot() is { } reason)
                missing.Add((arm.Name, reason));
            else
                arms.Add(arm);
        }

        foreach ((string arm, string reason) in missing)
            Console.WriteLine($"left out: {arm}: {reason}");
        Bench bench = new(options.Tag, arms, effort, samples, options.Only);
        (string Name, Action<Bench> Run)[] workloads =
        [
            (Throughput.Workload, Throughput.Run), (Tcp.Workload, Tcp.Run), (Turns.Workload, Turns.Run), (Latency.Workload, Latency.Run),
            (ZeroLoss.Workload, ZeroLoss.Run), (Learned.Workload, Learned.Run),
        ];
        foreach ((string name, Action<Bench> run) in workloads)
        {
            if (options.Only is { } only && !only.StartsWith(name, StringComparison.OrdinalIgnoreCase))
                continue;
            Console.WriteLine($"== {name}");
            // A workload's name alone chooses all of its cells: what was said of earlier runs is void.
            string pattern = name.Equals(options.Only, StringComparison.OrdinalIgnoreCase) ? "" : options.Only ?? "";
            samples.Begin(name, Describe(effort), pattern, cell => bench.Wants(name, cell));
            foreach ((string arm, string reason) in missing)
                samples.LeaveOut(name, arm, reason);
            run(bench);
            samples.Save(Path.Combine(options.Results, SamplesFile));
            Report.Write(options.Results, samples, all);
        }
    }

    private static string Describe(Effort effort) => string.Create(CultureInfo.InvariantCulture,
        $"{DateTime.UtcNow:yyyy-MM-dd HH:mm} UTC, {effort.Repetitions} repetitions of {effort.Seconds} s; "
        + $"{Machine.Describe()}; load average before {Machine.Load()}");
}
