// The command line of xenfastpathd.
using System.Globalization;
using XenFastPath.Dataplane;

namespace XenFastPath.Daemon;

/// <summary>What the process is there for.</summary>
internal enum Mode
{
    /// <summary>The control process.</summary>
    Serve,

    /// <summary>Started by a control process: see <see cref="Daemon.Guard"/>.</summary>
    Guard,

    /// <summary>Undoes what waits for its confirmation, and ends.</summary>
    RollBack,
}

/// <summary>Folders and programs that it works with, and how many addresses its tables have room for.</summary>
internal sealed record Options(
    Mode Mode, string StateDir, string RunDir, string Bpffs, string? Forwarder, int MacsMax, IReadOnlyList<string> ForwarderArguments)
{
    private const int MacsLeast = 1024;

    /// <summary>The same as arguments, for a guard.</summary>
    public IEnumerable<string> GuardArguments =>
    [
        "--guard", "--state-dir", StateDir, "--run-dir", RunDir, "--bpffs", Bpffs, "--macs-max", MacsMax.ToString(CultureInfo.InvariantCulture),
        .. Forwarder is null ? [] : (string[])["--forwarder", Forwarder],
        .. ForwarderArguments,
    ];

    /// <summary>Whoever holds the lock of this file works on the run-dir.</summary>
    public static string LockOf(string runDir) => Path.Combine(runDir, "xenfastpathd.lock");

    /// <summary>Null if they are not understood (<paramref name="problem"/> says why) or ask for help.</summary>
    public static Options? Parse(string[] args, out string? problem)
    {
        Options options = new(Mode.Serve, "/var/lib/xenfastpath", "/run/xenfastpath", "/sys/fs/bpf", null, Limits.MacsDefault, []);
        problem = null;
        for (int i = 0; i < args.Length; i++)
        {
            if (args[i] is "--help" or "-h")
                return null;
            if (args[i] is "--guard" or "--rollback")
            {
                options = options with { Mode = args[i] == "--guard" ? Mode.Guard : Mode.RollBack };
                continue;
            }

            string? word = i + 1 < args.Length && args[i + 1].Length > 0 ? args[i + 1] : null;
            if (args[i] == "--macs-max" && word is not null)
            {
                if (!int.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out int macs) || macs is < MacsLeast or > Layout.MacsMax)
                {
                    problem = $"--macs-max {word} is no number from {MacsLeast} to {Layout.MacsMax}";
                    return null;
                }

                options = options with { MacsMax = macs };
                i++;
                continue;
            }

            if (ForwarderOptions.HandedOn.Contains(args[i]) && word is not null)
            {
                options = options with { ForwarderArguments = [.. options.ForwarderArguments, args[i], word] };
                i++;
                continue;
            }

            string? value = word is null ? null : Path.GetFullPath(word);
            switch (args[i])
            {
                case "--state-dir" when value is not null:
                    options = options with { StateDir = value };
                    break;
                case "--run-dir" when value is not null:
                    options = options with { RunDir = value };
                    break;
                case "--bpffs" when value is not null:
                    options = options with { Bpffs = value };
                    break;
                case "--forwarder" when value is not null:
                    options = options with { Forwarder = value };
                    break;
                default:
                    problem = value is null ? $"{args[i]} needs a value or is unknown" : $"unknown argument {args[i]}";
                    return null;
            }

            i++;
        }

        return ForwarderOptions.Parse([.. options.ForwarderArguments], out problem) is null ? null : options;
    }
}
