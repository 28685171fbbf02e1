// DHCP clients that cannot be started: each is tried again after its own time, and none keeps the others.
using XenFastPath.Daemon.Host;

namespace XenFastPath.Tests.Daemon;

public sealed class DhcpClientsTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("xfp-dhcp-").FullName;
    private readonly HashSet<DhcpWish> _wanted = [new("eth0", IsIpv6: false), new("eth1", IsIpv6: false)];
    private readonly HashSet<string> _devices = ["eth0", "eth1"];

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("dhclient", "An error occurred trying to start process")]
    [InlineData(null, "none for IPv4 is installed any more")]
    public void What_cannot_be_started_waits_and_keeps_nobody(string? program, string reason)
    {
        // Its program has vanished between the look and the start.
        DhcpClients clients = new(_folder, _folder, () => { }, _ => { }, name => name == program ? Path.Combine(_folder, "gone") : null);
        Assert.Equal(0, clients.NextStartMs);
        long before = Environment.TickCount64;
        string message = Assert.Throws<IOException>(() => clients.Converge(_wanted, _devices)).Message;
        Assert.Contains("eth0: DHCP client: " + reason, message);
        Assert.Contains("eth1: DHCP client: " + reason, message);
        Assert.InRange(clients.NextStartMs, before + 1000, Environment.TickCount64 + 1000);
        clients.Converge(_wanted, _devices);        // not due yet: nothing is tried
        Assert.InRange(clients.NextStartMs, before + 1000, Environment.TickCount64 + 1000);
    }
}
