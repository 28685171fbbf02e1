// Programs, run inside a network namespace or outside, and what they cost.
using System.Diagnostics;
using System.Globalization;

namespace XenFastPath.Scale;

/// <summary>Time on the clock and on the CPUs, milliseconds. The second says more on a machine that does other things besides.</summary>
internal readonly record struct Cost(double Ms, double CpuMs)
{
    public static Cost operator +(Cost a, Cost b) => new(a.Ms + b.Ms, a.CpuMs + b.CpuMs);
}

internal static class Tool
{
    private const int TicksPerSecond = 100;     // USER_HZ of every Linux this runs on

    /// <summary>Runs to the end and returns what it printed.</summary>
    /// <exception cref="InvalidOperationException">It failed.</exception>
    public static string Run(string program, params string[] arguments)
    {
        using Process process = Start(program, arguments);
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 ? output
            : throw new InvalidOperationException($"{program} {string.Join(' ', arguments)}: exit {process.ExitCode}: {error.Result}{output}");
    }

    /// <summary>As <see cref="Run"/>; what it took.</summary>
    public static Cost Time(string program, params string[] arguments)
    {
        double before = ChildrenCpuMs();
        Stopwatch watch = Stopwatch.StartNew();
        Run(program, arguments);
        return new Cost(watch.Elapsed.TotalMilliseconds, ChildrenCpuMs() - before);
    }

    /// <summary>CPU time of the children that have ended: cutime and cstime, man 5 proc.</summary>
    private static double ChildrenCpuMs() => Fields(Environment.ProcessId)[13..15].Sum(Number) * 1000.0 / TicksPerSecond;

    /// <summary>Starts and returns at once.</summary>
    public static Process Start(string program, params string[] arguments)
    {
        ProcessStartInfo info = new(program) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        foreach (string argument in arguments)
            info.ArgumentList.Add(argument);
        return Process.Start(info)!;
    }

    /// <summary>Waits until something is true.</summary>
    public static void Until(Func<bool> condition, string what, double secondsMax = 120)
    {
        Stopwatch watch = Stopwatch.StartNew();
        while (!condition())
        {
            if (watch.Elapsed.TotalSeconds > secondsMax)
                throw new InvalidOperationException($"not within {secondsMax} s: {what}");
            Tmds.Linux.LibC.usleep(1000);
        }
    }

    /// <summary>CPU time that a process has used, seconds: user and system, all threads.</summary>
    public static double CpuSeconds(int pid)
    {
        string[] fields = Fields(pid);
        return (Number(fields[11]) + Number(fields[12])) / (double)TicksPerSecond;
    }

    /// <summary>What follows the command's name, which may hold spaces, in /proc/PID/stat: from field 3 on.</summary>
    private static string[] Fields(int pid)
    {
        string stat = File.ReadAllText($"/proc/{pid}/stat");
        return stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
    }

    /// <summary>A line of /proc/PID/status in MiB, such as VmHWM, the peak of the resident set.</summary>
    public static double MemoryMib(int pid, string line)
    {
        string text = File.ReadLines($"/proc/{pid}/status").First(l => l.StartsWith(line + ":", StringComparison.Ordinal));
        return Number(text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)[1]) / 1024.0;
    }

    private static long Number(string text) => long.Parse(text, CultureInfo.InvariantCulture);
}
