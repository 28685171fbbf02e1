// The machine that measured, in a line.
namespace XenFastPath.Rig.Results;

internal static class Machine
{
    /// <summary>CPU, number of CPUs, kernel.</summary>
    public static string Describe()
    {
        string[] lines = File.ReadAllLines("/proc/cpuinfo");
        string cpu = Value(lines, "model name") ?? "CPU unknown";
        string kind = Value(lines, "flags")?.Split(' ').Contains("hypervisor") == true ? " of a virtual machine" : "";
        return $"{cpu}, {Environment.ProcessorCount} CPUs{kind}, kernel {File.ReadAllText("/proc/sys/kernel/osrelease").Trim()}";
    }

    /// <summary>How many programs wanted a CPU in the minute before: a machine at rest says so.</summary>
    public static string Load() => File.ReadAllText("/proc/loadavg").Split(' ')[0];

    private static string? Value(string[] lines, string word) =>
        Array.Find(lines, l => l.StartsWith(word, StringComparison.Ordinal))?.Split(':')[^1].Trim();
}
