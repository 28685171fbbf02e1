// Keeps a forwarder running: finds the one that serves the run-dir, starts one if none does, notices at once when it dies.
using System.Diagnostics;
using XenFastPath.Dataplane;
using XenFastPath.Interop;

namespace XenFastPath.Daemon.FastPath;

/// <summary>
/// The forwarder process from control's side. <see cref="Connect"/> is called on the controller's thread; the watch threads only
/// set the program's "forwarder is down" flag and tell.
/// </summary>
internal sealed unsafe class ForwarderSupervisor(string runDir, BpfMaps maps, string? binary) : IDisposable
{
    private ForwarderClient? _client;
    private int _starts;

    /// <summary>Told on a watch thread, after the flag is down, that the forwarder has died.</summary>
    public Action? Died { get; set; }

    /// <summary>The connected forwarder; null if there is none that answers.</summary>
    public ForwarderClient? Client => _client is { IsConnected: true } ? _client : null;

    /// <summary>The latest forwarder, connected or not; its counters can be read.</summary>
    public ForwarderClient? Latest => _client;

    /// <summary>Forwarders that this daemon started in the place of another.</summary>
    public long Restarts { get; private set; }

    /// <summary>Age of the heartbeat of the forwarder's packet thread, ns.</summary>
    public long HeartbeatAgeNs => (long)(Clock.NowNs() - Volatile.Read(ref *Heartbeats.WorkerNs(maps.Heartbeats, 0)));

    public bool IsStale => HeartbeatAgeNs > Layout.ForwarderStaleNs;

    /// <summary>May the program redirect? Only when every port is in the forwarder.</summary>
    public void SetUp(bool isUp) => Volatile.Write(ref maps.Heartbeats->ForwarderUp, isUp ? 1u : 0u);

    /// <summary>
    /// Connects to the forwarder that serves the run-dir, or starts one. The flag stays as it is if this forwarder already worked
    /// with our maps (then its ports are valid), and goes down otherwise.
    /// </summary>
    /// <exception cref="FastPathException">None can be had.</exception>
    public ForwarderClient Connect()
    {
        _client?.Dispose();
        _client = null;
        ForwarderClient? client = ForwarderClient.TryConnect(runDir, out bool isOtherVersion, out _);
        if (client is not null && ((client.MapId != 0 && client.MapId != maps.XsksId) || client.NetnsInode != NetworkNamespace.Inode))
        {
            // It works with maps that are no longer pinned, or with other devices: nothing can be redirected to it.
            Log.Info($"forwarder: pid {client.Pid} serves other maps or another network namespace; replacing it");
            client.Shutdown();
            client.Dispose();
            client = null;
        }

        if (isOtherVersion)
            Log.Info("forwarder: the one that serves this run-dir speaks another version; replacing it");
        if (client is null)
        {
            SetUp(false);
            client = Start();
        }

        if (client.MapId == 0)
            client.SetMaps(maps);
        _client = client;
        Watch(client);
        return client;
    }

    /// <summary>Kills a forwarder that stands still, so that a new one can take its place.</summary>
    public void Kill(string why)
    {
        if (_client is not { } client)
            return;
        Log.Warning($"forwarder: killing pid {client.Pid}: {why}");
        SetUp(false);
        Tmds.Linux.LibC.kill(client.Pid, 9);
    }

    public void Dispose() => _client?.Dispose();

    private ForwarderClient Start()
    {
        string path = binary ?? FindBinary();
        ProcessStartInfo start = new(path) { RedirectStandardOutput = true, RedirectStandardInput = true };
        start.ArgumentList.Add("--run-dir");
        start.ArgumentList.Add(runDir);
        Process process;
        try
        {
            process = Process.Start(start) ?? throw new FastPathException($"cannot start {path}");
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw new FastPathException($"cannot start {path}: {e.Message}");
        }

        if (_starts++ > 0)
            Restarts++;
        // It says "ready" when it listens; end of file means that it has gone, with its reason on stderr.
        if (process.StandardOutput.ReadLine() != "ready")
            throw new FastPathException($"{path} did not start; its reason stands above");
        ForwarderClient? client = ForwarderClient.TryConnect(runDir, out _, out _);
        Log.Info($"forwarder: started {path}, pid {process.Id}");
        return client ?? throw new FastPathException($"{path} (pid {process.Id}) does not answer on {runDir}/{ForwarderChannel.SocketName}");
    }

    /// <summary>Beside this program; the flavour for newer CPUs if this CPU can run it.</summary>
    private static string FindBinary()
    {
        const string name = "xenfastpath-forwarder";
        string folder = Path.GetDirectoryName(Environment.ProcessPath) ?? ".";
        string newer = Path.Combine(folder, name + "-v3");
        return CpuFlags.IsV3 && File.Exists(newer) ? newer : Path.Combine(folder, name);
    }

    /// <summary>
    /// Waits in the lifeline. The kernel hands a dying thread's robust mutexes on before it closes a single file, and closing 64
    /// AF_XDP sockets takes a grace period each: all that time frames would be redirected into the void.
    /// </summary>
    private void Watch(ForwarderClient client)
    {
        Thread thread = new(() =>
        {
            Pthread.Lock(client.Lifeline.Address);
            if (_client == client)
                SetUp(false);
            Log.Warning($"forwarder: pid {client.Pid} has died");
            client.Dispose();
            Died?.Invoke();
        })
        {
            IsBackground = true,
            Name = "lifeline",
        };
        thread.Start();
    }
}

/// <summary>What /proc/cpuinfo says: this process itself is built for the oldest CPU.</summary>
internal static class CpuFlags
{
    /// <summary>x86-64-v3: AVX2, BMI, FMA, ...</summary>
    public static bool IsV3 { get; } = Has("avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave");

    private static bool Has(params string[] wanted)
    {
        string? line = File.ReadLines("/proc/cpuinfo").FirstOrDefault(l => l.StartsWith("flags", StringComparison.Ordinal));
        HashSet<string> flags = [.. (line ?? "").Split(' ')];
        return wanted.All(flags.Contains);
    }
}
