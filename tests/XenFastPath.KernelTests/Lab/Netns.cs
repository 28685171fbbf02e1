// Network namespaces: made with iproute2, entered on a thread that is thrown away.
using System.Text;
using static Tmds.Linux.LibC;

namespace XenFastPath.KernelTests.Lab;

/// <summary>One namespace of a lab. The test makes it and removes it.</summary>
internal sealed unsafe class Netns : IDisposable
{
    private const int CLONE_NEWNET = 0x40000000;

    public Netns(string name)
    {
        Name = name;
        Tool.Run("ip", "netns", "add", name);
        Run("ip", "link", "set", "lo", "up");
        // What a dom0 has set: bridged frames do not visit the host's iptables.
        Run("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0", "net.bridge.bridge-nf-call-arptables=0");
        // Guests that talk on their own (router solicitations, MLD) would disturb what is counted.
        Run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1");
    }

    public string Name { get; }

    public string Path => "/run/netns/" + Name;

    /// <summary>Runs a program inside; fails if it fails. Returns what it printed.</summary>
    public string Run(string program, params string[] arguments) => Tool.Run("nsenter", ["--net=" + Path, program, .. arguments]);

    /// <summary>Does something inside, on a thread of its own: a thread that could not go back must never serve another test.</summary>
    public T Inside<T>(Func<T> action)
    {
        T result = default!;
        Exception? failure = null;
        Thread thread = new(() =>
        {
            try
            {
                fixed (byte* path = Encoding.ASCII.GetBytes(Path + '\0'))
                {
                    int fd = open(path, O_RDONLY | O_CLOEXEC);
                    Assert.True(fd >= 0, "no namespace " + Name);
                    int error = setns(fd, CLONE_NEWNET);
                    close(fd);
                    Assert.Equal(0, error);
                }

                result = action();
            }
            catch (Exception e)
            {
                failure = e;
            }
        });
        thread.Start();
        thread.Join();
        return failure is null ? result : throw new InvalidOperationException($"in namespace {Name}: {failure.Message}", failure);
    }

    public void Dispose() => Tool.TryRun("ip", "netns", "del", Name);
}
