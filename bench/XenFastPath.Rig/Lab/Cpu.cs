// Which CPUs there are for whom, and how busy they were (/proc/stat, proc_stat(5)).
using System.Globalization;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;

namespace XenFastPath.Rig.Lab;

/// <summary>Of one CPU, in seconds, or as shares of a time.</summary>
/// <param name="Busy">It worked for somebody.</param>
/// <param name="Idle">It had nothing to do, or waited for a disk.</param>
internal readonly record struct CpuSeconds(double Busy, double Idle);

/// <summary>
/// The generator runs on CPU 0; the processes of an arm on the others, if there are any. What the kernel does for a frame happens on
/// the CPU that brought it, so the kernel's arms work on CPU 0 too.
/// </summary>
internal static unsafe class Cpu
{
    public const int Generator = 0;

    public static int Count { get; } = Environment.ProcessorCount;

    /// <summary>For taskset -c: where an arm's processes may run.</summary>
    public static string ArmList => Count > 1 ? $"1-{Count - 1}" : "0";

    /// <summary>The first CPU of an arm's processes.</summary>
    public static int Arm => Count > 1 ? 1 : 0;

    /// <summary>Ties the calling thread to one CPU.</summary>
    public static void Pin(int cpu)
    {
        const int setBytes = 128;
        byte* set = stackalloc byte[setBytes];
        new Span<byte>(set, setBytes).Clear();
        set[cpu / 8] = (byte)(1 << (cpu % 8));
        if (sched_setaffinity(0, setBytes, (Tmds.Linux.cpu_set_t*)set) != 0)
            throw new SystemCallException($"tie a thread to CPU {cpu}", Errno.Last);
    }

    /// <summary>Gives the calling thread the CPU only when nobody else wants it (SCHED_IDLE, sched(7)).</summary>
    public static void BeIdle()
    {
        const int SCHED_IDLE = 5;
        int priority = 0;
        int error = Libc.sched_setscheduler(0, SCHED_IDLE, &priority);
        if (error != 0)
            throw new SystemCallException("make a thread idle", Errno.Last);
    }

    /// <summary>What each CPU has done since boot.</summary>
    public static CpuSeconds[] Spent() => Parse(File.ReadAllText("/proc/stat"));

    /// <summary>The lines "cpuN user nice system idle iowait irq softirq steal ..." in ticks of 10 ms (USER_HZ).</summary>
    internal static CpuSeconds[] Parse(string stat)
    {
        const double ticksPerSecond = 100;
        List<CpuSeconds> cpus = [];
        foreach (string line in stat.Split('\n'))
        {
            if (!line.StartsWith("cpu", StringComparison.Ordinal) || line.Length < 4 || !char.IsAsciiDigit(line[3]))
                continue;
            long[] ticks = [.. line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1..].Select(t => long.Parse(t, CultureInfo.InvariantCulture))];
            cpus.Add(new((ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]) / ticksPerSecond, (ticks[3] + ticks[4]) / ticksPerSecond));
        }

        return [.. cpus];
    }

    /// <summary>Shares of the time between two readings. What is neither busy nor idle the hypervisor took, whether it says so or not.</summary>
    public static CpuSeconds[] Shares(CpuSeconds[] before, CpuSeconds[] after, double seconds) =>
        [.. after.Zip(before, (a, b) => new CpuSeconds((a.Busy - b.Busy) / seconds, (a.Idle - b.Idle) / seconds))];
}
