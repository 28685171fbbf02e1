// Programs that nobody here wrote: ip, bridge, tc, nft, iperf3, ping, ...
using System.Diagnostics;

namespace XenFastPath.KernelTests.Lab;

internal static class Tool
{
    private const int SecondsMax = 120;

    /// <summary>Runs to the end; fails the test with the program's words if it fails.</summary>
    public static string Run(string program, params string[] arguments)
    {
        (int status, string output) = TryRun(program, arguments);
        Assert.True(status == 0, $"{program} {string.Join(' ', arguments)}: exit {status}\n{output}");
        return output;
    }

    /// <summary>Runs to the end; returns the exit status and both outputs.</summary>
    public static (int Status, string Output) TryRun(string program, params string[] arguments)
    {
        using Process process = Start(program, arguments);
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        if (!process.WaitForExit(TimeSpan.FromSeconds(SecondsMax)))
        {
            process.Kill();
            Assert.Fail($"{program} {string.Join(' ', arguments)} did not end within {SecondsMax} s");
        }

        return (process.ExitCode, output + error.Result);
    }

    /// <summary>Starts and returns at once.</summary>
    public static Process Start(string program, params string[] arguments)
    {
        ProcessStartInfo info = new(program) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        foreach (string argument in arguments)
            info.ArgumentList.Add(argument);
        return Process.Start(info)!;
    }

    /// <summary>
    /// Waits for something to become true; fails with <paramref name="what"/> if it does not within the time (on a slower machine:
    /// <see cref="Lab.Scale"/> times as long).
    /// </summary>
    public static void Eventually(Func<bool> condition, string what, double secondsMax = 10)
    {
        secondsMax *= Lab.Scale;
        Stopwatch watch = Stopwatch.StartNew();
        while (!condition())
        {
            Assert.True(watch.Elapsed.TotalSeconds < secondsMax, $"not within {secondsMax} s: {what}");
            Thread.Yield();
            Tmds.Linux.LibC.usleep(2000);
        }
    }
}
