using System.Collections.Concurrent;
using XenFastPath.Daemon.FastPath;

namespace XenFastPath.Tests.Dataplane;

/// <summary>Deleted keys stay in the forwarder's copy until no frame can need them.</summary>
public sealed class ReaperTests
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);

    [Fact]
    public void A_key_deleted_again_while_its_batch_waits_gets_a_batch_of_its_own()
    {
        using SemaphoreSlim barriers = new(0), mayPass = new(0);
        using BlockingCollection<ulong> removed = [];
        using Reaper reaper = new() { Barrier = () => { barriers.Release(); return mayPass.Wait(s_patience); } };
        // As the mirror does: a key that waits again is left to its next batch.
        reaper.Remove = keys => keys.Where(k => !reaper.IsDeferred(k)).ToList().ForEach(removed.Add);
        reaper.Start();
        reaper.Defer(1);
        Assert.True(barriers.Wait(s_patience));
        Assert.False(reaper.IsDeferred(1));             // on its way
        reaper.Defer(2);
        reaper.Defer(1);                                // it came back meanwhile and is deleted again
        Assert.True(reaper.IsDeferred(1));
        mayPass.Release();
        Assert.True(barriers.Wait(s_patience));
        Assert.Empty(removed);                          // the first batch is done, and left it alone
        mayPass.Release();
        Assert.True(removed.TryTake(out ulong first, s_patience) & removed.TryTake(out ulong second, s_patience));
        Assert.Equal(3ul, first + second);
        Assert.Empty(removed);
    }

    [Fact]
    public void A_refused_batch_is_tried_again_although_nothing_else_happens()
    {
        using ManualResetEventSlim isRemoved = new();
        int barriers = 0;
        IReadOnlyList<ulong>? removed = null;
        using Reaper reaper = new()
        {
            Barrier = () => Interlocked.Increment(ref barriers) > 2,
            Remove = keys =>
            {
                removed = keys;
                isRemoved.Set();
            },
        };
        reaper.Start();
        reaper.Defer(7);
        Assert.True(isRemoved.Wait(s_patience));
        Assert.Equal([7ul], removed!);
        Assert.Equal(3, barriers);
        Assert.False(reaper.IsDeferred(7));
    }

    [Fact]
    public void A_forwarder_that_never_answers_does_not_make_the_reaper_spin()
    {
        int barriers = 0;
        using (Reaper reaper = new() { Barrier = () => Interlocked.Increment(ref barriers) < 0 })
        {
            reaper.Start();
            reaper.Defer(7);
            Thread.Sleep(3 * Reaper.RetryAfter);
        }

        Assert.InRange(barriers, 1, 4);
    }
}
