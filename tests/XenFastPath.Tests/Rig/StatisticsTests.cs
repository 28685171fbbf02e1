// The bench rig's arithmetic: medians, intervals, percentiles, ratios, the search for the highest rate without loss.
using XenFastPath.Rig.Results;
using XenFastPath.Rig.Workloads;

namespace XenFastPath.Tests.Rig;

public sealed class StatisticsTests
{
    [Theory]
    [InlineData(new[] { 3.0 }, 3.0)]
    [InlineData(new[] { 3.0, 1.0 }, 2.0)]
    [InlineData(new[] { 9.0, 1.0, 5.0 }, 5.0)]
    public void The_median_is_the_middle(double[] values, double expected) => Assert.Equal(expected, Statistics.Median(values));

    /// <summary>Sums of binomial coefficients by hand: for 9 values (1 + 9) / 512 is 2.0 %, for 8 (1 + 8) / 256 is 3.5 %.</summary>
    [Theory]
    [InlineData(5, 0)]
    [InlineData(6, 0)]
    [InlineData(8, 0)]
    [InlineData(9, 1)]
    [InlineData(12, 2)]
    [InlineData(20, 5)]
    public void The_interval_of_a_median_leaves_out_so_many_on_each_side(int count, int expected) =>
        Assert.Equal(expected, Statistics.IntervalRank(count));

    [Fact]
    public void A_summary_knows_range_and_interval()
    {
        Summary summary = Statistics.Summarise([.. Enumerable.Range(1, 9).Select(i => (double)i).Reverse()]);
        Assert.Equal(new Summary(5, 1, 9, 2, 8, 9), summary);
    }

    [Fact]
    public void Nothing_has_no_summary() => Assert.Throws<ArgumentException>(() => Statistics.Summarise([]));

    [Theory]
    [InlineData(500, 50)]
    [InlineData(990, 99)]
    [InlineData(999, 100)]
    [InlineData(0, 1)]
    public void A_percentile_is_a_value_that_was_measured(int perMille, double expected) =>
        Assert.Equal(expected, Statistics.PerMille([.. Enumerable.Range(1, 100).Select(i => (double)i)], perMille));

    [Theory]
    [InlineData(100, 100)]
    [InlineData(250, 100)]
    [InlineData(37, 37)]
    [InlineData(0, 0)]
    public void The_search_finds_the_highest_rate_that_passes(double capacity, double expected)
    {
        int trials = 0;
        double found = ZeroLossSearch.Highest(100, 1.0 / 64, rate =>
        {
            trials++;
            return rate <= capacity && capacity > 0;
        });
        Assert.InRange(found, expected - 100 / 64.0, expected);
        Assert.InRange(trials, 1, 7);
    }

    [Fact]
    public void A_ratio_is_of_medians_and_its_interval_of_pairs()
    {
        Cell cell = ResultTable.Compare([2, 4, 9], [1, 4, 3]);
        Assert.Equal(4.0 / 3, cell.Ratio);
        Assert.Equal(new Summary(2, 1, 3, 1, 3, 3), cell.Pairs);
    }

    [Fact]
    public void Without_a_bridge_there_is_no_ratio()
    {
        Cell cell = ResultTable.Compare([2], []);
        Assert.Null(cell.Ratio);
        Assert.Null(cell.Pairs);
    }
}
