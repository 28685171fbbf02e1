// Programs that the rig starts: ip, the arms' own, iperf3. What runs longer than one call is ended with the rig.
using System.Diagnostics;

namespace XenFastPath.Rig.Lab;

/// <summary>Something that the rig cannot measure, or cannot set up; the message says what and why.</summary>
internal class RigException(string message) : Exception(message);

/// <summary>Runs programs.</summary>
internal static class Tool
{
    private const int SecondsMax = 60;

    /// <summary>Runs to the end and returns what it printed.</summary>
    /// <exception cref="RigException">It failed; with its words.</exception>
    public static string Run(string program, params string[] arguments)
    {
        (int status, string output) = TryRun(program, arguments);
        return status == 0 ? output : throw new RigException($"{program} {string.Join(' ', arguments)}: exit {status}: {output.Trim()}");
    }

    /// <summary>Runs to the end; returns the exit status and both outputs.</summary>
    public static (int Status, string Output) TryRun(string program, params string[] arguments) => TryRun(SecondsMax, program, arguments);

    /// <summary>The same with another time limit, in seconds; the status is -1 when it is over.</summary>
    public static (int Status, string Output) TryRun(int secondsMax, string program, params string[] arguments)
    {
        using Process process = Start(program, arguments);
        Task<string> error = process.StandardError.ReadToEndAsync();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        if (!process.WaitForExit(TimeSpan.FromSeconds(secondsMax)))
        {
            process.Kill();
            return (-1, $"did not end within {secondsMax} s");
        }

        return (process.ExitCode, output.Result + error.Result);
    }

    /// <summary>Starts and returns at once; standard input stays open, which keeps testpmd alive.</summary>
    public static Process Start(string program, params string[] arguments)
    {
        ProcessStartInfo info = new(program) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        foreach (string argument in arguments)
            info.ArgumentList.Add(argument);
        return Process.Start(info) ?? throw new RigException("cannot start " + program);
    }

    /// <summary>Is a program there, in PATH or as an absolute path?</summary>
    public static bool Exists(string program) => Path.IsPathRooted(program) ? File.Exists(program)
        : (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(f => File.Exists(Path.Combine(f, program)));

    /// <summary>Waits for something to become true.</summary>
    /// <exception cref="RigException">It did not within the time.</exception>
    public static void Eventually(Func<bool> condition, string what, double secondsMax = 10)
    {
        Stopwatch watch = Stopwatch.StartNew();
        while (!condition())
        {
            if (watch.Elapsed.TotalSeconds > secondsMax)
                throw new RigException($"not within {secondsMax} s: {what}");
            Thread.Sleep(5);
        }
    }
}

/// <summary>A program that runs as long as an arm does. What it prints goes to a log file.</summary>
internal sealed class Background : IDisposable
{
    private readonly Process _process;
    private readonly string _name;
    private readonly string _log;

    public Background(string name, string log, params string[] command)
    {
        (_name, _log) = (name, log);
        string line = string.Join(' ', command.Select(c => $"'{c.Replace("'", "'\\''", StringComparison.Ordinal)}'"));
        _process = Tool.Start("/bin/sh", "-c", $"exec {line} >>'{log}' 2>&1");
    }

    public bool HasExited => _process.HasExited;

    public string Log => File.Exists(_log) ? File.ReadAllText(_log) : "";

    /// <summary>Waits for something that the program does.</summary>
    /// <exception cref="RigException">It ended before, or the time was over; with the end of its log.</exception>
    public void Until(Func<bool> condition, string what, double secondsMax = 15)
    {
        try
        {
            Tool.Eventually(() => _process.HasExited || condition(), what, secondsMax);
        }
        catch (RigException e)
        {
            throw new RigException($"{e.Message}; {Tail()}");
        }

        if (_process.HasExited)
            throw new RigException($"{_name} ended with status {_process.ExitCode}: {Tail()}");
    }

    /// <summary>Types a line into the program.</summary>
    public void Say(string line)
    {
        _process.StandardInput.WriteLine(line);
        _process.StandardInput.Flush();
    }

    public void Dispose()
    {
        const int sigterm = 15, waitMsMax = 3000;
        if (!_process.HasExited)
        {
            Tmds.Linux.LibC.kill(_process.Id, sigterm);
            if (!_process.WaitForExit(waitMsMax))
                _process.Kill();
            _process.WaitForExit();
        }

        _process.Dispose();
    }

    private string Tail() => string.Join(" / ", Log.Split('\n', StringSplitOptions.RemoveEmptyEntries).TakeLast(4));
}
