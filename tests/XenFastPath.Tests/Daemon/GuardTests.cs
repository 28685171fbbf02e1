using Tmds.Linux;
using XenFastPath.Daemon;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;

namespace XenFastPath.Tests.Daemon;

public sealed unsafe class GuardTests
{
    /// <summary>A guard looks once when it is told of a removal, and then sleeps until its deadline.</summary>
    [Fact]
    public void A_file_is_gone_as_soon_as_its_removal_is_told()
    {
        string path = Path.Combine(Path.GetTempPath(), $"xfp-guard-{Environment.ProcessId}");
        for (int i = 0; i < 500; i++)
        {
            using FileStream file = File.Create(path);
            int fd = (int)file.SafeFileHandle.DangerousGetHandle(), names = Inotify.WatchNames(path);
            Assert.False(Guard.IsGone(fd));
            using ManualResetEventSlim go = new();
            Thread remover = new(() =>
            {
                go.Set();
                File.Delete(path);
            });
            remover.Start();
            go.Wait(TestContext.Current.CancellationToken);
            pollfd polled = new() { fd = names, events = POLLIN };
            while (poll(&polled, 1, 0) == 0)
            {
            }

            bool isGone = Guard.IsGone(fd);
            remover.Join();
            close(names);
            Assert.True(isGone, $"at the {i}th removal");
        }
    }
}
