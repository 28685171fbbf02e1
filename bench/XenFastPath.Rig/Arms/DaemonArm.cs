// XenFastPath: the published daemon takes over a bridge that already knows its addresses, as at a restart.
using System.Text.Json;
using XenFastPath.Rig.Lab;

namespace XenFastPath.Rig.Arms;

/// <summary>Our programs from artifacts/bin, with a datapath.</summary>
internal sealed class DaemonArm(string bin, string datapath) : Arm
{
    private string? _path;

    public override string Name => datapath;

    public override bool FinishesChecksums => true;

    public override string Describe() =>
        $"XenFastPath, `--datapath {datapath}`{(_path is null || _path == datapath ? "" : $", which took the path {_path}")}";

    public override string? WhyNot() => File.Exists(bin + "/xenfastpathd") ? null : $"{bin}/xenfastpathd is missing: run packaging/build.sh";

    public override IDisposable Start(Site site, Learning learning)
    {
        Parts parts = new();
        try
        {
            BridgeArm.Make(site, learning);
            Run(site, parts);
            return parts;
        }
        catch
        {
            parts.Dispose();
            throw;
        }
    }

    /// <summary>Another datapath for the running arm's Network; returns when its port takes it.</summary>
    public void Take(Site site, string other)
    {
        string socket = SocketOf(site);
        Xfp(socket, "network", "set", BridgeArm.Device, "--datapath", other);
        string path = "";
        Tool.Eventually(() => IsReady(socket, site.A.Near, out path) && (path == BridgeArm.ArmName) == (other == BridgeArm.ArmName),
            $"{site.A.Near} takes {other}");
    }

    private static string SocketOf(Site site) => site.Folder + "/run/xenfastpath.sock";

    private void Run(Site site, Parts parts)
    {
        string run = site.Folder + "/run", bpffs = site.Folder + "/bpf", socket = SocketOf(site);
        Directory.CreateDirectory(run);
        Directory.CreateDirectory(bpffs);
        Tool.Run("mount", "-t", "bpf", "bpf", bpffs);
        parts.Add(() => Tool.TryRun("umount", bpffs));
        parts.Add(() => EndForwarders(run));
        Background daemon = parts.Add(new Background("xenfastpathd", site.Folder + "/log",
            site.InDom0(bin + "/xenfastpathd", "--run-dir", run, "--state-dir", site.Folder + "/state", "--bpffs", bpffs)));
        daemon.Until(() => Tool.TryRun(bin + "/xfp", "--socket", socket, "show", "--no-rates").Status == 0, "xenfastpathd answers");
        Xfp(socket, ["network", "create", BridgeArm.Device, "--bridge", BridgeArm.Device, "--datapath", datapath,
            .. site.Pair == Pair.VifVif ? [] : (string[])["--pif", site.B.Near]]);
        foreach (Station vif in site.Stations.Where(s => s.Near.StartsWith("vif", StringComparison.Ordinal)))
            Xfp(socket, "vif", "plug", vif.Near, "--network", BridgeArm.Device);
        string path = "";
        daemon.Until(() => IsReady(socket, site.A.Near, out path), $"{site.A.Near} forwards on path {datapath} (it is on: {path})");
        _path = path;
        Xfp(socket, "fdb", "sync");
    }

    /// <summary>Forwards, on the path that was asked for; auto may take any.</summary>
    private bool IsReady(string socket, string device, out string path)
    {
        using JsonDocument vif = JsonDocument.Parse(Xfp(socket, "--json", "vif", "show", device));
        path = vif.RootElement.GetProperty("path") is { ValueKind: JsonValueKind.Object } p ? p.GetProperty("path").GetString() ?? "" : "";
        return vif.RootElement.GetProperty("state").GetString() == "forwarding" && (datapath == "auto" ? path.Length > 0 : path == datapath);
    }

    private string Xfp(string socket, params string[] arguments)
    {
        (int status, string output) = Tool.TryRun(bin + "/xfp", ["--socket", socket, .. arguments]);
        return status == 0 ? output : throw new RigException($"xfp {string.Join(' ', arguments)}: {output.Trim()}");
    }

    /// <summary>The forwarder outlives its daemon; it is found by its run-dir, which is ours alone.</summary>
    private static void EndForwarders(string run)
    {
        const int sigkill = 9;
        foreach (string folder in Directory.EnumerateDirectories("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(folder), out int pid) || pid == Environment.ProcessId)
                continue;
            string command;
            try
            {
                command = File.ReadAllText(folder + "/cmdline").Replace('\0', ' ');
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                continue;   // it ended meanwhile
            }

            if (command.Contains("xenfastpath-forwarder", StringComparison.Ordinal) && command.Contains(run, StringComparison.Ordinal))
            {
                Tmds.Linux.LibC.kill(pid, sigkill);
                Tool.Eventually(() => !File.Exists(folder + "/exe"), $"forwarder {pid} ends");
            }
        }
    }
}
