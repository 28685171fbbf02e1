// A dom0 in a namespace with many vifs, whose guests' ends are all in a second namespace.
using System.Text;

namespace XenFastPath.Scale;

/// <summary>Made and removed as a whole. The guests' ends are up, so the vifs have carriers as soon as they are.</summary>
internal sealed class Dom0 : IDisposable
{
    /// <summary>Links of one group go together, which takes a fraction of the time.</summary>
    private const int Group = 7;

    private readonly string _folder;

    public Dom0(string folder, int vifs)
    {
        _folder = folder;
        string prefix = $"xfps{Environment.ProcessId}-";
        Name = prefix + "dom0";
        Guests = prefix + "guests";
        Tool.Run("ip", "netns", "add", Name);
        Tool.Run("ip", "netns", "add", Guests);
        // Guests that talk on their own (router solicitations, MLD) would be measured too.
        InGuests("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1");
        In("ip", "link", "set", "lo", "up");
        Batch(Name, Enumerable.Range(1, vifs).Select(v => $"link add {Vif(v)} group {Group} type veth peer name g{v} netns {Guests}"));
        SetGuests(vifs, "up");
    }

    public string Name { get; }

    public string Guests { get; }

    /// <summary>The name of vif number <paramref name="number"/>.</summary>
    public static string Vif(int number) => $"vif{number}.0";

    /// <summary>The Network of a vif, by number: round robin, so that each has its share.</summary>
    public static string NetworkOf(int vif, int networks) => $"net{(vif - 1) % networks + 1}";

    public string In(params string[] command) => Tool.Run("nsenter", [$"--net=/run/netns/{Name}", .. command]);

    public string InGuests(params string[] command) => Tool.Run("nsenter", [$"--net=/run/netns/{Guests}", .. command]);

    /// <summary>The address of a guest's end.</summary>
    public string GuestMac(int vif) => InGuests("ip", "-br", "link", "show", "dev", $"g{vif}").Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)[2];

    /// <summary>Sets all guests' ends up or down; the vifs' carriers follow.</summary>
    public void SetGuests(int vifs, string state) => Batch(Guests, Enumerable.Range(1, vifs).Select(v => $"link set g{v} {state}"));

    /// <summary>Has <c>ip -batch</c> do these lines in a namespace.</summary>
    public Cost Batch(string netns, IEnumerable<string> lines, string program = "ip")
    {
        string file = Path.Combine(_folder, "batch");
        File.WriteAllText(file, string.Join('\n', lines) + "\n", Encoding.ASCII);
        return Tool.Time("nsenter", $"--net=/run/netns/{netns}", program, "-batch", file);
    }

    /// <summary>All links are gone when this returns: those of a namespace that is deleted go later, and would be measured with what comes next.</summary>
    public void Dispose()
    {
        string[] lines = In("ip", "-br", "link", "show", "type", "bridge").Split('\n', StringSplitOptions.RemoveEmptyEntries);
        IEnumerable<string> bridges = lines.Select(l => l.Split(' ')[0]);
        Batch(Name, [.. bridges.Select(b => $"link set {b} group {Group}"), $"link del group {Group}"]);
        Tool.Run("ip", "netns", "del", Guests);
        Tool.Run("ip", "netns", "del", Name);
    }
}
