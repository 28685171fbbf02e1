// DHCP by an installed client, never one of our own: started where a PIF asks for it, restarted when it dies, ended when nobody asks.
// A client outlives this daemon, as bridges do; the next one finds it by its pid file.
using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using XenFastPath.Model;

namespace XenFastPath.Daemon.Host;

/// <summary>A device that is to get its addresses by DHCP, one family.</summary>
internal readonly record struct DhcpWish(string Device, bool IsIpv6)
{
    public string Name => $"{Device}-{(IsIpv6 ? 6 : 4)}";
}

/// <summary>
/// Supervises the clients. For the controller's thread; <paramref name="died"/> is called on any thread. <paramref name="find"/> has the
/// path of an installed program, null if there is none; the default looks where distributions have them.
/// </summary>
internal sealed class DhcpClients(string runDir, string stateDir, Action died, Action<string> log, Func<string, string?>? find = null)
{
    private const int BackOffMsMin = 1000, BackOffMsMax = 60_000;

    /// <summary>A client that lived so long has not died of what killed the one before.</summary>
    private const int HealthyMs = 60_000;

    private const int SIGKILL = 9, SIGTERM = 15;

    private static readonly string[] s_folders = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin"];

    private readonly Func<string, string?> _find = find ?? Find;
    private readonly Dictionary<DhcpWish, Client> _clients = [];
    private readonly HashSet<DhcpWish> _moved = [];

    private sealed class Client
    {
        public int Pid { get; set; }

        public string Program { get; set; } = "";

        public long StartedAtMs { get; set; }

        public long NotBeforeMs { get; set; }

        public int BackOffMs { get; set; } = BackOffMsMin;
    }

    /// <summary>Processes that are ours.</summary>
    public IReadOnlySet<int> Pids => _clients.Values.Select(c => c.Pid).Where(p => p > 0).ToHashSet();

    /// <summary>When a dead client is due to be started again, on Environment.TickCount64; 0: none waits.</summary>
    public long NextStartMs => _clients.Values.Where(c => c is { Pid: 0, NotBeforeMs: > 0 }).Select(c => c.NotBeforeMs).DefaultIfEmpty(0).Min();

    /// <summary>Is there a client for this family?</summary>
    /// <exception cref="RefusalException">None is installed; names the packages.</exception>
    public static void Require(string subject, bool isIpv6)
    {
        if (Command(Find, new DhcpWish(subject, isIpv6), "", "") is null)
        {
            throw new RefusalException(subject, $"mode dhcp needs an installed DHCP client for IPv{(isIpv6 ? 6 : 4)}: "
                + (isIpv6 ? "apt-get install isc-dhcp-client (or dhcpcd)" : "apt-get install isc-dhcp-client (or dhcpcd, udhcpc)"));
        }
    }

    /// <summary>Starts what is wanted and not there, ends what is there and not wanted. What fails of one does not keep the others.</summary>
    /// <exception cref="IOException">Some failed: which, and why.</exception>
    public void Converge(IReadOnlySet<DhcpWish> wanted, IReadOnlySet<string> devices)
    {
        List<string> faults = [];
        AdoptRemembered(Try);
        foreach (DhcpWish wish in _clients.Keys.Where(w => !wanted.Contains(w)).ToArray())
            Try(wish, () => End(wish, isDeviceThere: devices.Contains(wish.Device)));
        foreach (DhcpWish wish in wanted.Where(w => devices.Contains(w.Device)))
            Try(wish, () => Keep(wish));
        if (faults.Count > 0)
            throw new IOException(string.Join("; ", faults));

        void Try(DhcpWish wish, Action step)
        {
            try
            {
                step();
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or Win32Exception)
            {
                faults.Add($"{wish.Device}: DHCP client: {e.Message}");
            }
        }
    }

    private void Keep(DhcpWish wish)
    {
        if (!_clients.TryGetValue(wish, out Client? client))
            _clients[wish] = client = new Client();
        if (client.Pid != 0 && !IsAlive(client))
            Bury(wish, client);
        if (client.Pid == 0 && Environment.TickCount64 >= client.NotBeforeMs)
            Start(wish, client);
    }

    private void Start(DhcpWish wish, Client client)
    {
        // Before anything can fail: one that cannot be started is tried again as one that died.
        client.NotBeforeMs = Environment.TickCount64 + client.BackOffMs;
        client.BackOffMs = Math.Min(client.BackOffMs * 2, BackOffMsMax);
        string[] command = Command(_find, wish, ClientPidFile(wish), LeaseFile(wish))
            ?? throw new IOException($"none for IPv{(wish.IsIpv6 ? 6 : 4)} is installed any more");
        // With no pipe to us: it stays when we go.
        ProcessStartInfo info = new(command[0]) { RedirectStandardInput = true };
        foreach (string argument in command.Skip(1))
            info.ArgumentList.Add(argument);
        Process process = Process.Start(info)!;
        process.EnableRaisingEvents = true;
        process.Exited += (_, _) => died();
        process.StandardInput.Close();
        (client.Pid, client.Program, client.StartedAtMs) = (process.Id, Path.GetFileName(command[0]), Environment.TickCount64);
        File.WriteAllText(PidFile(wish), $"{process.Id} {client.Program}\n");
        log($"{wish.Device}: DHCP by {string.Join(' ', command)}, pid {process.Id}");
        if (process.HasExited)
            died();
    }

    private void Bury(DhcpWish wish, Client client)
    {
        bool wasHealthy = Environment.TickCount64 - client.StartedAtMs > HealthyMs;
        if (wasHealthy)
            client.BackOffMs = BackOffMsMin;
        client.NotBeforeMs = Environment.TickCount64 + client.BackOffMs;
        log($"{wish.Device}: DHCP client {client.Program} (pid {client.Pid}) ended; another try in {client.BackOffMs} ms");
        client.Pid = 0;
    }

    /// <summary>
    /// A client whose device goes on without it gives its lease back, so that no address stays that nobody renews. One that follows its
    /// addresses to another device just ends: they are in use.
    /// </summary>
    private void End(DhcpWish wish, bool isDeviceThere)
    {
        Client client = _clients[wish];
        _clients.Remove(wish);
        bool releases = !_moved.Remove(wish) && isDeviceThere;
        File.Delete(PidFile(wish));
        if (client.Pid == 0 || !IsAlive(client))
            return;
        log($"{wish.Device}: DHCP client {client.Program} (pid {client.Pid}) is ended{(releases ? ", its lease given back" : "")}");
        _ = Tmds.Linux.LibC.kill(client.Pid, !releases && client.Program == "udhcpc" ? SIGKILL : SIGTERM);     // it has -R
        // dhclient's lease is given back by another of its kind. That one would also end whoever has the number in the pid file, which
        // is written only with a lease and may be of long ago.
        File.Delete(ClientPidFile(wish));
        if (releases && client.Program == "dhclient" && Command(_find, wish, ClientPidFile(wish), LeaseFile(wish)) is { } command)
            Process.Start(command[0], ["-r", .. command.Skip(2)]).Dispose();
    }

    /// <summary>The next end of this client is a move: what it has configured is on another device now.</summary>
    public void Moves(string fromDevice)
    {
        // The first step of a new daemon may be a move.
        AdoptRemembered((_, adopt) =>
        {
            try
            {
                adopt();
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Converge tries again, and tells.
            }
        });
        foreach (DhcpWish wish in _clients.Keys.Where(w => w.Device == fromDevice))
            _moved.Add(wish);
    }

    private void AdoptRemembered(Action<DhcpWish, Action> attempt)
    {
        foreach (DhcpWish wish in Remembered().Where(w => !_clients.ContainsKey(w)))
            attempt(wish, () => _clients[wish] = Adopt(wish));
    }

    private Client Adopt(DhcpWish wish)
    {
        string[] words = File.ReadAllText(PidFile(wish)).Split([' ', '\n'], StringSplitOptions.RemoveEmptyEntries);
        Client client = new() { StartedAtMs = Environment.TickCount64 };
        if (words is [var pid, var program] && int.TryParse(pid, NumberStyles.None, CultureInfo.InvariantCulture, out int number))
            (client.Pid, client.Program) = (number, program);
        if (!IsAlive(client) || !TryWatch(client.Pid))
            client.Pid = 0;
        return client;
    }

    /// <summary>To be told when a client ends that an earlier daemon has started. False: it has.</summary>
    private bool TryWatch(int pid)
    {
        try
        {
            Process process = Process.GetProcessById(pid);
            process.EnableRaisingEvents = true;
            process.Exited += (_, _) => died();
            return !process.HasExited;
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException)
        {
            return false;
        }
    }

    private IEnumerable<DhcpWish> Remembered() => Directory.Exists(runDir)
        ? [.. Directory.EnumerateFiles(runDir, "dhcp-*.pid").Select(f => Path.GetFileNameWithoutExtension(f)["dhcp-".Length..])
            .Where(n => n.Length > 2).Select(n => new DhcpWish(n[..^2], n.EndsWith("-6", StringComparison.Ordinal)))]
        : [];

    // The number may be another process's by now.
    private static bool IsAlive(Client client)
    {
        try
        {
            return client.Pid > 0 && File.ReadAllText($"/proc/{client.Pid}/cmdline").Contains(client.Program, StringComparison.Ordinal)
                && !File.ReadAllText($"/proc/{client.Pid}/stat").Contains(") Z ", StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return false;
        }
    }

    private string ClientPidFile(DhcpWish wish) => PidFile(wish) + ".client";

    private string LeaseFile(DhcpWish wish) => Path.Combine(stateDir, $"dhcp-{wish.Name}.leases");

    private string PidFile(DhcpWish wish) => Path.Combine(runDir, $"dhcp-{wish.Name}.pid");

    // In the foreground, all of them: what supervises must see them die.
    private static string[]? Command(Func<string, string?> find, DhcpWish wish, string pidFile, string leaseFile)
    {
        if (find("dhclient") is { } dhclient)
            return [dhclient, "-d", wish.IsIpv6 ? "-6" : "-4", "-pf", pidFile, "-lf", leaseFile, wish.Device];
        if (find("dhcpcd") is { } dhcpcd)
            return [dhcpcd, "-B", wish.IsIpv6 ? "-6" : "-4", wish.Device];
        if (wish.IsIpv6)
            return null;
        return find("udhcpc") is { } udhcpc ? [udhcpc, "-f", "-R", "-i", wish.Device] : null;
    }

    private static string? Find(string program) => s_folders.Select(f => Path.Combine(f, program)).FirstOrDefault(File.Exists);
}
