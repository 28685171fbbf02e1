// How values read: numbers for people, absent values, states and their colours.
using System.Globalization;
using System.Text;

namespace XenFastPath.Cli;

internal static class Words
{
    private static readonly string[] Magnitudes = ["", "k", "M", "G", "T", "P", "E"];

    /// <summary>What stands where there is no value.</summary>
    public const string None = "-";

    public static Ink InkOf(string state) => state switch
    {
        "up" or "forwarding" or "running" or "ok" or "active" => Ink.Green,
        "learning" or "listening" or "blocking" or "stale" or "warning" or "going-down" or "coming-up" => Ink.Yellow,
        "down" or "missing" or "no-carrier" or "disabled" => Ink.Red,
        _ => Ink.Plain,
    };

    /// <summary>Three significant digits: 7, 812, 12.3k, 810k, 1.49M.</summary>
    public static string Count(double value)
    {
        int magnitude = 0;
        while (Math.Round(value, 1) >= 1000 && magnitude < Magnitudes.Length - 1)
        {
            value /= 1000;
            magnitude++;
        }
        string digits = magnitude == 0 ? "0" : value < 9.995 ? "0.00" : value < 99.95 ? "0.0" : "0";
        return value.ToString(digits, CultureInfo.InvariantCulture) + Magnitudes[magnitude];
    }

    public static string Number(long value) => value.ToString(CultureInfo.InvariantCulture);

    public static string Speed(long? mbps) => mbps switch
    {
        null => None,
        >= 1000 => $"{(mbps.Value / 1000.0).ToString("0.#", CultureInfo.InvariantCulture)} Gb/s",
        _ => $"{mbps} Mb/s",
    };

    public static string Seconds(double? seconds) => seconds switch
    {
        null => None,
        < 10 => seconds.Value.ToString("0.0", CultureInfo.InvariantCulture) + " s",
        < 120 => seconds.Value.ToString("0", CultureInfo.InvariantCulture) + " s",
        < 7200 => (seconds.Value / 60).ToString("0", CultureInfo.InvariantCulture) + " min",
        _ => (seconds.Value / 3600).ToString("0", CultureInfo.InvariantCulture) + " h",
    };

    public static string YesNo(bool value) => value ? "yes" : "no";

    /// <summary>
    /// Names come from people and from the kernel, which allows nearly every byte in a device name: control characters
    /// would move the reader's cursor, so they are shown as '?'.
    /// </summary>
    public static string Printable(string text)
    {
        if (!text.Any(char.IsControl))
        {
            return text;
        }
        var clean = new StringBuilder(text);
        for (int i = 0; i < clean.Length; i++)
        {
            clean[i] = char.IsControl(clean[i]) ? '?' : clean[i];
        }
        return clean.ToString();
    }
}
