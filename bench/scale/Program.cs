// The control plane at scale: how long it takes, how much it needs, and how long the same takes with ip -batch. Prints one table.
using System.Globalization;
using XenFastPath.Scale;

const string Usage = """
    usage: bench/scale/run.sh [--networks N] [--vifs N] [--rounds N] [--macs N] [--only PARTS] [--bin DIR]
      --networks N   Networks (default 1000)
      --vifs N       vifs, spread over the Networks (default 4000)
      --rounds N     repetitions, ip -batch and xfp in turn; the table shows medians (default 3)
      --macs N       addresses for the tables' part (default 1000000)
      --only PARTS   of reconcile,gap,idle,macs (default all)
      --bin DIR      folder with the programs (default artifacts/bin, built first)
    """;

int networks = 1000, vifs = 4000, rounds = 3, macs = 1_000_000;
string bin = Path.GetFullPath("artifacts/bin"), probe = "", only = "reconcile,gap,idle,macs";
for (int i = 0; i < args.Length; i += 2)
{
    string value = i + 1 < args.Length ? args[i + 1] : "";
    switch (args[i])
    {
        case "--networks": networks = Number(value); break;
        case "--vifs": vifs = Number(value); break;
        case "--rounds": rounds = Number(value); break;
        case "--macs": macs = Number(value); break;
        case "--only": only = value; break;
        case "--bin": bin = Path.GetFullPath(value); break;
        case "--probe": probe = value; break;
        default:
            Console.Error.WriteLine(Usage);
            return 2;
    }
}

string folder = Directory.CreateTempSubdirectory("xfp-scale-").FullName;
Table table = new();
try
{
    if (only.Contains("reconcile", StringComparison.Ordinal))
        Reconcile();
    if (only.Contains("gap", StringComparison.Ordinal))
        GapBench.Run(table, folder, bin, probe, networks);
    if (only.Contains("idle", StringComparison.Ordinal))
        IdleBench.Run(table, folder, bin);
    if (only.Contains("macs", StringComparison.Ordinal))
        MacBench.Run(table, folder, bin, macs);
}
finally
{
    Directory.Delete(folder, recursive: true);
}

Console.WriteLine(table.ToMarkdown($"{networks} Networks, {vifs} vifs, medians of {rounds}"));
return 0;

static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);

void Reconcile()
{
    List<IpArm.Times> ip = [];
    List<XfpArm.Times> xfp = [];
    for (int round = 1; round <= rounds; round++)
    {
        ip.Add(IpArm.Run(folder, networks, vifs));
        Console.Error.WriteLine($"round {round}: {ip[^1]}");
        xfp.Add(XfpArm.Run(folder, bin, networks, vifs));
        Console.Error.WriteLine($"round {round}: {xfp[^1]}");
    }

    Cost batch = Table.Median(ip.Select(t => t.Total)), apply = Table.Median(xfp.Select(t => t.Apply)), restart = Table.Median(xfp.Select(t => t.Restart));
    Cost policy = Table.Median(ip.Select(t => t.Policy)), storm = Table.Median(xfp.Select(t => t.Storm));
    table.Add("ip -batch and sysctls", batch, $"of this sysctls {Table.Median(ip.Select(t => t.Sysctls)).Ms:F0} ms");
    table.Add("tc -batch for the policy, besides", policy, "no part of the bar");
    table.Add("xfp apply, from nothing to converged", apply, $"{apply.Ms / batch.Ms:F2}x of ip -batch, by CPU {apply.CpuMs / batch.CpuMs:F2}x; bar 1.5x");
    table.Add("restart until it has adopted all", restart,
        $"{restart.Ms / batch.Ms:P1} of ip -batch, by CPU {restart.CpuMs / batch.CpuMs:P1}; {restart.Ms / apply.Ms:P1} of apply; bar 10 %");
    table.Add("the same document again", Table.Median(xfp.Select(t => t.Reapply)), "nothing to do");
    table.Add("all carriers lost and back, until converged", storm, "from the last event on, which the kernel may hold back for a second; CPU from the first");
    table.Add("daemon's peak memory", Table.Median(xfp.Select(t => t.PeakMib)), "MiB", "");
    table.Add("daemon's peak memory after the restart", Table.Median(xfp.Select(t => t.RestartedMib)), "MiB", "");
    table.Add("state file", Table.Median(xfp.Select(t => t.StateKib)), "KiB", "");
}
