// Objects for tests, the same in every run.
using XenFastPath.Model;

namespace XenFastPath.Tests.Model;

internal static class Make
{
    public const string BootId = "11111111-2222-3333-4444-555555555555";

    public const ulong Netns = 4026531840;

    public static Guid Uuid(int n) => new($"00000000-0000-0000-0000-{n:x12}");

    public static Network Network(int n, string label, string? bridge = null, int mtu = 1500, Datapath datapath = Datapath.Auto) =>
        new(Uuid(n), (ushort)n, label, bridge ?? label, mtu, datapath);

    public static Pif Pif(int n, string device, string mac = "52:54:00:00:00:01", string? busPath = "0000:03:00.0") =>
        new(Uuid(n), device, mac, busPath, null, false, false);

    public static Vif Vif(int n, string device, Network network, int ifindex = 7, string? mac = null) =>
        new(Uuid(n), device, network.Uuid, mac, new DeviceBinding(BootId, Netns, ifindex));
}

/// <summary>Asserts that something is refused, and that the refusal names the object and the reason.</summary>
internal static class Refusal
{
    public static void Of(Action request, string subject, string reasonPart)
    {
        RefusalException e = Assert.Throws<RefusalException>(request);
        Assert.Equal(subject, e.Subject);
        Assert.Contains(reasonPart, e.Reason);
        Assert.Equal($"{e.Subject}: {e.Reason}", e.Message);
    }
}
