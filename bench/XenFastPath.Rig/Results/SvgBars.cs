// A plot of horizontal bars, grouped by cell, with whiskers for the range. Readable on a light and on a dark page: no background, and text
// in a colour that follows the reader's theme, or one that is seen on both.
using System.Globalization;
using System.Text;

namespace XenFastPath.Rig.Results;

internal static class SvgBars
{
    private const int Width = 760, LabelWidth = 76, ValueWidth = 132, BarHeight = 15, BarStep = 19, GroupGap = 34, TitleHeight = 34;

    /// <summary>Ours in strong colours, peers in quieter ones; each reads on white and on black.</summary>
    private static readonly Dictionary<string, string> s_colours = new()
    {
        ["bridge"] = "#8b949e", ["afxdp"] = "#2f81f7", ["redirect"] = "#a371f7", ["auto"] = "#2da44e",
        ["ovs"] = "#c69026", ["testpmd"] = "#d4722a", ["devmap"] = "#6e7681",
    };

    public static string Draw(ResultTable table, string title, Func<string, bool>? rows = null)
    {
        string[] shown = [.. table.Rows.Where(r => rows is null || rows(r))];
        double max = shown.SelectMany(r => table.Arms.Select(a => table[r, a]?.Summary.Max ?? 0)).DefaultIfEmpty(0).Max();
        StringBuilder body = new();
        int y = TitleHeight;
        foreach (string row in shown)
            y = Group(body, table, row, max, y);
        StringBuilder svg = new();
        svg.Append(CultureInfo.InvariantCulture,
            $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {Width} {y + 8}\" width=\"{Width}\" height=\"{y + 8}\"");
        svg.Append(" font-family=\"system-ui, sans-serif\" font-size=\"12\">\n");
        svg.Append("<style>.t,.h{fill:#6e7781}.h{font-weight:600}.o{stroke:#fff;stroke-width:3.4}.w{stroke:#24292f;stroke-width:1.4}");
        svg.Append("@media(prefers-color-scheme:light){.t{fill:#57606a}.h{fill:#24292f}}");
        svg.Append("@media(prefers-color-scheme:dark){.t{fill:#9ea7b3}.h{fill:#e6edf3}}</style>\n");
        string better = table.Spec.IsLessBetter ? "less is better" : "more is better";
        svg.Append(CultureInfo.InvariantCulture, $"<text class=\"h\" x=\"0\" y=\"16\" font-size=\"15\">{Escape(title)}</text>\n");
        svg.Append(CultureInfo.InvariantCulture,
            $"<text class=\"t\" x=\"{Width}\" y=\"16\" text-anchor=\"end\">{Escape(table.Spec.Unit)}, {better}; lines: smallest to largest</text>\n");
        return svg.Append(body).Append("</svg>\n").ToString();
    }

    private static int Group(StringBuilder svg, ResultTable table, string row, double max, int y)
    {
        svg.Append(CultureInfo.InvariantCulture, $"<text class=\"h\" x=\"0\" y=\"{y + 10}\">{Escape(row)}</text>\n");
        y += 18;
        foreach (string arm in table.Arms)
        {
            if (table[row, arm] is not { } cell)
                continue;
            Bar(svg, table.Spec, arm, cell, max, y);
            y += BarStep;
        }

        return y + GroupGap - BarStep;
    }

    private static void Bar(StringBuilder svg, TableSpec spec, string arm, Cell cell, double max, int y)
    {
        double X(double value) => max > 0 ? LabelWidth + value / max * (Width - LabelWidth - ValueWidth) : LabelWidth;
        string colour = s_colours.GetValueOrDefault(arm, "#8b949e");
        int middle = y + BarHeight / 2, text = y + BarHeight - 3;
        svg.Append(CultureInfo.InvariantCulture, $"<text class=\"t\" x=\"{LabelWidth - 6}\" y=\"{text}\" text-anchor=\"end\">{Escape(arm)}</text>");
        double width = Math.Max(1, X(cell.Summary.Median) - LabelWidth);
        svg.Append(CultureInfo.InvariantCulture,
            $"<rect x=\"{LabelWidth}\" y=\"{y}\" width=\"{width:F1}\" height=\"{BarHeight}\" rx=\"2\" fill=\"{colour}\"/>");
        if (cell.Summary.Count > 1)
        {
            foreach (string line in (string[])["o", "w"])
            {
                svg.Append(CultureInfo.InvariantCulture,
                    $"<line class=\"{line}\" x1=\"{X(cell.Summary.Min):F1}\" x2=\"{X(cell.Summary.Max):F1}\" y1=\"{middle}\" y2=\"{middle}\"/>");
            }
        }

        string ratio = cell.Ratio is { } r ? string.Create(CultureInfo.InvariantCulture, $" · {r:F2}x") : "";
        double right = X(Math.Max(cell.Summary.Max, cell.Summary.Median)) + 6;
        svg.Append(CultureInfo.InvariantCulture, $"<text class=\"t\" x=\"{right:F1}\" y=\"{text}\">{spec.Format(cell.Summary.Median)}{ratio}</text>\n");
    }

    private static string Escape(string text) => text.Replace("&", "&amp;", StringComparison.Ordinal).Replace("<", "&lt;", StringComparison.Ordinal)
        .Replace(">", "&gt;", StringComparison.Ordinal);
}
