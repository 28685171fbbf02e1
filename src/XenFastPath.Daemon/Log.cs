// One line each, to stderr: what was done and why. Under systemd the line carries its priority.
using System.Globalization;
using System.Text;

namespace XenFastPath.Daemon;

/// <summary>The daemon's log. Any thread.</summary>
internal static class Log
{
    /// <summary>Lines of a plan that wait together are written at the latest when they are so many characters.</summary>
    private const int WaitingCharsMax = 32 << 10;

    private static readonly bool s_isJournal = Environment.GetEnvironmentVariable("JOURNAL_STREAM") is not null;
    private static readonly Lock s_lock = new();
    private static readonly Stream s_error = Console.OpenStandardError();
    private static readonly StringBuilder s_waiting = new();
    private static int s_batches;

    public static void Info(string line) => Write("<6>", line);

    public static void Warning(string line) => Write("<4>", line);

    public static void Error(string line) => Write("<3>", line);

    /// <summary>Until the result is disposed lines are written many at a time: a plan may have tens of thousands of steps.</summary>
    public static IDisposable Batch()
    {
        lock (s_lock)
            s_batches++;
        return new Open();
    }

    private static void Write(string priority, string line)
    {
        string text = line.ReplaceLineEndings(" "), stamp = s_isJournal ? priority : DateTime.Now.ToString("HH:mm:ss.fff ", CultureInfo.InvariantCulture);
        lock (s_lock)
        {
            s_waiting.Append(stamp).Append(text).Append('\n');
            if (s_batches == 0 || s_waiting.Length >= WaitingCharsMax)
                Flush();
        }
    }

    private static void Flush()
    {
        if (s_waiting.Length > 0)
            s_error.Write(Encoding.UTF8.GetBytes(s_waiting.ToString()));     // at once: Console.Error has a system call for each 256 characters
        s_waiting.Clear();
    }

    private sealed class Open : IDisposable
    {
        public void Dispose()
        {
            lock (s_lock)
            {
                if (--s_batches == 0)
                    Flush();
            }
        }
    }
}
