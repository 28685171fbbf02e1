// What the bench rig writes: the file of samples, tables, plots.
using System.Globalization;
using System.Xml.Linq;
using XenFastPath.Rig.Results;

namespace XenFastPath.Tests.Rig;

public sealed class ResultTests
{
    private static readonly TableSpec s_spec = new("Throughput", "throughput", "rate", "Mpps", 1e6, 2);

    [Fact]
    public void What_was_measured_is_read_again()
    {
        string path = Path.GetTempFileName();
        Samples samples = Two();
        samples.LeaveOut("throughput", "ovs", "missing:\n\tapt-get");
        samples.Save(path);
        Samples read = Samples.Load(path);
        File.Delete(path);
        Assert.Equal(samples.All, read.All);
        Assert.Equal([new LeftOut("throughput", "ovs", "missing: apt-get")], read.Missing);
        Assert.Equal(["today"], read.Runs("throughput"));
    }

    [Fact]
    public void A_run_replaces_the_workloads_that_it_measures_only()
    {
        Samples samples = Two();
        samples.Add(new Sample("tcp", "c", "bridge", "rate", 1));
        samples.Begin("throughput", "later");
        Assert.Equal(["tcp"], samples.All.Select(s => s.Workload));
    }

    [Fact]
    public void A_run_of_some_cells_leaves_the_others()
    {
        Samples samples = Two();
        samples.Begin("throughput", "later", "A", cell => cell.StartsWith('A'));
        Assert.Equal(["<C>"], samples.All.Select(s => s.Cell));
        Assert.Equal(["today", "`A`: later"], samples.Runs("throughput"));
    }

    [Fact]
    public void A_table_has_medians_ranges_and_ratios()
    {
        const string expected = """
            | Mpps | bridge | afxdp |
            |---|---:|---:|
            | A->B | 2.00 (1.00 to 3.00) **1.00x** | 1.00 **0.50x** |
            | &lt;C> | - | 5.00 |

            """;
        Assert.Equal(expected, Markdown.Table(new ResultTable(s_spec, Two(), "bridge")));
    }

    [Fact]
    public void Ratios_have_an_interval() =>
        Assert.Contains("| A->B | 1.00 (1.00 to 1.00) |", Markdown.Ratios(new ResultTable(s_spec, Two(), "bridge"), ["afxdp"]), StringComparison.Ordinal);

    /// <summary>A bar for each value, as long as it says; text that is markup stays text.</summary>
    [Fact]
    public void A_plot_is_xml_with_a_bar_for_each_value()
    {
        XNamespace ns = "http://www.w3.org/2000/svg";
        XElement svg = XDocument.Parse(SvgBars.Draw(new ResultTable(s_spec, Two(), "bridge"), "A & B")).Root!;
        double[] widths = [.. svg.Elements(ns + "rect").Select(r => double.Parse(r.Attribute("width")!.Value, CultureInfo.InvariantCulture))];
        Assert.Equal(3, widths.Length);
        Assert.Equal(2.0, widths[0] / widths[1], 2);
        Assert.Equal(5.0, widths[2] / widths[1], 2);
        Assert.Contains(svg.Elements(ns + "text"), t => t.Value == "<C>");
        Assert.Contains(svg.Elements(ns + "text"), t => t.Value == "2.00 · 1.00x");
        Assert.Equal(2, svg.Elements(ns + "line").Count());
        Assert.All(svg.Elements(ns + "text"), t => Assert.InRange(double.Parse(t.Attribute("x")!.Value, CultureInfo.InvariantCulture), 0, 760));
    }

    [Fact]
    public void An_empty_plot_is_one_too() => Assert.NotNull(XDocument.Parse(SvgBars.Draw(new ResultTable(s_spec, new Samples(), "bridge"), "none")).Root);

    private static Samples Two()
    {
        Samples samples = new();
        samples.Begin("throughput", "today");
        samples.Add(new Sample("throughput", "A->B", "bridge", "rate", 1e6));
        samples.Add(new Sample("throughput", "A->B", "afxdp", "rate", 1e6));
        samples.Add(new Sample("throughput", "A->B", "bridge", "rate", 3e6));
        samples.Add(new Sample("throughput", "<C>", "afxdp", "rate", 5e6));
        return samples;
    }
}
