// The bench rig: measures our datapaths and their peers in namespaces of its own and writes tables and plots. See bench/rig/run.sh.
using System.Runtime.InteropServices;
using XenFastPath.Interop;
using XenFastPath.Rig;
using XenFastPath.Rig.Arms;
using XenFastPath.Rig.Results;
using XenFastPath.Rig.Workloads;

if (RigOptions.Parse(args, out string? problem) is not { } options)
{
    Console.Error.WriteLine("rig: " + problem);
    return 2;
}

Arm[] all =
[
    new BridgeArm(), new DaemonArm(options.Bin, "afxdp"), new DaemonArm(options.Bin, "redirect"), new DaemonArm(options.Bin, "auto"),
    new OvsArm(), new TestpmdArm(), new DevmapArm(),
];
if (options.Arms?.FirstOrDefault(a => all.All(x => x.Name != a)) is { } unknown)
{
    Console.Error.WriteLine($"rig: no arm {unknown}; there are {string.Join(", ", all.Select(a => a.Name))}");
    return 2;
}

// bench/rig/run.sh removes what is left of an interrupted run; it knows the tag.
using PosixSignalRegistration onTerm = PosixSignalRegistration.Create(PosixSignal.SIGTERM, _ => Environment.Exit(143));
LibBpf.libbpf_set_print(0);
Directory.CreateDirectory(options.Results);
Samples samples = Samples.Load(Path.Combine(options.Results, Session.SamplesFile));
if (options.IsReportOnly)
{
    Report.Write(options.Results, samples, all);
}
else
{
    Effort effort = options.IsQuick ? new(options.Repetitions ?? 3, options.Seconds ?? 1, true) : new(options.Repetitions ?? 7, options.Seconds ?? 1, false);
    Session.Run(options, all, effort, samples);
}

return 0;
