// How long a packet loop may be kept from its rings while control works: against a loop in C that does nothing but read the clock.
using System.Diagnostics;
using System.Globalization;
using XenFastPath.Api;

namespace XenFastPath.Scale;

internal static class GapBench
{
    private const long FramesMin = 1000;

    public static void Run(Table table, string folder, string bin, string probe, int networks)
    {
        using Dom0 dom0 = new(folder, 2);
        using DaemonProcess daemon = new(folder, bin, dom0.Name);
        daemon.Call(ApiMethods.NetworkCreate, new NetworkCreateParams("fast", Datapath: "afxdp"));
        foreach (string vif in (string[])[Dom0.Vif(1), Dom0.Vif(2)])
            daemon.Call(ApiMethods.VifPlug, new VifPlugParams(vif, "fast"));
        XfpArm.AwaitConverged(daemon, 2);
        // The kernel must know where both are before frames take the fast path.
        string[] macs = [.. ((int[])[1, 2]).Select(dom0.GuestMac)];
        foreach (int v in (int[])[1, 2])
            dom0.In("bridge", "fdb", "replace", macs[v - 1], "dev", Dom0.Vif(v), "master", "dynamic");
        Tool.Until(() => daemon.Call(ApiMethods.FdbSync, new Empty()).Entries == 2, "both guests are in the tables; " + daemon.LogFile);
        using Process sender = Tool.Start("nsenter", $"--net=/run/netns/{dom0.Guests}", probe, "send", "g1", macs[1], macs[0]);
        Tool.Until(() => Frames(daemon) > FramesMin, "frames take the fast path; " + daemon.LogFile, secondsMax: 10);
        long before = Frames(daemon);
        using Process loop = Tool.Start(probe, "loop");
        Stopwatch watch = Stopwatch.StartNew();
        string document = Path.Combine(folder, "networks.json");
        File.WriteAllText(document, XfpArm.Document(
            Enumerable.Range(1, networks).Select(n => ($"net{n}", "auto")).Prepend(("fast", "afxdp")), [(Dom0.Vif(1), "fast"), (Dom0.Vif(2), "fast")]));
        daemon.Xfp("apply", document);
        double ms = watch.Elapsed.TotalMilliseconds;
        loop.StandardInput.Close();
        double idleMs = long.Parse(loop.StandardOutput.ReadToEnd(), CultureInfo.InvariantCulture) / 1e6;
        double gapMs = Counter(daemon, "round_gap_ns_max") / 1e6;
        sender.StandardInput.Close();
        sender.WaitForExit();
        long frames = Frames(daemon) - before;
        if (frames < FramesMin)
            throw new InvalidOperationException($"only {frames} frames took the fast path meanwhile: nothing was measured");
        table.Add($"longest time between two polls while control makes {networks} Networks", gapMs, "ms", $"{frames} frames in {ms:F0} ms");
        table.Add("longest gap of an idle C loop meanwhile", idleMs, "ms", $"ours is {gapMs - idleMs:F2} ms beyond; bar 1 ms");
    }

    /// <summary>What the forwarder has received from its ports.</summary>
    private static long Frames(DaemonProcess daemon) => daemon.Call(ApiMethods.Stats, new Empty()).Ports.Sum(p => p.Counters.FastRxFrames);

    private static long Counter(DaemonProcess daemon, string name) => daemon.Call(ApiMethods.Stats, new Empty()).Loop.GetValueOrDefault(name);
}
