// An XDP redirect to the other port without any lookup: what the kernel's part of the work costs at least.
using XenFastPath.Rig.Bpf;
using XenFastPath.Rig.Lab;

namespace XenFastPath.Rig.Arms;

internal sealed class DevmapArm : Arm
{
    public override string Name => "devmap";

    public override bool Learns => false;

    public override string Describe() => "an XDP program on each port that redirects everything to the other one by a devmap, without a lookup; no switch";

    public override string? WhyNot() => null;

    public override IDisposable Start(Site site, Learning learning)
    {
        Parts parts = new();
        try
        {
            Attach(site, parts, site.A.Near, site.B.Near);
            Attach(site, parts, site.B.Near, site.A.Near);
            return parts;
        }
        catch
        {
            parts.Dispose();
            throw;
        }
    }

    private static void Attach(Site site, Parts parts, string from, string to)
    {
        RigBpf bpf = parts.Add(new RigBpf());
        site.Dom0.Inside(() =>
        {
            bpf.Set("output", (uint)Station.IfindexOf(to));
            return 0;
        });
        Xdp.Attach(site.Dom0, from, bpf.Program("rig_devmap"));
    }
}
