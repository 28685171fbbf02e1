// What is measured: a document with all Networks and vifs applied to a new daemon, a restart of the daemon, and a storm of events.
using System.Diagnostics;
using XenFastPath.Api;

namespace XenFastPath.Scale;

internal static class XfpArm
{
    /// <summary>Memory in MiB, the file in KiB.</summary>
    public sealed record Times(Cost Apply, Cost Restart, Cost Storm, Cost Reapply, double PeakMib, double RestartedMib, double StateKib);

    public static Times Run(string folder, string bin, int networks, int vifs)
    {
        using Dom0 dom0 = new(folder, vifs);
        using DaemonProcess daemon = new(folder, bin, dom0.Name);
        string document = Path.Combine(folder, "host.json");
        File.WriteAllText(document, Document(Enumerable.Range(1, networks).Select(n => ($"net{n}", "auto")),
            Enumerable.Range(1, vifs).Select(v => (Dom0.Vif(v), Dom0.NetworkOf(v, networks)))));
        Cost apply = daemon.Xfp("apply", document);
        // The carriers are the kernel's to find out, a second or so later: then the ports forward, and the daemon must have followed.
        AwaitConverged(daemon, vifs);
        double stateKib = new FileInfo(Path.Combine(daemon.StateDir, "state.json")).Length / 1024.0;
        Cost storm = Storm(dom0, daemon, vifs);
        Cost reapply = daemon.Xfp("apply", document);
        double peak = Tool.MemoryMib(daemon.Pid, "VmHWM");
        daemon.Stop();
        Cost restart = daemon.Start();
        AwaitConverged(daemon, vifs);
        return new Times(apply, restart, storm, reapply, peak, Tool.MemoryMib(daemon.Pid, "VmHWM"), stateKib);
    }

    /// <summary>All guests' ends down, and up again when the daemon has not necessarily followed: until all forward and nothing is left to do.</summary>
    private static Cost Storm(Dom0 dom0, DaemonProcess daemon, int vifs)
    {
        double cpu = Tool.CpuSeconds(daemon.Pid);
        dom0.SetGuests(vifs, "down");
        dom0.SetGuests(vifs, "up");
        Stopwatch watch = Stopwatch.StartNew();
        AwaitConverged(daemon, vifs);
        return new Cost(watch.Elapsed.TotalMilliseconds, (Tool.CpuSeconds(daemon.Pid) - cpu) * 1000);
    }

    /// <summary>Until the daemon says of each vif that it forwards, and has nothing to do.</summary>
    public static void AwaitConverged(DaemonProcess daemon, int vifs) => Tool.Until(
        () => daemon.Call(ApiMethods.VifList, new Empty()).Count(v => v.State == "forwarding") == vifs
            && daemon.Call(ApiMethods.Plan, new PlanParams()).Actions.Count == 0,
        "all vifs forward and the plan is empty; " + daemon.LogFile);

    /// <summary>A document for <c>xfp apply</c>.</summary>
    public static string Document(IEnumerable<(string Label, string Datapath)> networks, IEnumerable<(string Device, string Network)> vifs)
    {
        IEnumerable<string> first = networks.Select(n => $"{{\"label\":\"{n.Label}\",\"datapath\":\"{n.Datapath}\"}}");
        IEnumerable<string> second = vifs.Select(v => $"{{\"device\":\"{v.Device}\",\"network\":\"{v.Network}\"}}");
        return $"{{\"version\":1,\n\"networks\":[\n{string.Join(",\n", first)}],\n\"vifs\":[\n{string.Join(",\n", second)}]}}\n";
    }
}
