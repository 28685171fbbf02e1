// Micro benchmarks: dotnet run -c Release --project bench/XenFastPath.Bench -- --filter '*'
// What counts is ratios within one run, and the Allocated column: every data-path benchmark must show none.
using BenchmarkDotNet.Running;

BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
