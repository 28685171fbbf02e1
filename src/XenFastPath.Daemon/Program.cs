// xenfastpathd: the control process. Composition root: what is made here lives until the process ends.
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;
using Tmds.Linux;
using XenFastPath.Api;
using XenFastPath.Daemon.Control;
using XenFastPath.Daemon.FastPath;
using XenFastPath.Interop;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;
using static Tmds.Linux.LibC;

namespace XenFastPath.Daemon;

internal static class Program
{
    private const string Usage = """
        usage: xenfastpathd [--state-dir DIR] [--run-dir DIR] [--bpffs DIR] [--forwarder FILE]

        The control process of XenFastPath. It makes the networks that its state file names, and starts a forwarder
        if none serves its run-dir. Talk to it with xfp.
          --state-dir DIR   holds state.json (default /var/lib/xenfastpath)
          --run-dir DIR     holds xenfastpath.sock and forwarder.sock (default /run/xenfastpath)
          --bpffs DIR       BPF file system for pins (default /sys/fs/bpf)
          --forwarder FILE  the forwarder's program (default: xenfastpath-forwarder beside this one)
          --version
        """;

    private const string SocketName = "xenfastpath.sock", Group = "xenfastpath";

    public static string Version { get; } =
        typeof(Program).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0] ?? "unknown";

    private sealed record Options(string StateDir, string RunDir, string Bpffs, string? Forwarder);

    private static async Task<int> Main(string[] args)
    {
        if (args is ["--version"])
        {
            Console.WriteLine("xenfastpathd " + Version);
            return 0;
        }

        if (Parse(args, out string? problem) is not { } options)
        {
            await Console.Error.WriteLineAsync(problem is null ? Usage : $"xenfastpathd: {problem}\n{Usage}");
            return problem is null ? 0 : 2;
        }

        try
        {
            await Serve(options);
            return 0;
        }
        catch (Exception e) when (e is FastPathException or StateFileException or SystemCallException or NetlinkException
            or IOException or UnauthorizedAccessException)
        {
            Log.Error("xenfastpathd: " + e.Message);
            return 1;
        }
    }

    private static async Task Serve(Options options)
    {
        using ManualResetEventSlim stop = new();
        using PosixSignalRegistration onTerm = PosixSignalRegistration.Create(PosixSignal.SIGTERM, c => Stop(c, stop));
        using PosixSignalRegistration onInt = PosixSignalRegistration.Create(PosixSignal.SIGINT, c => Stop(c, stop));
        Directory.CreateDirectory(options.RunDir);
        using FileStream _ = LockRunDir(options.RunDir);
        using Rtnl rtnl = new();
        using GenericNetlink generic = new();
        using NftablesClient nftables = new();
        using FastPathManager fastPath = new(options.Bpffs, options.RunDir, options.Forwarder, rtnl);
        Observer observer = new(rtnl, generic, new Bypass(rtnl, nftables, ForeignPrograms.On), fastPath, NetworkNamespace.Inode);
        using Controller controller = new(new StateFile(options.StateDir, SyncDirectory), rtnl, generic, fastPath, observer, new EventHub());
        using LinkWatch watch = new(controller.Poke);
        controller.Start();
        watch.Start();
        int? gid = GroupId(Group);
        string socket = Path.Combine(options.RunDir, SocketName);
        ApiServerOptions serverOptions = new(socket) { AllowedGid = gid, SecureSocketFile = path => GiveToGroup(path, gid) };
        await using (ApiServer server = new(serverOptions, new ApiHandler(controller), Log.Error))
        {
            server.Start();
            Log.Info($"xenfastpathd {Version}: serving {socket}, kernel {Diagnosis.KernelRelease}");
            stop.Wait();
            Log.Info("xenfastpathd: stopping; networks and forwarder stay as they are");
        }

        if (controller.State.Networks.IsEmpty && fastPath.Ports.Count == 0)
        {
            Log.Info("xenfastpathd: no network is left; taking the forwarder and the pins away");
            fastPath.Withdraw();
        }
    }

    private static void Stop(PosixSignalContext context, ManualResetEventSlim stop)
    {
        context.Cancel = true;
        stop.Set();
    }

    /// <summary>Two daemons on one run-dir would undo each other's work.</summary>
    private static FileStream LockRunDir(string runDir)
    {
        string path = Path.Combine(runDir, "xenfastpathd.lock");
        try
        {
            return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException e) when (e.HResult == Errno.EAGAIN)     // what flock(2) said
        {
            throw new IOException($"{path} is locked: another xenfastpathd serves this run-dir");
        }
    }

    private static Options? Parse(string[] args, out string? problem)
    {
        Options options = new("/var/lib/xenfastpath", "/run/xenfastpath", "/sys/fs/bpf", null);
        problem = null;
        for (int i = 0; i < args.Length; i += 2)
        {
            if (args[i] is "--help" or "-h")
                return null;
            string? value = i + 1 < args.Length && args[i + 1].Length > 0 ? Path.GetFullPath(args[i + 1]) : null;
            switch (args[i])
            {
                case "--state-dir" when value is not null:
                    options = options with { StateDir = value };
                    break;
                case "--run-dir" when value is not null:
                    options = options with { RunDir = value };
                    break;
                case "--bpffs" when value is not null:
                    options = options with { Bpffs = value };
                    break;
                case "--forwarder" when value is not null:
                    options = options with { Forwarder = value };
                    break;
                default:
                    problem = value is null ? $"{args[i]} needs a value or is unknown" : $"unknown argument {args[i]}";
                    return null;
            }
        }

        return options;
    }

    private static int? GroupId(string name)
    {
        string? line = File.ReadLines("/etc/group").FirstOrDefault(l => l.StartsWith(name + ":", StringComparison.Ordinal));
        return int.TryParse(line?.Split(':').ElementAtOrDefault(2), out int gid) ? gid : null;
    }

    private static unsafe void GiveToGroup(string path, int? gid)
    {
        if (gid is not { } group)
            return;
        const uint sameOwner = uint.MaxValue;
        fixed (byte* name = Encoding.UTF8.GetBytes(path + '\0'))
        {
            if (chown(name, (uid_t)sameOwner, (gid_t)(uint)group) != 0)
                throw new SystemCallException("chown " + path, Errno.Last);
        }
    }

    /// <summary>fsync on a folder: makes a rename in it durable.</summary>
    private static unsafe void SyncDirectory(string path)
    {
        fixed (byte* name = Encoding.UTF8.GetBytes(path + '\0'))
        {
            int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            int error = fd < 0 || fsync(fd) != 0 ? Errno.Last : 0;
            if (fd >= 0)
                close(fd);
            if (error != 0)
                throw new SystemCallException("fsync " + path, error);
        }
    }
}
