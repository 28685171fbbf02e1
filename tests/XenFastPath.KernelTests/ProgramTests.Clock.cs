// The program's time, which it keeps for as long as the kernel's stands still (native/clock.bpf.h).
using XenFastPath.Daemon.FastPath;
using XenFastPath.Dataplane;

namespace XenFastPath.KernelTests;

public sealed unsafe partial class ProgramTests
{
    /// <summary>
    /// What a frame leaves in its source's entry is never ahead of the clock, and no more behind than the kernel's last tick; but for a
    /// few that fall where the machine itself stood still.
    /// </summary>
    [Fact]
    [Trait("rung", "minimum")]
    public void Its_clock_goes_with_the_kernels()
    {
        const ulong forNs = 500_000_000, behindNsMax = 25_000_000;    // ticks of 10 ms, of which one is late, and the table's own unit
        byte[] frame = Ip(6, new byte[20]);
        int frames = 0, behind = 0;
        for (ulong begin = Clock.NowNs(); Clock.NowNs() - begin < forNs; frames++)
        {
            Learn(Source, Input);
            ulong before = Clock.NowNs();
            RunXdp(frame);
            ulong after = Clock.NowNs();
            Assert.True(_maps.Fdb.TryGet(Key(Source), out FdbValue value));
            Assert.True(value.SeenNs <= after, $"{value.SeenNs - after} ns ahead");
            behind += value.SeenNs < before - behindNsMax ? 1 : 0;
        }

        Assert.True(behind <= frames / 10, $"{behind} of {frames} frames more than {behindNsMax / 1_000_000} ms behind");
    }
}
