// What every arm switches between: two stations behind veths, and a dom0 between them.
//
//     [a eth0]--vif1.0--[ dom0: the arm ]--vif2.0--[b eth0]      vif-vif
//     [a eth0]--vif1.0--[ dom0: the arm ]--eth0----[w wan]       vif-pif
//                                |
//                             vif3.0----[c eth0]                 and one who looks on
using XenFastPath.Netlink;

namespace XenFastPath.Rig.Lab;

/// <summary>What the second station is.</summary>
internal enum Pair
{
    VifVif,
    VifPif,

    /// <summary>As VifPif, and a third station that should receive nothing.</summary>
    VifPifWatched,
}

/// <summary>A station: a guest, or the world behind the network card.</summary>
/// <param name="Netns">Where it lives.</param>
/// <param name="Device">Its own end of the veth.</param>
/// <param name="Near">dom0's end.</param>
/// <param name="Number">The second octet of its addresses, and the last one of its IP address.</param>
internal sealed record Station(Netns Netns, string Device, string Near, int Number)
{
    public string Ip => $"10.77.0.{Number}";

    /// <summary>The first of its addresses, which is its device's own; the others count up from it.</summary>
    public string Mac => $"02:{Number:x2}:00:00:00:00";

    public int Ifindex => Netns.Inside(() => IfindexOf(Device));

    /// <summary>Of the calling thread's namespace.</summary>
    public static int IfindexOf(string device)
    {
        using Rtnl rtnl = new();
        return rtnl.GetLink(device)?.Index ?? throw new RigException("no device " + device);
    }
}

/// <summary>Namespaces and veths for one arm; removed as a whole.</summary>
internal sealed class Site : IDisposable
{
    private static int s_count;

    private readonly List<Netns> _namespaces = [];

    /// <param name="tag">What the names of all namespaces of this run begin with.</param>
    /// <param name="pair">Who the second station is.</param>
    public Site(string tag, Pair pair)
    {
        Pair = pair;
        Prefix = $"{tag}-{Interlocked.Increment(ref s_count)}-";
        Folder = Directory.CreateTempSubdirectory(tag + "-").FullName;
        try
        {
            Dom0 = Add("dom0");
            A = AddStation("a", "eth0", "vif1.0", 1);
            B = pair == Pair.VifVif ? AddStation("b", "eth0", "vif2.0", 2) : AddStation("w", "wan", "eth0", 2);
            Stations = pair == Pair.VifPifWatched ? [A, B, AddStation("c", "eth0", "vif3.0", 3)] : [A, B];
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public Pair Pair { get; }

    public string Prefix { get; }

    /// <summary>For an arm's sockets, databases and logs.</summary>
    public string Folder { get; }

    public Netns Dom0 { get; }

    public Station A { get; }

    public Station B { get; }

    /// <summary>A and B, and the one who looks on.</summary>
    public Station[] Stations { get; }

    /// <summary>Runs a program in dom0, on the CPUs that are an arm's.</summary>
    public string[] InDom0(params string[] command) => ["nsenter", "--net=" + Dom0.Path, "taskset", "-c", Cpu.ArmList, .. command];

    public void Dispose()
    {
        foreach (Netns netns in Enumerable.Reverse(_namespaces))
            netns.Dispose();
        Directory.Delete(Folder, recursive: true);
    }

    private Netns Add(string name)
    {
        Netns netns = new(Prefix + name);
        _namespaces.Add(netns);
        return netns;
    }

    private Station AddStation(string name, string device, string near, int number)
    {
        Netns netns = Add(name);
        Station station = new(netns, device, near, number);
        Dom0.Run("ip", "link", "add", near, "numtxqueues", "1", "numrxqueues", "1", "type", "veth",
            "peer", "name", device, "numtxqueues", "1", "numrxqueues", "1", "netns", netns.Name);
        // Nobody asks for an address on the way.
        netns.Run("ip", "link", "set", device, "address", station.Mac, "up");
        netns.Run("ip", "address", "add", station.Ip + "/24", "dev", device);
        Dom0.Run("ip", "link", "set", near, "up");
        return station;
    }
}
