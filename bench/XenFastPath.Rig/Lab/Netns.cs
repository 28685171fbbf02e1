// A network namespace of the rig: made and removed with iproute2, entered on threads of its own.
using System.Text;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;

namespace XenFastPath.Rig.Lab;

/// <summary>One namespace. Whoever makes it removes it, with what still runs inside.</summary>
internal sealed unsafe class Netns : IDisposable
{
    private const int CLONE_NEWNET = 0x40000000;

    public Netns(string name)
    {
        Name = name;
        Tool.Run("ip", "netns", "add", name);
        Run("ip", "link", "set", "lo", "up");
        // What a dom0 has set: bridged frames do not visit the host's iptables. A kernel without br_netfilter has no such words.
        foreach (string table in (string[])["iptables", "ip6tables", "arptables"])
            Tool.TryRun("nsenter", "--net=" + Path, "sysctl", "-qw", $"net.bridge.bridge-nf-call-{table}=0");
        // Router solicitations and the like would disturb what is counted.
        Run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1");
    }

    public string Name { get; }

    public string Path => "/run/netns/" + Name;

    /// <summary>Runs a program inside and returns what it printed.</summary>
    /// <exception cref="RigException">It failed.</exception>
    public string Run(string program, params string[] arguments) => Tool.Run("nsenter", ["--net=" + Path, program, .. arguments]);

    public (int Status, string Output) TryRun(string program, params string[] arguments) =>
        Tool.TryRun("nsenter", ["--net=" + Path, program, .. arguments]);

    /// <summary>Does something inside, on a thread that is thrown away, and waits for it.</summary>
    public T Inside<T>(Func<T> action)
    {
        T result = default!;
        Exception? failure = null;
        Thread thread = Start(() => result = action(), e => failure = e);
        thread.Join();
        return failure is null ? result : throw new RigException($"in namespace {Name}: {failure.Message}");
    }

    /// <summary>Starts a thread that lives inside.</summary>
    public Thread Start(Action action, Action<Exception> onFailure)
    {
        Thread thread = new(() =>
        {
            try
            {
                Enter();
                action();
            }
            catch (Exception e) when (e is RigException or SystemCallException or InvalidOperationException or IOException
                or System.Net.Sockets.SocketException)
            {
                onFailure(e);
            }
        })
        {
            IsBackground = true,
        };
        thread.Start();
        return thread;
    }

    public void Dispose()
    {
        const int sigkill = 9;
        foreach (string pid in Tool.TryRun("ip", "netns", "pids", Name).Output.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            // A thread of the rig that is inside does not show: pids looks at main threads.
            if (int.TryParse(pid, out int number) && number != Environment.ProcessId)
                kill(number, sigkill);
        }

        Tool.TryRun("ip", "netns", "del", Name);
    }

    private void Enter()
    {
        // Safety: the path is NUL-terminated and pinned for the call.
        fixed (byte* path = Encoding.ASCII.GetBytes(Path + '\0'))
        {
            int fd = open(path, O_RDONLY | O_CLOEXEC);
            if (fd < 0)
                throw new RigException("no namespace " + Name);
            int result = setns(fd, CLONE_NEWNET);
            close(fd);
            if (result != 0)
                throw new SystemCallException("enter namespace " + Name, Errno.Last);
        }
    }
}
