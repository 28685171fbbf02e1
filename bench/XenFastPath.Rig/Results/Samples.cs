// Every single measurement, in a file that people and programs can read. A run replaces the rows of the workloads that it has measured.
using System.Globalization;

namespace XenFastPath.Rig.Results;

/// <summary>One measurement.</summary>
/// <param name="Workload">The table that it belongs to: "throughput", "tcp", ...</param>
/// <param name="Cell">The row: what was sent.</param>
/// <param name="Arm">Who switched it.</param>
/// <param name="Metric">What was measured, with its unit last: "frames_per_second".</param>
/// <param name="Value">In that unit.</param>
internal sealed record Sample(string Workload, string Cell, string Arm, string Metric, double Value);

/// <summary>Why an arm has no value; it stands below the table.</summary>
internal sealed record LeftOut(string Workload, string Arm, string Reason);

/// <summary>What the runs have measured so far.</summary>
internal sealed class Samples
{
    private const string Header = "workload\tcell\tarm\tmetric\tvalue";
    private const string LeftOutMark = "left out";
    private const string RunMark = "run";

    private readonly List<Sample> _samples = [];
    private readonly List<LeftOut> _leftOut = [];
    private readonly Dictionary<(string Workload, string Only), string> _runs = [];

    public IReadOnlyList<Sample> All => _samples;

    public IReadOnlyList<LeftOut> Missing => _leftOut;

    /// <summary>When and with what a workload was measured: a line for each pattern of cells.</summary>
    public IEnumerable<string> Runs(string workload) =>
        _runs.Where(r => r.Key.Workload == workload).Select(r => (r.Key.Only.Length > 0 ? $"`{r.Key.Only}`: " : "") + r.Value);

    public void Add(Sample sample) => _samples.Add(sample);

    /// <summary>Says why an arm has no value; once for each reason.</summary>
    public void LeaveOut(string workload, string arm, string reason)
    {
        LeftOut entry = new(workload, arm, OneLine(reason));
        if (!_leftOut.Contains(entry))
            _leftOut.Add(entry);
    }

    /// <summary>Forgets what earlier runs have measured of a workload, or of those of its cells that are wanted again.</summary>
    /// <param name="workload">Which.</param>
    /// <param name="run">When and with what it is measured now.</param>
    /// <param name="only">The pattern that chose the cells; empty: all.</param>
    /// <param name="isWanted">Is a cell measured again?</param>
    public void Begin(string workload, string run, string only = "", Func<string, bool>? isWanted = null)
    {
        _samples.RemoveAll(s => s.Workload == workload && isWanted?.Invoke(s.Cell) != false);
        _leftOut.RemoveAll(l => l.Workload == workload);
        foreach ((string Workload, string Only) key in _runs.Keys.Where(k => k.Workload == workload && (only.Length == 0 || k.Only == only)).ToArray())
            _runs.Remove(key);
        _runs[(workload, only)] = OneLine(run);
    }

    public IEnumerable<double> Of(string workload, string cell, string arm, string metric) => _samples
        .Where(s => s.Workload == workload && s.Cell == cell && s.Arm == arm && s.Metric == metric).Select(s => s.Value);

    public void Save(string path)
    {
        IEnumerable<string> lines = _samples.Select(s =>
            string.Join('\t', s.Workload, s.Cell, s.Arm, s.Metric, s.Value.ToString("R", CultureInfo.InvariantCulture)));
        IEnumerable<string> missing = _leftOut.Select(l => string.Join('\t', l.Workload, LeftOutMark, l.Arm, l.Reason, "0"));
        IEnumerable<string> runs = _runs.Select(r => string.Join('\t', r.Key.Workload, RunMark, r.Key.Only, r.Value, "0"));
        File.WriteAllLines(path, [Header, .. runs, .. missing, .. lines]);
    }

    /// <summary>What <see cref="Save"/> has written; nothing if there is no such file.</summary>
    public static Samples Load(string path)
    {
        Samples samples = new();
        if (!File.Exists(path))
            return samples;
        foreach (string[] fields in File.ReadLines(path).Skip(1).Select(l => l.Split('\t')).Where(f => f.Length == 5))
        {
            if (fields[1] == LeftOutMark)
                samples.LeaveOut(fields[0], fields[2], fields[3]);
            else if (fields[1] == RunMark)
                samples._runs[(fields[0], fields[2])] = fields[3];
            else
                samples.Add(new Sample(fields[0], fields[1], fields[2], fields[3], double.Parse(fields[4], CultureInfo.InvariantCulture)));
        }

        return samples;
    }

    private static string OneLine(string text) => string.Join(' ', text.Split((char[])['\n', '\t', '\r'], StringSplitOptions.RemoveEmptyEntries));
}
