// The command line of the rig; bench/rig/run.sh gives it the first three.
using System.Globalization;

namespace XenFastPath.Rig;

/// <summary>What a run does.</summary>
/// <param name="Tag">What the names of all namespaces begin with.</param>
/// <param name="Bin">Where our programs are.</param>
/// <param name="Results">Where tables and plots go.</param>
/// <param name="IsQuick">Fewer cells, repetitions and seconds.</param>
/// <param name="Only">A part of "workload/cell"; null: all.</param>
/// <param name="Arms">Names; null: all.</param>
/// <param name="Repetitions">Of each arm; null: as the effort says.</param>
/// <param name="Seconds">Of each measurement; null: as the effort says.</param>
/// <param name="IsReportOnly">Writes tables and plots from what was measured before.</param>
internal sealed record RigOptions(
    string Tag, string Bin, string Results, bool IsQuick = false, string? Only = null, string[]? Arms = null, int? Repetitions = null,
    double? Seconds = null, bool IsReportOnly = false)
{
    /// <summary>Null if the arguments are not understood; <paramref name="problem"/> says why.</summary>
    public static RigOptions? Parse(string[] args, out string? problem)
    {
        RigOptions options = new("xfprig" + Environment.ProcessId, "artifacts/bin", "bench/results");
        problem = null;
        for (int i = 0; i < args.Length; i++)
        {
            if (args[i] is "--quick" or "--report")
            {
                options = args[i] == "--quick" ? options with { IsQuick = true } : options with { IsReportOnly = true };
                continue;
            }

            string? value = i + 1 < args.Length ? args[i + 1] : null;
            if (value is null)
            {
                problem = $"{args[i]} needs a value or is unknown";
                return null;
            }

            switch (args[i])
            {
                case "--tag":
                    options = options with { Tag = value };
                    break;
                case "--bin":
                    options = options with { Bin = Path.GetFullPath(value) };
                    break;
                case "--results":
                    options = options with { Results = Path.GetFullPath(value) };
                    break;
                case "--only":
                    options = options with { Only = value };
                    break;
                case "--arms":
                    options = options with { Arms = value.Split(',') };
                    break;
                case "--repetitions" when int.TryParse(value, out int repetitions) && repetitions > 0:
                    options = options with { Repetitions = repetitions };
                    break;
                case "--seconds" when double.TryParse(value, CultureInfo.InvariantCulture, out double seconds) && seconds > 0:
                    options = options with { Seconds = seconds };
                    break;
                default:
                    problem = $"unknown argument {args[i]} {value}";
                    return null;
            }

            i++;
        }

        return options;
    }
}
