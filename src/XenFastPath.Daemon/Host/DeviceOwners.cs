// Who else manages a device's addresses? NetworkManager, systemd-networkd, ifupdown or a DHCP client would put them back where they were.
// Found by the files that each keeps under /run, and by the command lines of processes: no D-Bus, no tool need be there.
using System.Globalization;

namespace XenFastPath.Daemon.Host;

/// <summary>Somebody else's hold on a device, and the command that ends it.</summary>
internal sealed record DeviceOwner(string Name, string HandOver);

/// <summary>Finds out whether a device is free.</summary>
internal interface IDeviceOwners
{
    /// <summary>The owner of a device; null if it is free. <paramref name="ours"/> are processes of our own.</summary>
    DeviceOwner? Find(string device, int ifindex, IReadOnlySet<int> ours);
}

/// <summary>Reads /run and /proc; <paramref name="root"/> is another folder in tests.</summary>
internal sealed class DeviceOwners(string root = "/") : IDeviceOwners
{
    private static readonly string[] s_clients = ["dhclient", "dhcpcd", "udhcpc", "udhcpc6"];

    public DeviceOwner? Find(string device, int ifindex, IReadOnlySet<int> ours) =>
        NetworkManager(device, ifindex) ?? Networkd(device, ifindex) ?? Ifupdown(device) ?? DhcpClient(device, ours);

    // A device file stays for as long as NetworkManager knows the device; "managed" is written when it is or was told to (NM >= 1.0).
    private DeviceOwner? NetworkManager(string device, int ifindex)
    {
        string[] lines = Lines($"run/NetworkManager/devices/{ifindex}");
        bool isManaged = lines.Contains("managed=true") || lines.Any(l => l.StartsWith("connection-uuid=", StringComparison.Ordinal));
        return isManaged && !lines.Contains("managed=false") && !lines.Contains("managed=0")
            ? new DeviceOwner("NetworkManager", $"nmcli device set {device} managed no") : null;
    }

    // Documented as private, stable since v210: the same file that networkctl reads through sd-network.
    private DeviceOwner? Networkd(string device, int ifindex)
    {
        string[] lines = Lines($"run/systemd/netif/links/{ifindex}");
        string? state = Value(lines, "ADMIN_STATE"), file = Value(lines, "NETWORK_FILE");
        bool isManaged = file is not null && state is not (null or "unmanaged" or "pending" or "initialized");
        return isManaged
            ? new DeviceOwner($"systemd-networkd ({file})",
                $"printf '[Match]\\nName={device}\\n[Link]\\nUnmanaged=yes\\n' > /etc/systemd/network/00-{device}-unmanaged.network && networkctl reload")
            : null;
    }

    // Its state file has a line "eth0=eth0" for each interface that ifup has configured.
    private DeviceOwner? Ifupdown(string device) =>
        Lines("run/network/ifstate").Any(l => l.Split('=')[0] == device) && IsInInterfaces(device)
            ? new DeviceOwner("ifupdown (/etc/network/interfaces)",
                $"sed -i -E 's/^(auto|allow-hotplug|iface) {device}( |$)/#&/' /etc/network/interfaces && sed -i '/^{device}=/d' /run/network/ifstate")
            : null;

    private bool IsInInterfaces(string device) => Files("etc/network/interfaces.d").Prepend("etc/network/interfaces")
        .SelectMany(Lines).Any(l => l.Split(' ', '\t', StringSplitOptions.RemoveEmptyEntries) is ["iface", var name, ..] && name == device);

    // A client in another network namespace has another machine's device of the same name.
    private DeviceOwner? DhcpClient(string device, IReadOnlySet<int> ours)
    {
        string? here = LinkTarget("proc/self/ns/net");
        foreach (string folder in Folders("proc"))
        {
            if (!int.TryParse(Path.GetFileName(folder), NumberStyles.None, CultureInfo.InvariantCulture, out int pid) || ours.Contains(pid))
                continue;
            string[] words = Text($"proc/{pid}/cmdline").TrimEnd('\0').Split('\0');
            string program = Path.GetFileName(words[0]);
            string? client = s_clients.FirstOrDefault(c => program == c || program.StartsWith(c + ":", StringComparison.Ordinal)
                || (program == "busybox" && words.ElementAtOrDefault(1) == c));
            bool names = words.Skip(1).Any(w => w == device || w == "-i" + device || w == "--interface=" + device);
            // dhcpcd without a device, its usual way, takes every one.
            if (client is not null && (names || client == "dhcpcd" && words.Skip(1).All(w => w.StartsWith('-')))
                && (here is null || LinkTarget($"proc/{pid}/ns/net") == here))
            {
                return new DeviceOwner($"{client} (pid {pid})", client == "dhcpcd" ? $"dhcpcd -x {device}" : $"kill {pid}");
            }
        }

        return null;
    }

    private static string? Value(string[] lines, string key) =>
        lines.FirstOrDefault(l => l.StartsWith(key + "=", StringComparison.Ordinal))?[(key.Length + 1)..] is { Length: > 0 } value ? value : null;

    private string[] Lines(string path) => [.. Text(path).Split('\n').Select(l => l.Trim())];

    private string Text(string path)
    {
        try
        {
            return File.ReadAllText(Path.Combine(root, path));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "";      // not there, or ended meanwhile
        }
    }

    private IEnumerable<string> Files(string path) =>
        Directory.Exists(Path.Combine(root, path)) ? Directory.EnumerateFiles(Path.Combine(root, path)).Select(f => Path.GetRelativePath(root, f)) : [];

    private IEnumerable<string> Folders(string path) =>
        Directory.Exists(Path.Combine(root, path)) ? Directory.EnumerateDirectories(Path.Combine(root, path)) : [];

    private string? LinkTarget(string path)
    {
        try
        {
            return new FileInfo(Path.Combine(root, path)).LinkTarget;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
