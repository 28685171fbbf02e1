// Whoever else manages a device is found by his files, and the refusal says how he lets go. A made-up file tree stands for the machine.
using XenFastPath.Daemon.Host;

namespace XenFastPath.Tests.Daemon;

public sealed class DeviceOwnersTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("xfp-test-").FullName;

    [Fact]
    public void Nobody()
    {
        Assert.Null(Find());
        Write("run/NetworkManager/devices/7", "[device]\nmanaged=false\n");
        Write("run/systemd/netif/links/7", "ADMIN_STATE=unmanaged\nOPER_STATE=routable\nNETWORK_FILE=/run/x.network\n");
        Write("run/network/ifstate", "lo=lo\neth1=eth1\n");
        Write("etc/network/interfaces", "auto lo\niface lo inet loopback\niface eth1 inet dhcp\n");
        Process(100, "dhclient", "-4", "eth1");
        Process(101, "/usr/sbin/sshd", "eth0");
        Assert.Null(Find());
    }

    [Fact]
    public void Network_manager()
    {
        Write("run/NetworkManager/devices/7", "[device]\nmanaged=true\nconnection-uuid=0b5a1c5e\n");
        Is("NetworkManager", "nmcli device set eth0 managed no");
    }

    [Fact]
    public void Networkd()
    {
        Write("run/systemd/netif/links/7", "ADMIN_STATE=configured\nOPER_STATE=routable\nNETWORK_FILE=/etc/systemd/network/10-lan.network\n");
        Is("systemd-networkd (/etc/systemd/network/10-lan.network)",
            "printf '[Match]\\nName=eth0\\n[Link]\\nUnmanaged=yes\\n' > /etc/systemd/network/00-eth0-unmanaged.network && networkctl reload");
    }

    [Theory]
    [InlineData("etc/network/interfaces")]
    [InlineData("etc/network/interfaces.d/lan")]
    public void Ifupdown(string file)
    {
        Write("run/network/ifstate", "lo=lo\neth0=eth0\n");
        Assert.Null(Find());        // brought up once, and no longer in the configuration
        Write(file, "auto eth0\n  iface eth0 inet static\n");
        Assert.Equal("ifupdown (/etc/network/interfaces)", Find()?.Name);
    }

    [Theory]
    [InlineData("kill 100", "/sbin/dhclient", "-4", "-v", "eth0")]
    [InlineData("kill 100", "udhcpc", "-b", "-i", "eth0")]
    [InlineData("kill 100", "/bin/busybox", "udhcpc", "-ieth0")]
    [InlineData("dhcpcd -x eth0", "dhcpcd", "-b")]
    [InlineData("dhcpcd -x eth0", "dhcpcd: eth0 [ip4]", "eth0")]
    public void A_dhcp_client(string handOver, params string[] words)
    {
        Process(100, words);
        Assert.Equal(handOver, Find()?.HandOver);
        Assert.Null(new DeviceOwners(_root).Find("eth0", 7, new HashSet<int> { 100 }));       // it is ours
    }

    [Fact]
    public void A_client_in_another_namespace_has_another_eth0()
    {
        Process(100, "dhclient", "eth0");
        Link("proc/self/ns/net", "net:[1]");
        Link("proc/100/ns/net", "net:[2]");
        Assert.Null(Find());
        File.Delete(Path.Combine(_root, "proc/100/ns/net"));
        Link("proc/100/ns/net", "net:[1]");
        Assert.Equal("dhclient (pid 100)", Find()?.Name);
    }

    public void Dispose() => Directory.Delete(_root, recursive: true);

    private DeviceOwner? Find() => new DeviceOwners(_root).Find("eth0", 7, new HashSet<int>());

    private void Is(string name, string handOver) => Assert.Equal(new DeviceOwner(name, handOver), Find());

    private void Process(int pid, params string[] words) => Write($"proc/{pid}/cmdline", string.Join('\0', words) + '\0');

    private void Write(string path, string text)
    {
        string full = Path.Combine(_root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        File.WriteAllText(full, text);
    }

    private void Link(string path, string target)
    {
        string full = Path.Combine(_root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        File.CreateSymbolicLink(full, target);
    }
}
