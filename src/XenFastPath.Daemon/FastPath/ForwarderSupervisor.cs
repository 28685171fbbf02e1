// Keeps a forwarder running: finds the one that serves the run-dir, starts one if none does, notices at once when it dies.
using System.Diagnostics;
using XenFastPath.Dataplane;
using XenFastPath.Interop;

namespace XenFastPath.Daemon.FastPath;

/// <summary>How a forwarder is started. <see cref="Binary"/>: null for the one beside this program. Its run-dir is not among the arguments.</summary>
internal sealed record ForwarderStart(string? Binary, IReadOnlyList<string> Arguments);

/// <summary>
/// The forwarder process from control's side. <see cref="Connect"/> is called on the controller's thread; the watch threads only
/// set the program's "forwarder is down" flag and tell.
/// </summary>
internal sealed unsafe class ForwarderSupervisor(string runDir, BpfMaps maps, ForwarderStart how) : IDisposable
{
    /// <summary>A forwarder waits up to 5 s for the lock of one that was just killed, and says "ready" right after.</summary>
    private const int ReadyMsMax = 15_000;

    private ForwarderClient? _client;
    private int _starts;

    /// <summary>Told on a watch thread, after the flag is down, that the forwarder of this connection has died.</summary>
    public Action<ForwarderClient>? Died { get; set; }

    /// <summary>The connected forwarder; null if there is none that answers.</summary>
    public ForwarderClient? Client => _client is { IsConnected: true } ? _client : null;

    /// <summary>The latest forwarder, connected or not; its counters can be read.</summary>
    public ForwarderClient? Latest => _client;

    /// <summary>Forwarders that this daemon started in the place of another.</summary>
    public long Restarts { get; private set; }

    /// <summary>Age of the oldest heartbeat of the forwarder's packet threads, ns.</summary>
    public long HeartbeatAgeNs => (long)(Clock.NowNs() - Heartbeats.OldestNs(maps.Heartbeats));

    public bool IsStale => HeartbeatAgeNs > Layout.ForwarderStaleNs;

    /// <summary>May the program redirect to the forwarder?</summary>
    public bool IsUp => Volatile.Read(ref maps.Heartbeats->ForwarderUp) != 0;

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
        ForwarderClient? client = ForwarderClient.TryConnect(runDir, out bool isOtherVersion, out int silentPid);
        if (silentPid != 0)
        {
            if (!IsStale)
                throw new FastPathException($"pid {silentPid} is busy and does not answer yet");
            // Its sockets hold the ports, and on zero-copy ports all their frames; nobody but a new one can help.
            Kill(silentPid, "it stands still and does not answer");
        }

        if (client is not null && ((client.MapId != 0 && client.MapId != maps.XsksId) || client.NetnsInode != NetworkNamespace.OfThread()))
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
        {
            // An earlier forwarder may have died while no control was there to lower the flag.
            SetUp(false);
            client.SetMaps(maps);
        }

        _client = client;
        Watch(client);
        return client;
    }

    /// <summary>Kills a forwarder that stands still, so that a new one can take its place.</summary>
    public void Kill(string why)
    {
        if (_client is { } client)
            Kill(client.Pid, why);
    }

    private void Kill(int pid, string why)
    {
        Log.Warning($"forwarder: killing pid {pid}: {why}");
        SetUp(false);
        Tmds.Linux.LibC.kill(pid, 9);
    }

    public void Dispose() => _client?.Dispose();

    private ForwarderClient Start()
    {
        string path = how.Binary ?? FindBinary();
        ProcessStartInfo start = new(path) { RedirectStandardOutput = true, RedirectStandardInput = true };
        foreach (string argument in (IEnumerable<string>)["--run-dir", runDir, .. how.Arguments])
            start.ArgumentList.Add(argument);
        using Process process = Begin(start);
        if (_starts++ > 0)
            Restarts++;
        // It says "ready" when it listens; end of file means that it has gone, with its reason on stderr.
        Task<string?> ready = process.StandardOutput.ReadLineAsync();
        if (!ready.Wait(ReadyMsMax))
        {
            process.Kill();
            throw new FastPathException($"{path} (pid {process.Id}) did not get ready within {ReadyMsMax / 1000} s");
        }

        if (ready.Result != "ready")
            throw new FastPathException($"{path} did not start; its reason stands above");
        ForwarderClient? client = ForwarderClient.TryConnect(runDir, out _, out _);
        Log.Info($"forwarder: started {path}, pid {process.Id}");
        return client ?? throw new FastPathException($"{path} (pid {process.Id}) does not answer on {runDir}/{ForwarderChannel.SocketName}");
    }

    private static Process Begin(ProcessStartInfo start)
    {
        try
        {
            return Process.Start(start) ?? throw new FastPathException($"cannot start {start.FileName}");
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw new FastPathException($"cannot start {start.FileName}: {e.Message}");
        }
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
            // A connection that was given up has a successor, whose own watcher tells.
            if (_client != client)
                return;
            SetUp(false);
            Log.Warning($"forwarder: pid {client.Pid} has died");
            client.Dispose();
            Died?.Invoke(client);
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
