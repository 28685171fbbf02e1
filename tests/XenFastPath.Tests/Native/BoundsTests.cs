// Constants of different projects, and of different meaning, that hold only together.
using XenFastPath.Dataplane;
using XenFastPath.Reconcile;

namespace XenFastPath.Tests.Native;

public sealed class BoundsTests
{
    [Fact]
    public void The_path_rule_promises_what_the_forwarder_can_do()
    {
        Assert.Equal(Limits.MtuMax, PathRule.AfxdpMtuMax);
        Assert.Equal(Limits.QueuesPerPortMax, PathRule.AfxdpQueuesMax);
    }

    [Fact]
    public void The_default_arena_holds_64_guests_and_a_nic()
    {
        long frames = Limits.ArenaMibDefault * 1024L * 1024 / Limits.FrameBytes;
        long wanted = 64 * (Limits.VifFillFrames + Limits.VifTxFrames) + Limits.PifFillFrames + Limits.PifTxFrames + Limits.ReservedFrames(workers: 1);
        Assert.True(wanted <= frames, $"{wanted} frames are wanted, the arena has {frames}");
    }

    [Fact]
    public void What_may_be_on_its_way_out_fits_beside_all_quotas()
    {
        const uint quota = Limits.VifTxFrames;
        foreach (uint queues in (uint[])[1, 2, 9, 64])
        {
            foreach (uint spare in (uint[])[0, 1, 1000, 30_000])
            {
                uint limit = Limits.TxLimit(quota, spare, queues);
                Assert.InRange(limit, quota, (uint)Limits.TxFramesMax);
                Assert.True((limit - quota) * queues <= spare / 2);
            }
        }

        Assert.Equal((uint)Limits.TxFramesMax, Limits.TxLimit(quota, spare: 30_000, queues: 2));
        Assert.True(int.IsPow2(Limits.TxFramesMax), "it is the size of the TX ring");
    }

    [Fact]
    public void A_received_frame_fits_its_chunk_with_the_kernels_headroom()
    {
        Assert.Equal(Limits.FrameBytes, 1 << Limits.FrameShift);
        Assert.True(Interop.IfXdp.XDP_PACKET_HEADROOM + Limits.MtuMax + 14 + 4 <= Limits.FrameBytes);
    }

    [Fact]
    public void Ports_and_queues_fit_the_fields_that_name_them()
    {
        Assert.True(int.IsPow2(Layout.PortsMax), "the loop masks port ids with it");
        Assert.True(Layout.PortsMax <= 1 << 16);
        Assert.True(Layout.XsksMax <= 1 << 14, "the ledger has 14 bits for a queue");
        Assert.True((int)PortCounter.Count <= CounterMemory.RowSlots);
        Assert.True((int)LoopCounter.Count <= 64);
    }

    /// <summary>Each of these orders is what a comment in xenfastpath.h or Limits.cs builds on.</summary>
    [Fact]
    public void Times_have_the_order_that_failing_over_relies_on()
    {
        const long msNs = 1_000_000;
        Assert.True(Limits.IdleWaitMsMax * msNs < Layout.StallNs, "an idle loop would take its own sleep for a stall");
        Assert.True(Layout.StallNs < Layout.ForwarderStaleNs, "frames of before the stall would be sent after newer ones");
        Assert.InRange(Layout.ForwarderStaleNs, 50 * msNs, 100 * msNs);
        Assert.InRange(Layout.ControlStaleNs, 1000 * msNs, 2000 * msNs);
        Assert.True(Layout.SuspectNs > Layout.ControlStaleNs, "a moved address would be trusted before control is known to be dead");
        Assert.True(Layout.QuietNs < Layout.StallNs);
    }
}
