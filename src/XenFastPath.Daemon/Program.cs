// xenfastpathd: the control process. Composition root: what is made here lives until the process ends.
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;
using Tmds.Linux;
using XenFastPath.Api;
using XenFastPath.Daemon.Control;
using XenFastPath.Daemon.FastPath;
using XenFastPath.Daemon.Host;
using XenFastPath.Interop;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;
using static Tmds.Linux.LibC;

namespace XenFastPath.Daemon;

internal static class Program
{
    private const string Usage = """
        usage: xenfastpathd [--rollback] [--state-dir DIR] [--run-dir DIR] [--bpffs DIR] [--forwarder FILE] [--macs-max N]
                            [--arena-mib N] [--workers N] [--cpus LIST] [--busy-poll-us N]
                            [--vif-frames N]

        The control process of XenFastPath. It makes the networks that its state file names, and starts a forwarder
        if none serves its run-dir. Talk to it with xfp.
          --rollback        only undo an apply that waits for its confirmation, where no daemon serves the run-dir
          --state-dir DIR   holds state.json and rollback.json (default /var/lib/xenfastpath)
          --run-dir DIR     holds xenfastpath.sock and forwarder.sock (default /run/xenfastpath)
          --bpffs DIR       BPF file system for pins (default /sys/fs/bpf)
          --forwarder FILE  the forwarder's program (default: xenfastpath-forwarder beside this one)
          --macs-max N      addresses that the fast path's tables have room for (default 131072; 1024 to 1048576)
        For the forwarder that it starts:
          --arena-mib N     packet memory in MiB (default 64)
          --workers N       packet threads (default 1, or one for each CPU of --cpus)
          --cpus LIST       CPUs that they run on, as 2,3; one each
          --busy-poll-us N  poll physical ports for so long after a frame, before sleeping (default 0)
          --vif-frames N    frames that a guest may send in one burst (default 256; 256 to 4096)
          --version
        """;

    private const string SocketName = "xenfastpath.sock", Group = "xenfastpath";

    public static string Version { get; } =
        typeof(Program).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0] ?? "unknown";


    private static async Task<int> Main(string[] args)
    {
        if (args is ["--version"])
        {
            Console.WriteLine("xenfastpathd " + Version);
            return 0;
        }

        if (Options.Parse(args, out string? problem) is not { } options)
        {
            await Console.Error.WriteLineAsync(problem is null ? Usage : $"xenfastpathd: {problem}\n{Usage}");
            return problem is null ? 0 : 2;
        }

        try
        {
            switch (options.Mode)
            {
                case Mode.Guard:
                    return Guard.Run(options, () => RollBack(options));
                case Mode.RollBack:
                    return RollBack(options) ? 0
                        : throw new IOException($"{Options.LockOf(options.RunDir)} is locked: a daemon serves this run-dir; use xfp rollback");
                default:
                    await Serve(options);
                    return 0;
            }
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
        using FileStream _ = TryLock(options.RunDir)
            ?? throw new IOException($"{Options.LockOf(options.RunDir)} is locked: another xenfastpathd serves this run-dir");
        using Engine engine = new(options);
        Controller controller = engine.Controller;
        controller.Start();
        engine.Watch.Start(controller.Poke);
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

        FastPathManager fastPath = controller.FastPath;
        if (controller.State.Networks.IsEmpty && controller.SecondsLeft is null && fastPath.Ports.Count == 0 && fastPath.Slb.Bonds.Count == 0)
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

    /// <summary>Undoes what waits for its confirmation, without serving anybody; returns false if a daemon serves the run-dir.</summary>
    private static bool RollBack(Options options)
    {
        using FileStream? locked = TryLock(options.RunDir);
        if (locked is null)
            return false;
        if (new RollbackFile(options.StateDir, SyncDirectory).Load() is null)
        {
            Log.Info("rollback: nothing waits for a confirmation");
            return true;
        }

        using Engine engine = new(options);
        engine.Controller.Converge(mustRollBack: true);
        if (engine.Controller.SecondsLeft is not null)
            throw new IOException($"{options.StateDir}: the rollback is not complete yet; the log says why");
        return true;
    }

    /// <summary>Two daemons on one run-dir would undo each other's work. Null if another has it.</summary>
    private static FileStream? TryLock(string runDir)
    {
        Directory.CreateDirectory(runDir);
        try
        {
            return new FileStream(Options.LockOf(runDir), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException e) when (e.HResult == Errno.EAGAIN)     // what flock(2) said
        {
            return null;
        }
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

    /// <summary>The daemon without its API.</summary>
    private sealed class Engine : IDisposable
    {
        private readonly Rtnl _rtnl = new();
        private readonly NftablesClient _nftables = new();
        private readonly FastPathManager _fastPath;

        public Engine(Options options)
        {
            ForwarderStart forwarder = new(options.Forwarder, options.ForwarderArguments);
            Watch = new LinkWatch(Generic);
            Bypass bypass = new(_rtnl, _nftables, ForeignPrograms.On);
            LookAhead ahead = new(_rtnl, Generic, bypass);
            // Before hooks are taken over: that takes the kernel's lock for all network configuration thousands of times, as the dumps do.
            StateFile file = new(options.StateDir, SyncDirectory);
            HostState state = file.Load();
            _fastPath = new FastPathManager(options.Bpffs, options.RunDir, forwarder, _rtnl, options.MacsMax);
            Observer observer = new(_rtnl, Generic, bypass, _fastPath, NetworkNamespace.Inode, ahead);
            Controller = new Controller(file, state, new RollbackFile(options.StateDir, SyncDirectory),
                () => Guard.Start(options), _rtnl, Generic, _fastPath, observer, new EventHub(),
                poke => new HostServices(new DhcpClients(options.RunDir, options.StateDir, poke, Log.Info), new Resolver(), new DeviceOwners()));
        }

        public Controller Controller { get; }

        /// <summary>Listens from the first look on; to be started when the controller is.</summary>
        public LinkWatch Watch { get; }

        private GenericNetlink Generic { get; } = new();

        public void Dispose()
        {
            Watch.Dispose();
            Controller.Dispose();
            _fastPath.Dispose();
            _nftables.Dispose();
            Generic.Dispose();
            _rtnl.Dispose();
        }
    }
}
