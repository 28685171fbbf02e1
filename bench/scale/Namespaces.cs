// Work inside a network namespace.
using System.Text;
using static Tmds.Linux.LibC;

namespace XenFastPath.Scale;

internal static unsafe class Namespaces
{
    private const int CLONE_NEWNET = 0x40000000;

    /// <summary>Does something inside, on a thread of its own, which ends there.</summary>
    public static void Inside(string name, Action action)
    {
        Exception? failure = null;
        Thread thread = new(() =>
        {
            try
            {
                Enter(name);
                action();
            }
            catch (Exception e)
            {
                failure = e;
            }
        });
        thread.Start();
        thread.Join();
        if (failure is not null)
            throw new InvalidOperationException($"in namespace {name}: {failure.Message}", failure);
    }

    private static void Enter(string name)
    {
        // Safety: the name is pinned for the call.
        fixed (byte* path = Encoding.ASCII.GetBytes($"/run/netns/{name}\0"))
        {
            int fd = open(path, O_RDONLY | O_CLOEXEC);
            if (fd < 0 || setns(fd, CLONE_NEWNET) != 0)
                throw new InvalidOperationException($"cannot enter network namespace {name}");
            close(fd);
        }
    }
}
