// A dom0 in a namespace with guests around it:
//
//     [g1 eth0]--vif1.0--+
//     [g2 eth0]--vif2.0--+--[ dom0: xenfastpathd, xenfastpath-forwarder ]--eth0----[w0 wan]   the world behind the PIF
//     [g3 eth0]--vif3.0--+
//
// The programs are the published ones (artifacts/bin). XFP_PAUSE=1 stops at a failure with everything still up.
using System.Diagnostics;
using System.Text.RegularExpressions;
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
        Directory.CreateDirectory(Bpffs);
        Directory.CreateDirectory(RunDir);
        Tool.Run("mount", "-t", "bpf", "bpf", Bpffs);
        for (int i = 1; i <= guests; i++)
            AddGuest();
        if (startDaemon)
            StartDaemon();
    }

    public static string Bin { get; } = FindBin();

    /// <summary>What every daemon of the tests is started with besides: XFP_DAEMON_ARGUMENTS, such as "--workers 2".</summary>
    private static readonly string[] s_arguments =
        (Environment.GetEnvironmentVariable("XFP_DAEMON_ARGUMENTS") ?? "").Split(' ', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>How much slower than real hardware the machine is: 1, or what XFP_SCALE says of an emulated one.</summary>
    public static int Scale { get; } = int.TryParse(Environment.GetEnvironmentVariable("XFP_SCALE"), out int scale) && scale > 1 ? scale : 1;

    public string Prefix { get; }

    public Netns Dom0 { get; }

    public List<Guest> Guests { get; } = [];

    /// <summary>What lies behind the PIFs.</summary>
    public List<Guest> Worlds { get; } = [];

    public string RunDir => Path.Combine(_folder, "run");

    public string StateDir => Path.Combine(_folder, "state");

    public string Bpffs { get; }

    public string LogFile => Path.Combine(_folder, "log");

    /// <summary>If set before the daemon starts: what it and its DHCP clients see as /etc/resolv.conf.</summary>
    public string? ResolvConf { get; set; }

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

    /// <summary>The world behind a PIF called <paramref name="pif"/>: a veth, or the near one of two real cards.</summary>
    public Guest AddWorld(string pif = "eth0", int number = 200, CardPair? cards = null)
    {
        Guest world = new(this, number, pif, cards?.FarMac ?? $"02:00:00:00:02:{number:x2}", device: "wan", cards: cards);
        Worlds.Add(world);
        return world;
    }

    /// <summary>Adds a namespace that goes with the lab.</summary>
    public Netns AddNetns(string name)
    {
        Netns netns = new(Prefix + name);
        _parts.Add(netns);
        return netns;
    }

    /// <summary>dom0's links as configured: without what the kernel finds out by itself, such as carriers.</summary>
    public string Links() => Regex.Replace(Dom0.Run("ip", "link", "show"), "NO-CARRIER,|,LOWER_UP| state [A-Z]+", "");

    /// <summary>Starts xenfastpathd and waits until it serves its socket.</summary>
    public void StartDaemon(params string[] arguments)
    {
        Disconnect();
        string socket = Path.Combine(RunDir, "xenfastpath.sock");
        File.Delete(socket);
        ProcessStartInfo info = new("/bin/sh") { RedirectStandardInput = true };
        info.ArgumentList.Add("-c");
        string command = $"{Bin}/xenfastpathd --run-dir {RunDir} --state-dir {StateDir} --bpffs {Bpffs} {string.Join(' ', [.. s_arguments, .. arguments])}";
        string start = $"exec nsenter --net={Dom0.Path} {command} >>{LogFile} 2>&1";
        info.ArgumentList.Add(ResolvConf is null ? start : $"exec unshare --mount /bin/sh -c 'mount --bind {ResolvConf} /etc/resolv.conf && {start}'");
        Daemon = Process.Start(info)!;
        Process daemon = Daemon;
        _processes.Add(daemon);
        Tool.Eventually(() => daemon.HasExited || Answers(socket), $"xenfastpathd serves {socket}", 20);
        Assert.False(daemon.HasExited, "xenfastpathd ended:\n" + Log());
    }

    /// <summary>Starts a daemon that is expected to end by itself.</summary>
    public (int Status, string Output) TryDaemon(params string[] arguments) =>
        Tool.TryRun("nsenter", ["--net=" + Dom0.Path, Bin + "/xenfastpathd", "--run-dir", RunDir, "--state-dir", StateDir, "--bpffs", Bpffs, .. arguments]);

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

    /// <summary>Calls a method that must be refused, with a reason that contains <paramref name="reasonPart"/>.</summary>
    public void Call<TParams, TResult>(ApiMethod<TParams, TResult> method, TParams parameters, string reasonPart)
    {
        ApiErrorException e = Assert.Throws<ApiErrorException>(() => Call(method, parameters));
        Assert.Contains(reasonPart, e.Message);
    }

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

    /// <summary>
    /// How many of so many frames may be lost where none may be lost on real hardware: on a slow machine a tenth, because the
    /// forwarder stands still there for so long at times that it throws away what waited meanwhile.
    /// </summary>
    public static int LossMax(int sent) => Scale == 1 ? 0 : sent / 10;

    /// <summary>
    /// Pings with iputils' ping and fails if more is lost than may be. Returns how many it sent, which is <see cref="Scale"/> times
    /// less often and so many times fewer than asked for.
    /// </summary>
    public static int Ping(Guest from, Guest to, int count, int intervalMs, int bytes = 56)
    {
        int sent = Math.Max(count / Scale, 1);
        string interval = (intervalMs * Scale / 1000.0).ToString(System.Globalization.CultureInfo.InvariantCulture);
        Steal steal = new();
        string output = from.Netns.Run("ping", "-q", "-i", interval, "-c", $"{sent}", "-s", $"{bytes}", to.Ip);
        string received = output[..output.IndexOf(" received", StringComparison.Ordinal)].Split(' ')[^1];
        Assert.True(sent - int.Parse(received) <= LossMax(sent) + steal.Ms / intervalMs, $"{output}\nstolen by the host: {steal.Ms} ms");
        return sent;
    }

    /// <summary>Pings as <see cref="Ping"/>, and counts the frames of the sender that took the fast path meanwhile.</summary>
    public (int Sent, long Fast) PingFast(Guest from, Guest to, int count, int intervalMs)
    {
        long before = VifOf(from).Counters!.FastRxFrames;
        int sent = Ping(from, to, count, intervalMs);
        return (sent, VifOf(from).Counters!.FastRxFrames - before);
    }

    /// <summary>Plugs all guests into one Network and waits until every port forwards on the path asked for.</summary>
    public void PlugAll(string network, string path)
    {
        foreach (Guest guest in Guests)
            Plug(guest, network);
        WaitForPath(network, path);
    }

    /// <summary>The kernel looks at a new device's carrier when it has time; until then it is in no known state, as lo always is.</summary>
    public void WaitForOperstates() => Tool.Eventually(
        () => Dom0.Run("ip", "-brief", "link", "show").Split(" UNKNOWN ").Length <= 2, "only lo is in no known state", 30);

    public void WaitForPath(string network, string path) => Tool.Eventually(
        () =>
        {
            NetworkInfo info = Network(network);
            return info.Vifs.All(v => v.State == "forwarding" && v.Path!.Path == path)
                && (info.Vlan is null || (info.Vlan.State == "forwarding" && info.Vlan.Path!.Path == path))
                && (info.Pif is null || (info.Pif.State == "forwarding" && info.Pif.Path!.Path == path));
        }, $"all ports of {network} forward on path {path}:\n{string.Join('\n', Network(network).Vifs.Select(v => $"{v.Device} {v.State} {v.Path}"))}", 15);

    public void Dispose()
    {
        if (TestContext.Current.TestState?.Result == TestResult.Failed && Environment.GetEnvironmentVariable("XFP_PAUSE") == "1")
        {
            Console.WriteLine($"paused with everything up: namespaces {Prefix}*, {_folder}; press Enter");
            Console.ReadLine();
        }

        // A test that failed while it had the daemon stopped would wait for its answer for ever.
        foreach (Process process in _processes.Where(p => !p.HasExited))
            Signal(process.Id, 18);
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
        // Without its file a guard ends by itself.
        if (Directory.Exists(StateDir))
            File.Delete(Path.Combine(StateDir, "rollback.json"));
        foreach (Process process in _processes.Where(p => !p.HasExited))
        {
            Signal(process.Id, 9);
            process.WaitForExit();
        }

        // A daemon that was killed in the middle of a plan leaves the switch on to its successor, of which there is none here.
        if (File.Exists(Path.Combine(RunDir, "rcu_expedited")))
            File.WriteAllText("/sys/kernel/rcu_expedited", "0");
        foreach (int pid in Forwarders().Append(forwarder ?? 0).Where(p => p > 0).Distinct())
        {
            Signal(pid, 9);
            Tool.Eventually(() => !Directory.Exists($"/proc/{pid}") || IsZombie(pid), $"forwarder {pid} ends");
        }

        foreach (Guest guest in Guests.Concat(Worlds))
            guest.Dispose();
        foreach (IDisposable part in Enumerable.Reverse(_parts))
            part.Dispose();
        Tool.TryRun("umount", Bpffs);
        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>Forwarders that serve this lab's run-dir.</summary>
    public IEnumerable<int> Forwarders() => Processes("xenfastpath-forwarder", RunDir + " ");

    /// <summary>Guards of applies that wait for their confirmation.</summary>
    public IEnumerable<int> Guards() => Processes("xenfastpathd --guard", StateDir + " ");

    private static IEnumerable<int> Processes(string program, string argument)
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

            if (command.Contains(program, StringComparison.Ordinal) && command.Contains(argument, StringComparison.Ordinal))
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
