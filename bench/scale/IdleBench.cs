// What the two processes cost when nothing happens.
using XenFastPath.Api;

namespace XenFastPath.Scale;

internal static class IdleBench
{
    private const int Ports = 10, Seconds = 20;

    public static void Run(Table table, string folder, string bin)
    {
        using Dom0 dom0 = new(folder, Ports);
        using DaemonProcess daemon = new(folder, bin, dom0.Name);
        daemon.Call(ApiMethods.NetworkCreate, new NetworkCreateParams("net1", Datapath: "afxdp"));
        for (int v = 1; v <= Ports; v++)
            daemon.Call(ApiMethods.VifPlug, new VifPlugParams(Dom0.Vif(v), "net1"));
        XfpArm.AwaitConverged(daemon, Ports);
        int forwarder = daemon.ForwarderPid;
        double control = Tool.CpuSeconds(daemon.Pid), data = Tool.CpuSeconds(forwarder);
        Thread.Sleep(TimeSpan.FromSeconds(Seconds));
        control = (Tool.CpuSeconds(daemon.Pid) - control) / Seconds;
        data = (Tool.CpuSeconds(forwarder) - data) / Seconds;
        table.Add($"idle CPU, {Ports} ports on afxdp", (control + data) * 100, "% of a core", $"daemon {control:P2}, forwarder {data:P2}; bar 1 %");
    }
}
