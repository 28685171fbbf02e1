// Network cards that the machine has for tests: the VM's virtio-net cards (tests/vm/run.sh), in pairs that a wire joins.
namespace XenFastPath.KernelTests.Lab;

/// <summary>Two cards and the wire between them, known by their addresses 52:54:00:00:&lt;pair&gt;:00 and :01.</summary>
internal sealed class CardPair(int pair)
{
    private static readonly TimeSpan s_return = TimeSpan.FromSeconds(30);

    public string NearMac { get; } = $"52:54:00:00:{pair:x2}:00";

    public string FarMac { get; } = $"52:54:00:00:{pair:x2}:01";

    /// <summary>
    /// Moves the cards into two namespaces under the names asked for. They come back by themselves when those are removed, under any
    /// name and with what was set on them; so they are made as new first.
    /// </summary>
    public void Move(Netns near, string nearName, Netns far, string farName)
    {
        Move(NearMac, near, nearName);
        Move(FarMac, far, farName);
    }

    /// <summary>A card of its own whose driver takes VLAN tags out of received frames and can be told not to (rx-vlan-hw-parse).</summary>
    public const string TagTakerMac = "52:54:00:00:02:00";

    /// <summary>Moves one card, as above.</summary>
    public static void Move(string mac, Netns to, string name)
    {
        string? device = null;
        Tool.Eventually(() => (device = Find(mac)) is not null, $"there is a card {mac} in the machine's own namespace", s_return.TotalSeconds);
        Tool.Run("ip", "link", "set", device!, "down", "nomaster", "mtu", "1500", "promisc", "off", "xdp", "off");
        Tool.Run("ip", "link", "set", device!, "netns", to.Name, "name", name);
    }

    private static string? Find(string mac) =>
        Directory.EnumerateDirectories("/sys/class/net").FirstOrDefault(d => IsDevice(d) && Address(d) == mac) is { } found ? Path.GetFileName(found) : null;

    /// <summary>Hardware: a bridge or a bond may have the address of its port.</summary>
    private static bool IsDevice(string folder) => Directory.Exists(Path.Combine(folder, "device"));

    private static string Address(string folder)
    {
        try
        {
            return File.ReadAllText(Path.Combine(folder, "address")).Trim();
        }
        catch (IOException)
        {
            return "";  // it has just gone
        }
    }
}
