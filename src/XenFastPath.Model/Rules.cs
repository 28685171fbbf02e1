// What names and numbers are acceptable.
using System.Text;

namespace XenFastPath.Model;

/// <summary>Checks of single values. Each refusal names the value and the rule.</summary>
public static class Rules
{
    /// <summary>IFNAMSIZ less its NUL: a device name is at most this many bytes.</summary>
    public const int DeviceNameBytesMax = 15;

    public const int LabelCharsMax = 64;

    /// <summary>An IPv4 network needs 68 (RFC 791); 65535 is the most a device of this kernel takes.</summary>
    public const int MtuMin = 68, MtuMax = 65535;

    /// <summary>MTU of a Network for which none was asked.</summary>
    public const int MtuDefault = 1500;

    /// <summary>Device names that belong to guests and NICs; a bridge must not take them (XAPI refuses them too).</summary>
    private static readonly string[] s_foreignPrefixes = ["vif", "tap", "eth"];

    public static void CheckLabel(string label)
    {
        if (label.Length == 0)
            throw new RefusalException("network", "the label is empty");
        if (label.Length > LabelCharsMax)
            throw new RefusalException(label[..16] + "...", $"the label has {label.Length} characters; at most {LabelCharsMax} are allowed");
        if (label.Any(char.IsControl) || label != label.Trim())
            throw new RefusalException(Shown(label), "a label has no control characters and no blanks at its ends");
    }

    public static void CheckBridgeName(string name)
    {
        CheckDeviceName(name);
        if (s_foreignPrefixes.FirstOrDefault(p => name.StartsWith(p, StringComparison.Ordinal)) is { } prefix)
            throw new RefusalException(name, $"a bridge name must not begin with {prefix}: such names belong to devices of guests and NICs");
        if (name.Contains('%'))
            throw new RefusalException(name, "a bridge name has no per cent sign: the kernel would put a number in its place");
    }

    /// <summary>The kernel's rule (dev_valid_name): 1..15 bytes, no slash, colon or white space, not "." or "..".</summary>
    public static void CheckDeviceName(string name)
    {
        int bytes = Encoding.UTF8.GetByteCount(name);
        if (bytes > DeviceNameBytesMax)
            throw new RefusalException(name, $"the name has {bytes} bytes; a device name has at most {DeviceNameBytesMax}");
        if (!IsDeviceName(name))
            throw new RefusalException(name.Length == 0 ? "bridge" : name, "not a device name: 1 to 15 bytes without blanks, slash and colon");
    }

    public static bool IsDeviceName(string name) =>
        name is not ("" or "." or "..") && Encoding.UTF8.GetByteCount(name) <= DeviceNameBytesMax
        && !name.Any(c => c is '/' or ':' || char.IsWhiteSpace(c) || char.IsControl(c));

    public static void CheckMtu(string subject, int mtu)
    {
        if (mtu is < MtuMin or > MtuMax)
            throw new RefusalException(subject, $"MTU {mtu} is out of range {MtuMin}..{MtuMax}");
    }

    /// <summary>VLAN identifiers: 0 is "priority only" and 4095 reserved (IEEE 802.1Q table 9-2).</summary>
    public const int TagMin = 1, TagMax = 4094;

    public static void CheckTag(string subject, int tag)
    {
        if (tag is < TagMin or > TagMax)
            throw new RefusalException(subject, $"tag {tag} is out of range {TagMin}..{TagMax}");
    }

    /// <summary>The tags of a trunk VIF; null: none are given, and it is no trunk.</summary>
    public static TagSet? Trunks(string subject, IReadOnlyList<int> tags)
    {
        foreach (int tag in tags)
            CheckTag(subject, tag);
        if (tags.GroupBy(t => t).FirstOrDefault(g => g.Count() > 1) is { } twice)
            throw new RefusalException(subject, $"tag {twice.Key} is named twice");
        return tags.Count == 0 ? null : new TagSet(tags.Select(t => (ushort)t));
    }

    /// <summary>
    /// The subinterface of a VLAN: PIF.TAG if that is a device name; else vlan&lt;tag&gt;.&lt;n&gt;, the lowest that is free, and the long
    /// form becomes an altname.
    /// </summary>
    public static string VlanDeviceFor(string pif, int tag, Func<string, bool> isTaken)
    {
        string name = $"{pif}.{tag}";
        if (IsDeviceName(name) && !isTaken(name))
            return name;
        for (int n = 0; ; n++)
        {
            if (!isTaken($"vlan{tag}.{n}"))
                return $"vlan{tag}.{n}";
        }
    }

    /// <summary>The largest delay the kernel takes without overflow of its own counting in miimon steps, ms: an hour.</summary>
    public const int BondDelayMsMax = 3_600_000;

    /// <summary>Checks the values of a bond; what its members are is the state's matter.</summary>
    public static void CheckBond(Bond bond)
    {
        BondProperties p = bond.Properties;
        if (bond.Mac is not null)
            CheckMac(bond.Device, bond.Mac);
        if (p.MiimonMs is < 1 or > 10_000)
            throw new RefusalException(bond.Device, $"miimon {p.MiimonMs} is out of range 1..10000 ms: without it a dead link is never noticed");
        foreach ((string key, int ms) in (ReadOnlySpan<(string, int)>)[("updelay", p.UpDelayMs), ("downdelay", p.DownDelayMs)])
        {
            if (ms < 0 || ms > BondDelayMsMax || ms % p.MiimonMs != 0)
                throw new RefusalException(bond.Device, $"{key} {ms} is no multiple of miimon ({p.MiimonMs} ms) in 0..{BondDelayMsMax}");
        }

        if (p.LacpAggregationKey is < 0 or > 1023)
            throw new RefusalException(bond.Device, $"lacp-aggregation-key {p.LacpAggregationKey} is out of range 0..1023");
    }

    /// <summary>Parses a datapath's word.</summary>
    public static Datapath ParseDatapath(string subject, string word) => word switch
    {
        "auto" => Datapath.Auto,
        "afxdp" => Datapath.Afxdp,
        "redirect" => Datapath.Redirect,
        "bridge" => Datapath.Bridge,
        _ => throw new RefusalException(subject, $"datapath \"{word}\" is none of auto, afxdp, redirect, bridge"),
    };

    /// <summary>A datapath's word.</summary>
    public static string Word(Datapath datapath) => datapath switch
    {
        Datapath.Auto => "auto",
        Datapath.Afxdp => "afxdp",
        Datapath.Redirect => "redirect",
        _ => "bridge",
    };

    public static void CheckMac(string subject, string mac)
    {
        string[] parts = mac.Split(':');
        bool isMac = parts.Length == 6 && parts.All(p => p.Length == 2 && p.All(char.IsAsciiHexDigit));
        if (!isMac)
            throw new RefusalException(subject, $"\"{mac}\" is not a MAC address (00:16:3e:xx:xx:xx)");
        if ((Convert.ToByte(parts[0], 16) & 1) != 0 || mac == "00:00:00:00:00:00")
            throw new RefusalException(subject, $"{mac} is a group or zero address; an interface has an individual one");
    }

    /// <summary>
    /// The bridge of a Network for which none was named: the label, if it can be one; otherwise xapi0, xapi1, ... as XAPI names
    /// them. <paramref name="isTaken"/> says whether a device of that name exists.
    /// </summary>
    public static string BridgeFor(string label, Func<string, bool> isTaken)
    {
        bool labelFits = IsDeviceName(label) && label.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_')
            && !s_foreignPrefixes.Any(p => label.StartsWith(p, StringComparison.Ordinal));
        if (labelFits)
            return label;
        for (int n = 0; ; n++)
        {
            if (!isTaken($"xapi{n}"))
                return $"xapi{n}";
        }
    }
    /// <summary>A label that is refused, in a form that does no harm on a terminal.</summary>
    private static string Shown(string label)
    {
        string shown = string.Concat(label.Trim().Select(c => char.IsControl(c) ? '?' : c));
        return shown.Length == 0 ? "network" : shown;
    }
}
