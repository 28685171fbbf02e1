// What a few repetitions say: median, range, and a 95 % interval of the median that assumes nothing about the distribution.
namespace XenFastPath.Rig.Results;

/// <summary>Of at least one value.</summary>
/// <param name="Median">The middle value, or the mean of the two.</param>
/// <param name="Min">The smallest value.</param>
/// <param name="Max">The largest value.</param>
/// <param name="Low">Lower end of the interval; the smallest value if there are fewer than 6, which cannot give 95 %.</param>
/// <param name="High">Upper end; the largest value if there are fewer than 6.</param>
/// <param name="Count">Values.</param>
internal readonly record struct Summary(double Median, double Min, double Max, double Low, double High, int Count);

internal static class Statistics
{
    public static Summary Summarise(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        if (sorted.Length == 0)
            throw new ArgumentException("no values", nameof(values));
        int rank = IntervalRank(sorted.Length);
        return new Summary(Middle(sorted), sorted[0], sorted[^1], sorted[rank], sorted[^(rank + 1)], sorted.Length);
    }

    public static double Median(IEnumerable<double> values) => Middle([.. values.Order()]);

    /// <summary>The smallest value that so many of a thousand are not above (nearest rank); <paramref name="sorted"/> is ascending.</summary>
    public static double PerMille(ReadOnlySpan<double> sorted, int perMille)
    {
        if (sorted.IsEmpty)
            throw new ArgumentException("no values", nameof(sorted));
        int rank = (int)Math.Ceiling(sorted.Length * (perMille / 1000.0));
        return sorted[Math.Clamp(rank - 1, 0, sorted.Length - 1)];
    }

    /// <summary>
    /// How many values lie outside the interval on each side: the largest k for which at most 2.5 % of Binomial(n, 1/2) are k or less.
    /// 0 for fewer than 9 values; for fewer than 6 the range is less than 95 %.
    /// </summary>
    internal static int IntervalRank(int count)
    {
        const double tailMax = 0.025;
        double probability = Math.Pow(0.5, count), tail = 0;
        for (int k = 0; k <= count / 2; k++)
        {
            tail += probability;
            if (tail > tailMax)
                return Math.Max(0, k - 1);
            probability = probability * (count - k) / (k + 1);
        }

        return (count - 1) / 2;
    }

    private static double Middle(double[] sorted) => sorted.Length % 2 == 1 ? sorted[sorted.Length / 2]
        : (sorted[sorted.Length / 2 - 1] + sorted[sorted.Length / 2]) / 2;
}
