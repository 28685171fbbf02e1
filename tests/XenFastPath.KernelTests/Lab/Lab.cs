// A dom0 in a namespace with guests around it:
//
//     [g1 eth0]--vif1.0--+
//     [g2 eth0]--vif2.0--+--[ dom0: xenfastpathd, xenfastpath-forwarder ]--eth0----[w0 wan]   the world behind the PIF
//     [g3 eth0]--vif3.0--+
//
// The programs are the published ones (artifacts/bin). XFP_PAUSE=1 stops at a failure with everything still up.
using System.Diagnostics;
using XenFastPath.Api;

namespace XenFastPath.KernelTests.Lab;

/// <summary>Everything a kernel test needs; removed as a whole, also after a failure.</summary>
internal sealed class Lab : IDisposable
{
    private static int s_count;

    private readonly string _folder = Directory.CreateTempSubdirectory("xfp-lab-").FullName;
    private readonly List<IDisposable> _parts = [];
    private readonly List<Process> _processes = [];
    private ApiClient? _client;

    public Lab(int guests = 3, bool startDaemon = true)
    {
        Prefix = $"xfp{Environment.ProcessId}-{Interlocked.Increment(ref s_count)}-";
        Bpffs = Path.Combine(_folder, "bpf");
        Dom0 = new Netns(Prefix + "dom0");
        try
        {
            Build(guests, startDaemon);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    private void Build(int guests, bool startDaemon)
    {
        _parts.Add(Dom0);
        // What a dom0 has set: bridged frames do not visit the host's iptables.
        Dom0.Run("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0", "net.bridge.bridge-nf-call-arptables=0");
        Directory.CreateDirectory(Bpffs);
        Directory.CreateDirectory(RunDir);
        Tool.Run("mount", "-t", "bpf", "bpf", Bpffs);
        for (int i = 1; i <= guests; i++)
            AddGuest();
        if (startDaemon)
            StartDaemon();
    }

    public static string Bin { get; } = FindBin();

    public string Prefix { get; }

    public Netns Dom0 { get; }

    public List<Guest> Guests { get; } = [];

    public string RunDir => Path.Combine(_folder, "run");

    public string StateDir => Path.Combine(_folder, "state");

    public string Bpffs { get; }

    public string LogFile => Path.Combine(_folder, "log");

    public Process? Daemon { get; private set; }

    public ApiClient Client => _client ??= ApiClient.ConnectAsync(Path.Combine(RunDir, "xenfastpath.sock")).GetAwaiter().GetResult();

    /// <summary>Adds guest number n with vif&lt;n&gt;.0.</summary>
    public Guest AddGuest(int queues = 1)
    {
        int n = Guests.Count + 1;
        Guest guest = new(this, n, $"vif{n}.0", $"02:00:00:00:01:{n:x2}", queues: queues);
        Guests.Add(guest);
        return guest;
    }

    /// <summary>The world behind a PIF called <paramref name="pif"/>.</summary>
    public Guest AddWorld(string pif = "eth0", int number = 200)
    {
        Guest world = new(this, number, pif, $"02:00:00:00:02:{number:x2}", device: "wan");
        _parts.Add(world);
        return world;
    }

    /// <summary>Starts xenfastpathd and waits until it serves its socket.</summary>
    public void StartDaemon(params string[] arguments)
    {
        Disconnect();
        string socket = Path.Combine(RunDir, "xenfastpath.sock");
        File.Delete(socket);
        ProcessStartInfo info = new("/bin/sh") { RedirectStandardInput = true };
        info.ArgumentList.Add("-c");
        string command = $"{Bin}/xenfastpathd --run-dir {RunDir} --state-dir {StateDir} --bpffs {Bpffs} {string.Join(' ', arguments)}";
        info.ArgumentList.Add($"exec nsenter --net={Dom0.Path} {command} >>{LogFile} 2>&1");
        Daemon = Process.Start(info)!;
        Process daemon = Daemon;
        _processes.Add(daemon);
        Tool.Eventually(() => daemon.HasExited || Answers(socket), $"xenfastpathd serves {socket}", 20);
        Assert.False(daemon.HasExited, "xenfastpathd ended:\n" + Log());
    }

    /// <summary>Starts a daemon that is expected to end by itself.</summary>
    public (int Status, string Output) TryDaemon() =>
        Tool.TryRun("nsenter", "--net=" + Dom0.Path, Bin + "/xenfastpathd", "--run-dir", RunDir, "--state-dir", StateDir, "--bpffs", Bpffs);

    /// <summary>Runs the command line against this lab's daemon.</summary>
    public (int Status, string Output) Xfp(params string[] arguments) =>
        Tool.TryRun(Bin + "/xfp", ["--socket", Path.Combine(RunDir, "xenfastpath.sock"), .. arguments]);

    /// <summary>Ends the daemon with a signal and waits until it is gone.</summary>
    public void EndDaemon(int signal = 15)
    {
        Disconnect();
        Signal(Daemon!.Id, signal);
        Assert.True(Daemon.WaitForExit(20_000), "xenfastpathd does not end");
    }

    public string Log() => File.Exists(LogFile) ? File.ReadAllText(LogFile) : "";

    public static void Signal(int pid, int signal) => Tmds.Linux.LibC.kill(pid, signal);

    /// <summary>Calls a method of the API; a refusal is an <see cref="ApiErrorException"/>.</summary>
    public TResult Call<TParams, TResult>(ApiMethod<TParams, TResult> method, TParams parameters) =>
        Client.CallAsync(method, parameters).GetAwaiter().GetResult();

    public NetworkInfo CreateNetwork(string label, string datapath, string? pif = null, int? mtu = null, string? bridge = null) =>
        Call(ApiMethods.NetworkCreate, new(label, bridge, pif, mtu, datapath));

    public NetworkInfo Network(string label) => Call(ApiMethods.NetworkShow, new(label));

    public VifInfo Plug(Guest guest, string network) => Call(ApiMethods.VifPlug, new(guest.Vif, network));

    public VifInfo VifOf(Guest guest) => Call(ApiMethods.VifShow, new(guest.Vif));

    public FdbSyncInfo Sync() => Call(ApiMethods.FdbSync, new());

    public ShowInfo Show() => Call(ApiMethods.Show, new());

    public StatsInfo Stats() => Call(ApiMethods.Stats, new());

    /// <summary>A named counter of a port; 0 if it was never raised.</summary>
    public long Counter(string device, string name) =>
        Stats().Ports.Single(p => p.Device == device).Counters.Named.GetValueOrDefault(name);

    /// <summary>Plugs all guests into one Network and waits until every port forwards on the path asked for.</summary>
    public void PlugAll(string network, string path)
    {
        foreach (Guest guest in Guests)
            Plug(guest, network);
        WaitForPath(network, path);
    }

    public void WaitForPath(string network, string path) => Tool.Eventually(
        () =>
        {
            NetworkInfo info = Network(network);
            return info.Vifs.All(v => v.State == "forwarding" && v.Path!.Path == path)
                && (info.Pif is null || (info.Pif.State == "forwarding" && info.Pif.Path!.Path == path));
        }, $"all ports of {network} forward on path {path}:\n{string.Join('\n', Network(network).Vifs.Select(v => $"{v.Device} {v.State} {v.Path}"))}", 15);

    public void Dispose()
    {
        if (TestContext.Current.TestState?.Result == TestResult.Failed && Environment.GetEnvironmentVariable("XFP_PAUSE") == "1")
        {
            Console.WriteLine($"paused with everything up: namespaces {Prefix}*, {_folder}; press Enter");
            Console.ReadLine();
        }

        int? forwarder = null;
        try
        {
            forwarder = _client is not null || Daemon is { HasExited: false } ? Show().Forwarder.Pid : null;
        }
        catch (Exception)
        {
            // The daemon is gone or stopped: its forwarder is found by its run-dir below.
        }

        Disconnect();
        foreach (Process process in _processes.Where(p => !p.HasExited))
        {
            Signal(process.Id, 18);
            Signal(process.Id, 9);
            process.WaitForExit();
        }

        foreach (int pid in Forwarders().Append(forwarder ?? 0).Where(p => p > 0).Distinct())
        {
            Signal(pid, 9);
            Tool.Eventually(() => !Directory.Exists($"/proc/{pid}") || IsZombie(pid), $"forwarder {pid} ends");
        }

        foreach (Guest guest in Guests)
            guest.Dispose();
        foreach (IDisposable part in Enumerable.Reverse(_parts))
            part.Dispose();
        Tool.TryRun("umount", Bpffs);
        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>Forwarders that serve this lab's run-dir.</summary>
    public IEnumerable<int> Forwarders()
    {
        foreach (string folder in Directory.EnumerateDirectories("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(folder), out int pid))
                continue;
            string command;
            try
            {
                command = File.ReadAllText($"{folder}/cmdline").Replace('\0', ' ');
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                continue;   // it ended meanwhile
            }

            if (command.Contains("xenfastpath-forwarder", StringComparison.Ordinal) && command.Contains(RunDir + " ", StringComparison.Ordinal))
                yield return pid;
        }
    }

    private static bool IsZombie(int pid)
    {
        try
        {
            return File.ReadAllText($"/proc/{pid}/stat").Contains(") Z ", StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return true;
        }
    }

    private void Disconnect()
    {
        if (_client is not null)
            Close(_client);
        _client = null;
    }

    private static void Close(ApiClient client) => client.DisposeAsync().AsTask().GetAwaiter().GetResult();

    private static bool Answers(string socket)
    {
        try
        {
            Close(ApiClient.ConnectAsync(socket).GetAwaiter().GetResult());
            return true;
        }
        catch (DaemonUnreachableException)
        {
            return false;
        }
    }

    private static string FindBin()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "XenFastPath.sln")))
                return Path.Combine(folder.FullName, "artifacts", "bin");
        }

        throw new InvalidOperationException("the repository's root was not found");
    }
}
