// DPDK's testpmd with two net_af_xdp devices: frames from one port to the other, unread (--forward-mode=io).
using XenFastPath.Rig.Lab;

namespace XenFastPath.Rig.Arms;

internal sealed class TestpmdArm : Arm
{
    private const string Program = "dpdk-testpmd";

    public override string Name => "testpmd";

    public override bool Learns => false;

    public override string Describe() => $"DPDK {Packages.Version("dpdk-dev")} testpmd, forward mode io, two `net_af_xdp` vdevs; no switch, polls one core";

    public override string? WhyNot() => !Tool.Exists(Program) ? $"{Program} is missing: apt-get install dpdk-dev librte-net-af-xdp23"
        : Cpu.Count < 2 ? "it needs two CPUs" : null;

    public override IDisposable Start(Site site, Learning learning)
    {
        Parts parts = new();
        try
        {
            string[] devices = [.. site.Stations.SelectMany((s, i) => new[] { "--vdev", $"net_af_xdp{i},iface={s.Near},start_queue=0,queue_count=1" })];
            string[] command =
            [
                "nsenter", "--net=" + site.Dom0.Path, Program, "-l", $"{Cpu.Generator},{Cpu.Arm}", "--no-huge", "--no-pci",
                "-m", "256", "--file-prefix", site.Prefix, .. devices, "--", "--forward-mode=io", "--nb-cores=1", "--total-num-mbufs=32768", "-i",
            ];
            Background testpmd = parts.Add(new Background(Program, site.Folder + "/testpmd", command));
            testpmd.Until(() => testpmd.Log.Contains("testpmd>", StringComparison.Ordinal), "testpmd is ready");
            testpmd.Say("start");
            testpmd.Until(() => testpmd.Log.Contains("io packet forwarding", StringComparison.Ordinal), "testpmd forwards");
            return parts;
        }
        catch
        {
            parts.Dispose();
            throw;
        }
    }
}

/// <summary>What dpkg knows.</summary>
internal static class Packages
{
    /// <summary>The version of an installed package, or an empty text.</summary>
    public static string Version(string package)
    {
        (int status, string output) = Tool.TryRun("dpkg-query", "-W", "-f", "${Version}", package);
        return status == 0 ? output.Trim() : "";
    }
}
