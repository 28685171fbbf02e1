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

    public static void CheckDatapath(string subject, Datapath datapath)
    {
        if (datapath == Datapath.Redirect)
            throw new RefusalException(subject, "datapath redirect is not in this version; use afxdp, bridge or auto");
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
