// The command line of xenfastpath-forwarder; control, which starts one, looks at it beforehand.
using System.Globalization;

namespace XenFastPath.Dataplane;

/// <summary>What a forwarder is started with. <see cref="Cpus"/>: one for each worker; null: the scheduler places them.</summary>
public sealed record ForwarderOptions(string RunDir, long ArenaBytes, int Workers, int[]? Cpus, int BusyPollUs, int VifFillFrames)
{
    /// <summary>Options that control hands on to the forwarders that it starts; each has a value.</summary>
    public static IReadOnlyList<string> HandedOn { get; } = ["--arena-mib", "--workers", "--cpus", "--busy-poll-us", "--vif-frames"];

    private const int ArenaMibMin = 4, ArenaMibMax = 4096, CpusMax = 1024;

    /// <summary>Null if they are not understood (<paramref name="problem"/> says why) or ask for help.</summary>
    public static ForwarderOptions? Parse(string[] args, out string? problem)
    {
        problem = null;
        string runDir = "/run/xenfastpath";
        int arenaMib = Limits.ArenaMibDefault, workers = 0, busyPollUs = 0, vifFillFrames = Limits.VifFillFrames;
        int[]? cpus = null;
        for (int i = 0; i < args.Length; i += 2)
        {
            if (args[i] is "--help" or "-h")
                return null;
            string? value = i + 1 < args.Length ? args[i + 1] : null;
            bool isGood = args[i] switch
            {
                "--run-dir" => (runDir = value!) is { Length: > 0 },
                "--arena-mib" => TryNumber(value, ArenaMibMin, ArenaMibMax, out arenaMib),
                "--workers" => TryNumber(value, 1, Layout.WorkersMax, out workers),
                "--cpus" => TryCpus(value, out cpus),
                "--vif-frames" => TryNumber(value, Limits.VifFillFrames, Limits.VifFillFramesMax, out vifFillFrames),
                "--busy-poll-us" => TryNumber(value, 0, Limits.BusyPollUsMax, out busyPollUs),
                _ => false,
            };
            if (isGood)
                continue;
            problem = $"bad argument {args[i]} {value}";
            return null;
        }

        workers = workers == 0 ? cpus?.Length ?? 1 : workers;
        long arenaBytes = arenaMib * 1024L * 1024;
        if (cpus is not null && cpus.Length != workers)
            problem = $"--cpus names {cpus.Length} CPUs for {workers} workers";
        else if (2L * Limits.ReservedFrames(workers) * Limits.FrameBytes > arenaBytes)
            problem = $"{workers} workers need more packet memory than {arenaMib} MiB: at least --arena-mib "
                + $"{2L * Limits.ReservedFrames(workers) * Limits.FrameBytes / (1024 * 1024) + 1}";
        return problem is null ? new ForwarderOptions(runDir, arenaBytes, workers, cpus, busyPollUs, vifFillFrames) : null;
    }

    private static bool TryNumber(string? text, int min, int max, out int number) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number) && number >= min && number <= max;

    private static bool TryCpus(string? list, out int[]? cpus)
    {
        string[] words = (list ?? "").Split(',');
        cpus = new int[words.Length];
        for (int i = 0; i < words.Length; i++)
        {
            if (!TryNumber(words[i], 0, CpusMax - 1, out cpus[i]))
                return false;
        }

        return words.Length <= Layout.WorkersMax && cpus.Distinct().Count() == cpus.Length;
    }
}
