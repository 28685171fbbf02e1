// `xfp doctor`: what this kernel and machine can do, and what to do about what they cannot.
using System.Globalization;
using XenFastPath.Api;
using XenFastPath.Daemon.FastPath;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;

namespace XenFastPath.Daemon.Control;

/// <summary>Tries each thing the way it is used, and undoes it.</summary>
internal static unsafe class Diagnosis
{
    private static readonly Version s_minimumKernel = new(6, 1), s_tcx = new(6, 6), s_txMetadata = new(6, 8), s_capabilities = new(6, 3);

    public static string KernelRelease { get; } = File.ReadAllText("/proc/sys/kernel/osrelease").Trim();

    public static DoctorInfo Examine(FastPathManager fastPath, int? secondsLeft)
    {
        Version kernel = KernelVersion();
        List<DoctorCheckInfo> checks =
        [
            kernel >= s_minimumKernel
                ? Ok("kernel", KernelRelease)
                : new DoctorCheckInfo("kernel", "missing", $"{KernelRelease} is older than {s_minimumKernel}", "boot a kernel >= 6.1"),
            Ok("BPF program", $"loaded, pinned in {fastPath.Pins.Path}"),
            AfXdp(),
            LockedMemory(),
            Module("802.1Q VLANs", "8021q", "/proc/net/vlan", "CONFIG_VLAN_8021Q"),
            Module("bonding", "bonding", "/proc/net/bonding", "CONFIG_BONDING"),
            BridgeNetfilter(),
            Since("tcx (policy hook in front of other tc programs)", kernel, s_tcx),
            Since("AF_XDP TX metadata (checksums finished by the kernel)", kernel, s_txMetadata),
            Since("XDP capabilities of drivers by netlink", kernel, s_capabilities),
            Forwarder(fastPath),
            fastPath.Mirror.IsTrusted
                ? Ok("FDB mirror", "in step with the kernel")
                : new DoctorCheckInfo("FDB mirror", "warning", "behind; frames go the bridge's way", "see the daemon's log"),
        ];
        if (secondsLeft is { } seconds)
            checks.Add(new DoctorCheckInfo("confirmation", "warning", $"an apply is rolled back in {seconds} s", "xfp confirm, or xfp rollback"));
        return new DoctorInfo(KernelRelease, checks);
    }

    private static DoctorCheckInfo Forwarder(FastPathManager fastPath)
    {
        ForwarderInfo forwarder = Views.Forwarder(fastPath);
        return forwarder.State == "running"
            ? Ok("forwarder", $"pid {forwarder.Pid}, {forwarder.InstructionSet}, {forwarder.FramesFree} of {forwarder.FramesTotal} frames free")
            : new DoctorCheckInfo("forwarder", "warning", $"{forwarder.State}; frames go the bridge's way", "see the daemon's log");
    }

    private static DoctorCheckInfo AfXdp()
    {
        int fd = socket(IfXdp.AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
        if (fd < 0)
            return new DoctorCheckInfo("AF_XDP", "missing", Errno.Describe(Errno.Last), "a kernel with CONFIG_XDP_SOCKETS, CAP_NET_RAW");
        close(fd);
        return Ok("AF_XDP", "sockets can be made");
    }

    /// <summary>The arena is locked memory. CAP_IPC_LOCK lifts the limit, so a low RLIMIT_MEMLOCK is then no fault.</summary>
    private static DoctorCheckInfo LockedMemory()
    {
        const ulong capIpcLock = 1UL << 14;
        string status = File.ReadLines("/proc/self/status").First(l => l.StartsWith("CapEff:", StringComparison.Ordinal));
        bool hasCapability = (ulong.Parse(status.AsSpan(7).Trim(), NumberStyles.HexNumber, CultureInfo.InvariantCulture) & capIpcLock) != 0;
        if (hasCapability)
            return Ok("locked memory", "unlimited by CAP_IPC_LOCK");
        string limit = File.ReadLines("/proc/self/limits").First(l => l.StartsWith("Max locked memory", StringComparison.Ordinal));
        bool isUnlimited = limit.Contains("unlimited", StringComparison.Ordinal);
        if (isUnlimited)
            return Ok("locked memory", "unlimited");
        string bytes = string.Join(' ', limit.Split(' ', StringSplitOptions.RemoveEmptyEntries).Skip(3).Take(1));
        return new DoctorCheckInfo("locked memory", "warning", bytes + " bytes", "CAP_IPC_LOCK, or LimitMEMLOCK=infinity in the unit");
    }

    private static DoctorCheckInfo Module(string name, string module, string proof, string option)
    {
        if (Directory.Exists(proof) || Directory.Exists($"/sys/module/{module}"))
            return Ok(name, "available");
        string modules = $"/lib/modules/{KernelRelease}/modules.dep";
        bool canLoad = File.Exists(modules) && File.ReadLines(modules).Any(l => l.Contains($"/{module}.ko", StringComparison.Ordinal));
        return new DoctorCheckInfo(name, "missing", canLoad ? "not loaded" : "this kernel has it neither built in nor as a module",
            canLoad ? $"modprobe {module}" : $"a kernel with {option}");
    }

    private static DoctorCheckInfo BridgeNetfilter()
    {
        const string folder = "/proc/sys/net/bridge";
        string[] on = Directory.Exists(folder)
            ? [.. Directory.EnumerateFiles(folder, "bridge-nf-call-*").Where(f => File.ReadAllText(f).Trim() != "0").Select(f => Path.GetFileName(f))]
            : [];
        return on.Length == 0
            ? Ok("bridge-nf", "off")
            : new DoctorCheckInfo("bridge-nf", "warning", string.Join(", ", on) + " on: bridged packets pass the host's iptables, which costs speed",
                "sysctl " + string.Join(' ', on.Select(o => $"net.bridge.{o}=0")));
    }

    private static DoctorCheckInfo Since(string name, Version kernel, Version since) => kernel >= since
        ? Ok(name, "available")
        : new DoctorCheckInfo(name, "warning", $"from kernel {since} on; done without", null);

    private static DoctorCheckInfo Ok(string name, string detail) => new(name, "ok", detail, null);

    private static Version KernelVersion()
    {
        string digits = new([.. KernelRelease.TakeWhile(c => char.IsAsciiDigit(c) || c == '.')]);
        return Version.TryParse(digits.Trim('.'), out Version? version) ? version : new Version(0, 0);
    }
}
