// Each test needs the machine for itself: they count frames and measure gaps.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]
