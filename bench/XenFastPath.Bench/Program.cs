// Micro benchmarks: dotnet run -c Release --project bench/XenFastPath.Bench -- --filter '*'
// --peer mac-table|loop COUNT ROUNDS: our side of bench/peers/run.sh.
// What counts is ratios within one run, and the Allocated column: every data-path benchmark must show none, which the tests hold it to.
using System.Globalization;
using BenchmarkDotNet.Running;
using XenFastPath.Bench;

if (args is ["--peer", "mac-table" or "loop", _, _])
{
    PeerLoops.Run(args[1], int.Parse(args[2], CultureInfo.InvariantCulture), int.Parse(args[3], CultureInfo.InvariantCulture));
    return;
}

BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
