// Open vSwitch with the user-space datapath (netdev) and ports of type afxdp; its database and its daemon are the rig's own.
using System.Globalization;
using XenFastPath.Rig.Lab;

namespace XenFastPath.Rig.Arms;

internal sealed class OvsArm : Arm
{
    private const string Schema = "/usr/share/openvswitch/vswitch.ovsschema";
    private const int AddressesMax = 1 << 20;

    private static readonly string[] s_daemons = ["/usr/lib/openvswitch-switch/ovs-vswitchd", "/usr/sbin/ovs-vswitchd"];

    public override string Name => "ovs";

    public override string Describe() =>
        $"Open vSwitch {Packages.Version("openvswitch-switch")}, netdev datapath, ports of type afxdp, one PMD thread that polls one core";

    public override string? WhyNot()
    {
        const string get = "apt-get install openvswitch-switch";
        if (Daemon() is not { } daemon || !File.Exists(Schema))
            return "Open vSwitch is missing: " + get;
        // A build without --enable-afxdp does not know the option of such a port.
        return File.ReadAllText(daemon, System.Text.Encoding.Latin1).Contains("use-need-wakeup", StringComparison.Ordinal) ? null
            : $"{daemon} is built without AF_XDP (--enable-afxdp)";
    }

    public override IDisposable Start(Site site, Learning learning)
    {
        Parts parts = new();
        try
        {
            Run(site, parts, learning);
            return parts;
        }
        catch
        {
            parts.Dispose();
            throw;
        }
    }

    private static string? Daemon() => Array.Find(s_daemons, File.Exists);

    private static void Run(Site site, Parts parts, Learning learning)
    {
        string folder = site.Folder, socket = $"{folder}/db.sock", control = $"{folder}/ovs.ctl", database = $"{folder}/ovs.db";
        Tool.Run("ovsdb-tool", "create", database, Schema);
        Background server = parts.Add(new Background("ovsdb-server", folder + "/ovsdb.log", site.InDom0(
            "ovsdb-server", database, "--remote=punix:" + socket, $"--pidfile={folder}/ovsdb.pid", $"--unixctl={folder}/ovsdb.ctl")));
        server.Until(() => File.Exists(socket), "ovsdb-server answers");
        string Vsctl(params string[] arguments) => Tool.Run("ovs-vsctl", ["--db=unix:" + socket, "--timeout=20", .. arguments]);
        string mask = (1L << Cpu.Arm).ToString("x", CultureInfo.InvariantCulture);
        Vsctl("--no-wait", "init");
        Vsctl("--no-wait", "set", "Open_vSwitch", ".", $"other_config:pmd-cpu-mask=0x{mask}", "other_config:flow-limit=500000");
        Background daemon = parts.Add(new Background("ovs-vswitchd", folder + "/ovs.log", site.InDom0(
            Daemon()!, "unix:" + socket, $"--pidfile={folder}/ovs.pid", "--unixctl=" + control)));
        daemon.Until(() => File.Exists(control), "ovs-vswitchd answers");
        Vsctl("add-br", BridgeArm.Device, "--", "set", "bridge", BridgeArm.Device, "datapath_type=netdev", $"other_config:mac-table-size={AddressesMax}");
        foreach (Station station in site.Stations)
        {
            Vsctl("add-port", BridgeArm.Device, station.Near, "--", "set", "interface", station.Near, "type=afxdp", "options:n_rxq=1");
            string error = Vsctl("get", "interface", station.Near, "error").Trim();
            if (error != "[]")
                throw new RigException($"ovs does not take {station.Near}: {error}");
        }

        // It never enters the last few per cent of ten thousand, however often they are shown to it; with two ports that costs it no flood.
        learning.Until(() => Learned(control), share: 0.95);
    }

    private static int Learned(string control)
    {
        const string word = "Current/maximum MAC entries in the table:";
        string text = Tool.Run("ovs-appctl", "-t", control, "fdb/stats-show", BridgeArm.Device);
        int at = text.IndexOf(word, StringComparison.Ordinal);
        return at < 0 ? 0 : int.Parse(text[(at + word.Length)..].TrimStart().Split('/')[0], CultureInfo.InvariantCulture);
    }
}
