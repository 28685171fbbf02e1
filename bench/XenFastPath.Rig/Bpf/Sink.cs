// Counts what a station receives, and drops it before the kernel spends anything on it.
using XenFastPath.Netlink;
using XenFastPath.Rig.Lab;

namespace XenFastPath.Rig.Bpf;

/// <summary>
/// An XDP program on a station's device. It is the same for every arm, and lets everything pass that is no test frame. As with any program
/// there, dom0's end can now transmit XDP frames (NDO_XMIT).
/// </summary>
internal sealed class Sink : IDisposable
{
    private readonly RigBpf _bpf = new();
    private readonly Station _station;

    public Sink(Station station)
    {
        _station = station;
        _bpf.Set("config", new RigConfig { Sources = (uint)station.Number });
        Xdp.Attach(station.Netns, station.Device, _bpf.Program("rig_count"));
    }

    /// <summary>Test frames to addresses of this station.</summary>
    public long Received => _bpf.Sum("counts", 0);

    public void Dispose()
    {
        Xdp.Detach(_station.Netns, _station.Device);
        _bpf.Dispose();
    }
}

/// <summary>XDP programs on devices, by netlink.</summary>
internal static class Xdp
{
    public static void Attach(Netns netns, string device, int program) => Set(netns, device, program);

    public static void Detach(Netns netns, string device) => Set(netns, device, -1);

    private static void Set(Netns netns, string device, int program) => netns.Inside(() =>
    {
        using Rtnl rtnl = new();
        rtnl.SetXdp(Station.IfindexOf(device), program, XdpFlags.Driver);
        return 0;
    });
}
