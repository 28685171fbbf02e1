// Tables for people.
using System.Globalization;
using System.Text;

namespace XenFastPath.Rig.Results;

internal static class Markdown
{
    /// <summary>Rows are cells, columns are arms: median, range, and the ratio of the median to the bridge's.</summary>
    public static string Table(ResultTable table, Func<string, bool>? rows = null, bool hasRange = true)
    {
        StringBuilder text = new();
        text.Append(CultureInfo.InvariantCulture, $"| {table.Spec.Unit} |");
        foreach (string arm in table.Arms)
            text.Append(CultureInfo.InvariantCulture, $" {arm} |");
        text.Append("\n|---|").Insert(text.Length, "---:|", table.Arms.Count).Append('\n');
        foreach (string row in table.Rows.Where(r => rows is null || rows(r)))
        {
            text.Append(CultureInfo.InvariantCulture, $"| {Escape(row)} |");
            foreach (string arm in table.Arms)
                text.Append(CultureInfo.InvariantCulture, $" {Text(table.Spec, table[row, arm], hasRange)} |");
            text.Append('\n');
        }

        return text.ToString();
    }

    /// <summary>Ratios to the bridge in the same turn: their median, and what it lies between with 95 % certainty (range if under 6 turns).</summary>
    public static string Ratios(ResultTable table, IReadOnlyCollection<string> arms)
    {
        StringBuilder text = new("| ratio to the bridge |");
        string[] columns = [.. table.Arms.Where(arms.Contains)];
        foreach (string arm in columns)
            text.Append(CultureInfo.InvariantCulture, $" {arm} |");
        text.Append("\n|---|").Insert(text.Length, "---:|", columns.Length).Append('\n');
        foreach (string row in table.Rows)
        {
            text.Append(CultureInfo.InvariantCulture, $"| {Escape(row)} |");
            foreach (string arm in columns)
                text.Append(table[row, arm]?.Pairs is { } p ? $" {Number(p.Median)} ({Number(p.Low)} to {Number(p.High)}) |" : " - |");
            text.Append('\n');
        }

        return text.ToString();
    }

    private static string Text(TableSpec spec, Cell? cell, bool hasRange)
    {
        if (cell is null)
            return "-";
        string range = hasRange && cell.Summary.Count > 1 ? $" ({spec.Format(cell.Summary.Min)} to {spec.Format(cell.Summary.Max)})" : "";
        string ratio = spec.HasRatio && cell.Ratio is { } r ? $" **{Number(r)}x**" : "";
        return spec.Format(cell.Summary.Median) + range + ratio;
    }

    private static string Number(double value) => value.ToString("F2", CultureInfo.InvariantCulture);

    private static string Escape(string text) => text.Replace("|", "\\|", StringComparison.Ordinal).Replace("<", "&lt;", StringComparison.Ordinal);
}
