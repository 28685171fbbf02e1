// xenfastpath-forwarder: the data process. It serves one control process at a time over RUN_DIR/forwarder.sock and outlives it.
using System.Runtime.Intrinsics.X86;
using XenFastPath.Dataplane;
using XenFastPath.Interop;

namespace XenFastPath.Forwarder;

internal static class Program
{
    private const string Usage = """
        usage: xenfastpath-forwarder [--run-dir DIR] [--arena-mib N] [--workers N] [--cpus LIST] [--busy-poll-us N]
               [--vif-frames N]

        The data process of XenFastPath; xenfastpathd starts it when none serves its run-dir.
          --run-dir DIR      where forwarder.sock is made (default /run/xenfastpath)
          --arena-mib N      packet memory in MiB (default 64; 4 to 4096)
          --workers N        packet threads (default 1, or one for each CPU of --cpus; at most 16)
          --cpus LIST        CPUs that they run on, as 2,3; one each
          --busy-poll-us N   poll the queues of physical ports for so long after a frame, before sleeping (default 0)
          --vif-frames N     frames that a guest may send in one burst (default 256; 256 to 4096)
        """;

    private static int Main(string[] args)
    {
        if (ForwarderOptions.Parse(args, out string? problem) is not { } options)
        {
            Console.Error.WriteLine(problem is null ? Usage : $"xenfastpath-forwarder: {problem}\n{Usage}");
            return problem is null ? 0 : 2;
        }

        try
        {
            // A session of its own: neither Ctrl-C nor the hang-up of control's terminal is for the data path.
            Tmds.Linux.LibC.setsid();
            if (options.Cpus?.FirstOrDefault(c => !MayRunOn(c), -1) is { } cpu and >= 0)
            {
                Console.Error.WriteLine($"xenfastpath-forwarder: CPU {cpu} is not there, or not for this process (taskset -p {Environment.ProcessId})");
                return 1;
            }

            LiftMemoryLock();
            RaisePriority();
            using ControlSocket socket = ControlSocket.Listen(options.RunDir);
            using ForwarderMemory memory = new(InstructionSet(), options.Workers);
            Console.Error.WriteLine($"forwarder: pid {Environment.ProcessId}, {Encoding(InstructionSet())}, serving {socket.Path}");
            // Whoever started us waits for this line, then nobody reads our output any more.
            Console.Out.WriteLine("ready");
            Console.Out.Close();
            using Manager manager = new(socket, memory, options);
            return manager.Run();
        }
        catch (SystemCallException e)
        {
            Console.Error.WriteLine("xenfastpath-forwarder: " + e.Message);
            return 1;
        }
    }

    private static unsafe bool MayRunOn(int cpu)
    {
        Tmds.Linux.cpu_set_t set;
        return Tmds.Linux.LibC.sched_getaffinity(0, sizeof(Tmds.Linux.cpu_set_t), &set) == 0 && Tmds.Linux.LibC.CPU_ISSET(cpu, &set);
    }

    /// <summary>
    /// The arena is locked memory. Raising the limit needs CAP_SYS_RESOURCE and may be refused; with CAP_IPC_LOCK there is no limit
    /// to begin with, and without either the first port's failure says what is missing.
    /// </summary>
    private static unsafe void LiftMemoryLock()
    {
        const int RLIMIT_MEMLOCK = 8;
        ulong* unlimited = stackalloc ulong[2] { ulong.MaxValue, ulong.MaxValue };
        Libc.setrlimit(RLIMIT_MEMLOCK, unlimited);
    }

    /// <summary>
    /// Before other processes of dom0: a packet thread that is ready to run and does not makes all guests wait, and one that waited
    /// for 60 ms has to throw away what it received. It sleeps when there is nothing to do, so the others lose nothing they need.
    /// A nice value counts within a session only, where the kernel groups by session (sched(7), autogroup), so both are set.
    /// </summary>
    private static void RaisePriority()
    {
        const int PRIO_PROCESS = 0, highest = -20;
        const string group = "/proc/self/autogroup";
        string? fault = Libc.setpriority(PRIO_PROCESS, 0, highest) == 0 ? null : Errno.Describe(Errno.Last);
        try
        {
            if (fault is null && File.Exists(group))
                File.WriteAllText(group, $"{highest}\n");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            fault = e.Message;
        }

        if (fault is not null)
            Console.Error.WriteLine($"forwarder: stays at the priority of other processes: {fault}; packets may wait for them");
    }

    private static ReadOnlySpan<byte> InstructionSet() => Avx2.IsSupported ? "x86-64-v3"u8 : Sse42.IsSupported ? "x86-64-v2"u8 : "generic"u8;

    private static string Encoding(ReadOnlySpan<byte> ascii) => System.Text.Encoding.ASCII.GetString(ascii);
}
