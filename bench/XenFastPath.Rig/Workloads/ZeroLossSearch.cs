// RFC 2544, 26.1: the highest rate at which nothing is lost, by bisection. What a trial is, is the caller's business.
namespace XenFastPath.Rig.Workloads;

internal static class ZeroLossSearch
{
    /// <summary>The highest rate that passed; 0 if none did. Rates are in any unit.</summary>
    /// <param name="highest">Where nothing higher needs to be tried; tried first.</param>
    /// <param name="resolution">Ends when the rates that passed and failed are as close as this part of the highest.</param>
    /// <param name="passes">Tries a rate.</param>
    public static double Highest(double highest, double resolution, Func<double, bool> passes)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(highest);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(resolution);
        if (passes(highest))
            return highest;
        double passed = 0, failed = highest;
        while (failed - passed > highest * resolution)
        {
            double rate = (passed + failed) / 2;
            if (passes(rate))
                passed = rate;
            else
                failed = rate;
        }

        return passed;
    }
}
