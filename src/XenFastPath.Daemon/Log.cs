// One line each, to stderr: what was done and why. Under systemd the line carries its priority.
using System.Globalization;

namespace XenFastPath.Daemon;

/// <summary>The daemon's log.</summary>
internal static class Log
{
    private static readonly bool s_isJournal = Environment.GetEnvironmentVariable("JOURNAL_STREAM") is not null;

    public static void Info(string line) => Write("<6>", line);

    public static void Warning(string line) => Write("<4>", line);

    public static void Error(string line) => Write("<3>", line);

    private static void Write(string priority, string line)
    {
        string text = line.ReplaceLineEndings(" ");
        Console.Error.WriteLine(s_isJournal
            ? priority + text
            : DateTime.Now.ToString("HH:mm:ss.fff ", CultureInfo.InvariantCulture) + text);
    }
}
