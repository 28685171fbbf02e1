// Counts what a station receives, and drops it before the kernel spends anything on it.
using XenFastPath.Interop;
using XenFastPath.Netlink;
using XenFastPath.Rig.Lab;

namespace XenFastPath.Rig.Bpf;

/// <summary>What counts at the stations.</summary>
internal enum SinkKind
{
    None,

    /// <summary>An XDP program. As with any program there, dom0's end can now transmit XDP frames (NDO_XMIT).</summary>
    Xdp,

    /// <summary>A program at tc ingress: an ordinary station, to whom frames come as skbs.</summary>
    Tc,
}

/// <summary>A program on a station's device. It is the same for every arm, and lets everything pass that is no test frame.</summary>
internal sealed class Sink : IDisposable
{
    private readonly RigBpf _bpf = new();
    private readonly Station _station;

    private readonly int _link = -1;

    public Sink(Station station, SinkKind kind)
    {
        _station = station;
        _bpf.Set("config", new RigConfig { Sources = (uint)station.Number });
        if (kind == SinkKind.Xdp)
        {
            Xdp.Attach(station.Netns, station.Device, _bpf.Program("rig_count"));
            return;
        }

        _link = station.Netns.Inside(() => TryAttach(_bpf.Program("rig_count_skb"), Station.IfindexOf(station.Device)));
        if (_link < 0)
            throw new SystemCallException($"hang the counting program on tc ingress of {station.Device} (Linux 6.6)", -_link);
    }

    /// <summary>Test frames to addresses of this station.</summary>
    public long Received => _bpf.Sum("counts", 0);

    /// <summary>Test frames to addresses of others.</summary>
    public long Flooded => _bpf.Sum("counts", 1);

    public void Dispose()
    {
        if (_link < 0)
            Xdp.Detach(_station.Netns, _station.Device);
        else
            Tmds.Linux.LibC.close(_link);
        _bpf.Dispose();
    }

    /// <summary>A link to tcx ingress, or minus the error.</summary>
    private static unsafe int TryAttach(int program, int ifindex) => LibBpf.bpf_link_create(program, ifindex, LibBpf.BPF_TCX_INGRESS, null);
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
