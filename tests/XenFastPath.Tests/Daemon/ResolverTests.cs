// DNS servers reach the resolver that the machine has, once, and leave it as it was.
using XenFastPath.Daemon.Host;

namespace XenFastPath.Tests.Daemon;

public sealed class ResolverTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("xfp-test-").FullName;
    private readonly List<string> _calls = [];
    private readonly Resolver _resolver;

    public ResolverTests()
    {
        _resolver = new Resolver(_root, (program, arguments, input) => _calls.Add($"{Path.GetFileName(program)} {string.Join(' ', arguments)} <{input}>"));
        Directory.CreateDirectory(Path.Combine(_root, "etc"));
    }

    private static DnsWish Lan { get; } = new("xenbr0", ["192.0.2.53", "2001:db8::53"], "example.org");

    private string Conf => Path.Combine(_root, "etc/resolv.conf");

    [Fact]
    public void A_block_of_ours_in_the_file()
    {
        File.WriteAllText(Conf, "# mine\nnameserver 9.9.9.9\n");
        _resolver.Converge([Lan]);
        string written = File.ReadAllText(Conf);
        Assert.Matches("^# xenfastpath: begin.*\nsearch example.org\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n"
            + "# xenfastpath: end\n# mine\nnameserver 9.9.9.9\n$", written);
        File.WriteAllText(Conf, written + "options edns0\n");
        new Resolver(_root, (_, _, _) => { }).Converge([Lan with { Servers = ["192.0.2.54"], Domain = null }]);      // another daemon
        Assert.Matches("^# xenfastpath: begin.*\nnameserver 192.0.2.54\n# xenfastpath: end\n# mine\nnameserver 9.9.9.9\noptions edns0\n$",
            File.ReadAllText(Conf));
        new Resolver(_root, (_, _, _) => { }).Converge([]);
        Assert.Equal("# mine\nnameserver 9.9.9.9\noptions edns0\n", File.ReadAllText(Conf));
        Assert.Empty(_calls);
        Assert.Equal(["resolv.conf"], Directory.EnumerateFiles(Path.Combine(_root, "etc")).Select(Path.GetFileName));
    }

    [Fact]
    public void A_link_stays_a_link()
    {
        Directory.CreateDirectory(Path.Combine(_root, "run"));
        File.WriteAllText(Path.Combine(_root, "run/real.conf"), "nameserver 9.9.9.9\n");
        File.CreateSymbolicLink(Conf, "../run/real.conf");
        _resolver.Converge([Lan]);
        Assert.Equal("../run/real.conf", new FileInfo(Conf).LinkTarget);
        Assert.Contains("nameserver 192.0.2.53\n", File.ReadAllText(Path.Combine(_root, "run/real.conf")));
    }

    [Fact]
    public void Nothing_wanted_makes_no_file()
    {
        _resolver.Converge([]);
        Assert.False(File.Exists(Conf));
    }

    [Fact]
    public void Systemd_resolved()
    {
        Directory.CreateDirectory(Path.Combine(_root, "run/systemd/resolve"));
        _resolver.Converge([Lan]);
        _resolver.Converge([Lan with { }]);
        _resolver.Converge([]);
        Assert.Equal(
            ["resolvectl dns xenbr0 192.0.2.53 2001:db8::53 <>", "resolvectl domain xenbr0 example.org <>", "resolvectl revert xenbr0 <>"], _calls);
        Assert.False(File.Exists(Conf));
    }

    [Fact]
    public void Resolvconf()
    {
        Directory.CreateDirectory(Path.Combine(_root, "sbin"));
        File.WriteAllText(Path.Combine(_root, "sbin/resolvconf"), "");
        _resolver.Converge([Lan]);
        _resolver.Converge([]);
        Assert.Equal(
            ["resolvconf -a xenbr0.xenfastpath <search example.org\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n>", "resolvconf -d xenbr0.xenfastpath <>"],
            _calls);
    }

    public void Dispose() => Directory.Delete(_root, recursive: true);
}
