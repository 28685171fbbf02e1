// The kernel's IPv6 switches of a link, /proc/sys/net/ipv6/conf (Documentation/networking/ip-sysctl.rst). Unlike netlink's addr_gen_mode,
// the sysctl makes the link-local address at once.
using XenFastPath.Model;

namespace XenFastPath.Reconcile;

/// <summary>Reads and writes them in the daemon's own network namespace.</summary>
internal static class Ipv6Sysctl
{
    private const string Eui64 = "0", StablePrivacy = "2";

    /// <summary>Has the link a link-local address of the kernel's making and, if asked, takes advertisements?</summary>
    public static bool Speaks(string device, bool takesAdvertisements) =>
        Read(device, "disable_ipv6") == "0" && Read(device, "addr_gen_mode") is Eui64 or StablePrivacy
        && (!takesAdvertisements || (Read(device, "autoconf") == "1" && Read(device, "accept_ra") is { } word && (word == "2" || word == Take(device))));

    /// <summary>A host that forwards takes advertisements only if told so twice.</summary>
    private static string Take(string device) => Read(device, "forwarding") == "1" ? "2" : "1";

    /// <summary>Makes it so.</summary>
    /// <exception cref="RefusalException">The kernel has no IPv6, or not on this link.</exception>
    public static void Speak(string device, bool takesAdvertisements)
    {
        try
        {
            Write(device, "disable_ipv6", "0");
            if (Read(device, "addr_gen_mode") is not (Eui64 or StablePrivacy))
                Write(device, "addr_gen_mode", Eui64);
            if (!takesAdvertisements)
                return;
            Write(device, "autoconf", "1");
            Write(device, "accept_ra", Take(device));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RefusalException(device, $"IPv6 cannot be switched on: {e.Message}");
        }
    }

    /// <summary>
    /// A new bridge takes no advertisements: what a guest or its router says is not this host's business, and would give it routes also
    /// without an address. Without IPv6 there is nothing to do.
    /// </summary>
    public static void IgnoreAdvertisements(string device) => TryWrite(device, "accept_ra", "0");

    /// <summary>What a NIC did with advertisements its bridge does too, from the time that it has the NIC's addresses.</summary>
    public static void TakeOver(string from, string to)
    {
        foreach (string name in (string[])["accept_ra", "autoconf"])
        {
            if (Read(from, name) is { } value)
                TryWrite(to, name, value);
        }
    }

    private static void TryWrite(string device, string name, string value)
    {
        try
        {
            File.WriteAllText(PathOf(device, name), value);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // No IPv6 on this link, or /proc/sys is not ours to write: then the host's own settings hold.
        }
    }

    private static string? Read(string device, string name)
    {
        try
        {
            return File.ReadAllText(PathOf(device, name)).Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private static void Write(string device, string name, string value)
    {
        if (Read(device, name) != value)
            File.WriteAllText(PathOf(device, name), value);
    }

    private static string PathOf(string device, string name) => $"/proc/sys/net/ipv6/conf/{device}/{name}";
}
