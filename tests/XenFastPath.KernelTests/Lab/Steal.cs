// What the hypervisor takes from this machine: time in which a runnable CPU did not run.
using System.Globalization;

namespace XenFastPath.KernelTests.Lab;

/// <summary>
/// Time stolen from this machine's CPUs since this was made. A forwarder that does not run for longer than its heartbeat allows throws
/// away what waits in its rings, as it should; replies that were lost so are the host's doing. Each lost millisecond of one CPU can
/// cost one reply of a 1 kHz ping, so that is what a test grants, and no more: nothing on a machine that has its CPUs to itself.
/// Source: proc_stat(5), the field "steal", in ticks of 10 ms.
/// </summary>
internal sealed class Steal
{
    private const int StealField = 8, TickMs = 10;

    private readonly int _startMs = ReadMs();

    /// <summary>Milliseconds stolen from all CPUs together.</summary>
    public int Ms => ReadMs() - _startMs;

    private static int ReadMs()
    {
        string[] fields = File.ReadLines("/proc/stat").First().Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return (int)(long.Parse(fields[StealField], CultureInfo.InvariantCulture) * TickMs);
    }
}
