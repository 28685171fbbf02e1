// Results as a table for people: markdown.
using System.Globalization;
using System.Text;

namespace XenFastPath.Scale;

internal sealed class Table
{
    private readonly List<(string What, string Value, string Cpu, string Note)> _rows = [];

    public static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return sorted.Length % 2 == 1 ? sorted[sorted.Length / 2] : (sorted[sorted.Length / 2 - 1] + sorted[sorted.Length / 2]) / 2;
    }

    public static Cost Median(IEnumerable<Cost> costs)
    {
        Cost[] all = [.. costs];
        return new Cost(Median(all.Select(c => c.Ms)), Median(all.Select(c => c.CpuMs)));
    }

    public void Add(string what, double value, string unit, string note) => _rows.Add((what, Text(value, unit), "", note));

    public void Add(string what, Cost cost, string note) => _rows.Add((what, Text(cost.Ms, "ms"), Text(cost.CpuMs, "ms"), note));

    private static string Text(double value, string unit) => value.ToString(value < 10 ? "F2" : "F0", CultureInfo.InvariantCulture) + " " + unit;

    public string ToMarkdown(string title)
    {
        StringBuilder text = new();
        text.Append(CultureInfo.InvariantCulture, $"| {title} | | CPU | |\n|---|---:|---:|---|\n");
        foreach ((string what, string value, string cpu, string note) in _rows)
            text.Append(CultureInfo.InvariantCulture, $"| {what} | {value} | {cpu} | {note} |\n");
        return text.ToString();
    }
}
