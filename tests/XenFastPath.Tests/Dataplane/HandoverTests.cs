// Several workers: what one receives for another's port, and what becomes of it when ports leave, workers stand still or rings are full.
using XenFastPath.Dataplane;

namespace XenFastPath.Tests.Dataplane;

public sealed unsafe class HandoverTests : IDisposable
{
    private const string A = "02:00:00:00:00:0a", B = "02:00:00:00:00:0b", C = "02:00:00:00:00:0c";

    private readonly LoopFixture _loop = new(frames: 2048, workers: 2);
    private readonly SimulatedPort _a;
    private readonly SimulatedPort _b;

    public HandoverTests()
    {
        _a = _loop.AddPort(fillFrames: 512, txFrames: 512, worker: 0);
        _b = _loop.AddPort(fillFrames: 512, txFrames: 512, worker: 1);
        _loop.Learn(A, _a);
        _loop.Learn(B, _b);
        Array.Clear(_loop.Wakes);
    }

    private PacketLoop First => _loop.Loops[0];

    private PacketLoop Second => _loop.Loops[1];

    public void Dispose() => _loop.Dispose();

    [Fact]
    public void A_frame_for_another_workers_port_leaves_by_it_in_order()
    {
        List<byte[]> sent = [.. Enumerable.Range(0, 100).Select(Frame)];
        foreach (byte[] frame in sent)
            Assert.True(_a.Deliver(frame));
        First.Round(_loop.Now);
        First.Round(_loop.Now);
        Assert.Empty(_b.TakeSent());
        Assert.True(_loop.Audit(), "while they are on their way");
        Second.Round(_loop.Now);
        Assert.Equal(sent, _b.TakeSent());
        Assert.Equal(100ul, _a[PortCounter.RxFrames]);
        Assert.Equal(100ul, _b[PortCounter.TxFrames]);
        Assert.Equal(100ul, _loop[LoopCounter.HandedOver, 0]);
        _b.Complete();
        Second.Round(_loop.Now);
        Assert.True(_loop.Audit());
    }

    /// <summary>The frames go one way only: what the second worker gets back after sending must find its way to the first.</summary>
    [Fact]
    public void Traffic_in_one_direction_does_not_run_out_of_frames()
    {
        _loop.Round();
        uint free = _loop.FreeCount;
        for (int i = 0; i < 20_000; i++)
        {
            Assert.True(_a.Deliver(Frame(i)), $"no fill frame left at frame {i}");
            if (i % 50 != 49)
                continue;
            _loop.Round();
            _loop.Round();
            Assert.Equal(50, _b.TakeSent().Count);
            _b.Complete();
        }

        _loop.Round();
        _loop.Round();
        Assert.True(_loop.Audit());
        Assert.Equal(free, _loop.FreeCount);
    }

    [Fact]
    public void A_worker_is_woken_only_while_it_sleeps()
    {
        _a.Deliver(Frame(1));
        First.Round(_loop.Now);
        Assert.Equal(0, _loop.Wakes[1]);
        Assert.False(Second.TrySleep());                // something waits for it
        Second.Round(_loop.Now);
        Assert.True(Second.TrySleep());
        _a.Deliver(Frame(2));
        First.Round(_loop.Now);
        Assert.Equal(1, _loop.Wakes[1]);
        Assert.Equal(1ul, _loop[LoopCounter.HandoverWakes, 0]);
        Second.WakeUp();
        Second.Round(_loop.Now);
        _a.Deliver(Frame(3));
        First.Round(_loop.Now);
        Assert.Equal(1, _loop.Wakes[1]);
    }

    [Fact]
    public void What_a_busy_worker_has_no_room_for_is_dropped_and_counted()
    {
        const int count = Limits.HandoverFramesPerQueue + 40;
        SimulatedPort other = _loop.AddPort(worker: 1);
        _loop.Learn(C, other);
        for (int i = 0; i < count; i++)
            Assert.True(_a.Deliver(Frame(i)));
        byte[] toOther = Frames.Ethernet(C, A, 0x88b5, new byte[60]);
        Assert.True(_a.Deliver(toOther));
        for (int i = 0; i < 10; i++)
            First.Round(_loop.Now);
        Assert.Equal(40ul, _a[PortCounter.DropWorkerBusy]);
        Assert.True(_loop.Audit());
        Second.Round(_loop.Now);
        Assert.Equal(Enumerable.Range(0, Limits.HandoverFramesPerQueue).Select(Frame), _b.TakeSent());
        Assert.Equal([toOther], other.TakeSent());      // who sends to many is not held up by one of them
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void What_the_ring_between_two_workers_has_no_room_for_is_dropped_and_counted()
    {
        const int outputs = Limits.HandoverFrames / Limits.HandoverFramesPerQueue + 1;
        for (int i = 0; i < outputs; i++)
            _loop.Learn($"02:00:00:00:01:{i:x2}", _loop.AddPort(worker: 1));
        for (int i = 0; i < outputs * Limits.HandoverFramesPerQueue; i++)
        {
            Assert.True(_a.Deliver(Frames.Ethernet($"02:00:00:00:01:{i % outputs:x2}", A, 0x88b5, new byte[60])));
            if (i % 100 == 99)
                First.Round(_loop.Now);
        }

        for (int i = 0; i < 10; i++)
            First.Round(_loop.Now);
        ulong given = _loop[LoopCounter.HandedOver, 0];
        Assert.Equal((ulong)Limits.HandoverFrames, given);
        Assert.Equal(_a[PortCounter.RxFrames] - given, _a[PortCounter.DropWorkerBusy]);
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void What_the_output_has_no_room_for_is_dropped_for_the_port_it_came_by()
    {
        SimulatedPort narrow = _loop.AddPort(txFrames: 8, worker: 1);
        _loop.Learn(C, narrow);
        for (int i = 0; i < 20; i++)
            _a.Deliver(Frames.Ethernet(C, A, 0x88b5, new byte[60]));
        _loop.Round();
        Assert.Equal(12ul, _a[PortCounter.DropTxFull]);
        Assert.Equal(8, narrow.TakeSent().Count);
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void A_port_leaves_only_after_what_was_handed_over_for_it_is_off_the_way()
    {
        for (int i = 0; i < 10; i++)
            _a.Deliver(Frame(i));
        First.Round(_loop.Now);
        _loop.Command(l => l.PostForget(_b.Id));
        _a.Deliver(Frame(10));
        First.Round(_loop.Now);
        Assert.Equal(1ul + 10, _a[PortCounter.DropOutputGone]);     // ten by the taker, one by the giver
        _loop.Command(l => l.PostDetach(_b.Id));
        Assert.True(_loop.Audit());
        Assert.Empty(_b.TakeSent());
        Second.PostReclaim(_b.Queue->Index);
        Second.Round(_loop.Now);
        Assert.Equal(512, Second.Result);
        Assert.True(_loop.Audit());
    }

    /// <summary>Its traffic does not stop before all workers have forgotten it.</summary>
    [Fact]
    public void A_port_that_leaves_may_still_receive()
    {
        _a.Deliver(Frame(1));
        _b.Deliver(Frames.Ethernet(A, B, 0x88b5, new byte[60]));
        _loop.Command(l => l.PostForget(_b.Id));
        _loop.Round();
        Assert.Equal(1ul, _b[PortCounter.RxFrames]);
        Assert.Equal(1ul, _a[PortCounter.DropOutputGone]);
        Assert.Single(_a.TakeSent());
        Assert.True(_loop.Audit());
    }

    /// <summary>The ledger tells a frame that waits for a worker from one that it has given to the kernel.</summary>
    [Fact]
    public void A_bogus_completion_does_not_free_a_frame_on_its_way()
    {
        _a.Deliver(Frame(1));
        First.Round(_loop.Now);
        for (uint frame = 1; frame < _loop.Arena.FrameCount; frame++)
        {
            if (_loop.Arena.IsOwned(frame, FrameOwner.HandedOver, _b.Queue->Index))
                _b.CompleteBogus((ulong)frame << Limits.FrameShift);
        }

        _b.Queue->TxHeld++;                             // so that completions are looked for
        Second.Round(_loop.Now);
        _b.Queue->TxHeld--;
        Assert.Single(_b.TakeSent());
        Assert.Equal(1ul, _b[PortCounter.CompletionBogus]);
        Assert.True(_loop.Audit());
    }

    /// <summary>From when it stands still for longer than the program bears, frames go by the bridge and may not be overtaken.</summary>
    [Fact]
    public void What_a_worker_holds_is_thrown_away_when_another_one_stands_still()
    {
        _loop.Round();
        _loop.Now += (ulong)Layout.StallNs - 20_000_000;
        Second.Round(_loop.Now);                        // the first does not run
        _b.Deliver(Frames.Ethernet(A, B, 0x88b5, new byte[60]));
        _loop.Now += 30_000_000;
        Second.Round(_loop.Now);
        Assert.Equal(1ul, _b[PortCounter.DropStale]);
        Assert.Equal(0ul, _loop[LoopCounter.Stalls, 1]);
        // The first comes back before the second has its next round.
        _b.Deliver(Frames.Ethernet(A, B, 0x88b5, new byte[60]));
        _loop.Now += 1;
        First.Round(_loop.Now);
        Assert.Equal(1ul, _loop[LoopCounter.Stalls, 0]);
        Assert.Equal((0, 1), (_loop.Wakes[0], _loop.Wakes[1]));
        _loop.Now += 1;
        First.Round(_loop.Now);
        Second.Round(_loop.Now);
        Assert.Equal(2ul, _b[PortCounter.DropStale]);
        _b.Deliver(Frames.Ethernet(A, B, 0x88b5, new byte[60]));
        _loop.Now += 1;
        _loop.Round();
        _loop.Round();
        Assert.Single(_a.TakeSent());
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void A_frame_of_an_earlier_owner_of_the_port_id_does_not_reach_the_next()
    {
        _a.Deliver(Frame(1));
        First.Round(_loop.Now);
        OutputPort next = _b.Output(LoopFixture.Generation + 1);
        _loop.Loops[1].PostAttachVlan(_b.Id, next, _b.VlanTable);   // any command that gives the id another owner
        Second.Round(_loop.Now);
        Assert.Equal(1ul, _a[PortCounter.DropOutputGone]);
        Assert.Empty(_b.TakeSent());
    }

    [Fact]
    public void The_port_it_came_by_may_be_gone_when_a_frame_is_dropped()
    {
        _a.Deliver(Frame(1));
        First.Round(_loop.Now);
        Second.PostForget(_a.Id);
        _loop.Now += (ulong)Layout.StallNs + 1;                     // makes the second throw it away
        Second.Round(_loop.Now);
        Assert.Equal(1ul, _b[PortCounter.DropStale] + _a[PortCounter.DropStale]);
        Assert.Empty(_b.TakeSent());
    }

    /// <summary>One pass is over when the frames are handed over, the second when they are in the TX ring.</summary>
    [Fact]
    public void After_two_passes_of_a_barrier_all_that_waited_is_through()
    {
        const int count = Limits.BatchFrames + 10;
        for (int i = 0; i < count; i++)
            Assert.True(_a.Deliver(Frame(i)));
        _loop.Command(l => l.PostBarrier());
        _loop.Command(l => l.PostBarrier());
        Assert.Equal(count, _b.TakeSent().Count);
        // What was handed over before the second's barrier began, it waits for.
        _a.Deliver(Frame(0));
        First.Round(_loop.Now);
        Second.PostPause();
        Second.Round(_loop.Now);
        Second.PostResume();
        Second.Round(_loop.Now);
        _a.Deliver(Frame(1));
        First.Round(_loop.Now);
        Second.PostBarrier();
        Second.Round(_loop.Now);
        Assert.True(Second.IsIdle);
        Assert.Equal(2, _b.TakeSent().Count);
    }

    [Fact]
    public void A_worker_that_stood_still_throws_away_what_others_gave_it()
    {
        _a.Deliver(Frame(1));
        First.Round(_loop.Now);
        _loop.Now += (ulong)Layout.StallNs + 1;
        Second.Round(_loop.Now);
        Assert.Empty(_b.TakeSent());
        Assert.Equal(1ul, _a[PortCounter.DropStale]);
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void A_worker_that_stood_still_in_the_middle_of_a_round_gives_nothing_away()
    {
        ulong beganNs = _loop.Now;
        _a.Deliver(Frame(1));
        _loop.Now += (ulong)Layout.StallNs + 1;
        First.Round(beganNs);
        Second.Round(_loop.Now);
        Assert.Empty(_b.TakeSent());
        Assert.Equal(1ul, _a[PortCounter.DropStale]);
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void A_paused_worker_forwards_nothing_and_goes_on_afterwards()
    {
        Second.PostPause();
        Second.Round(_loop.Now);
        ulong beatNs = _loop.HeartbeatOf(1);
        _b.Deliver(Frames.Ethernet(A, B, 0x88b5, new byte[60]));
        _loop.Now += 10_000_000;
        Assert.Equal(0u, Second.Round(_loop.Now));
        Assert.Equal(beatNs, _loop.HeartbeatOf(1));
        Assert.True(Second.TrySleep());
        Second.WakeUp();
        Second.PostResume();
        Assert.NotEqual(0u, Second.Round(_loop.Now));   // it is not to sleep now
        Second.Round(_loop.Now);
        First.Round(_loop.Now);
        Assert.Single(_a.TakeSent());
    }

    [Theory]
    [InlineData(0, 0, 0)]
    [InlineData(1, 0, 2)]       // its own ordinal's queue is another worker's
    [InlineData(1, 1, 1)]
    [InlineData(3, 1, 3)]
    [InlineData(2, 5, 2)]       // that worker serves none of them
    public void A_worker_sends_by_a_queue_of_its_own_if_there_is_one(int ordinal, int worker, int expected)
    {
        PortQueue* queues = stackalloc PortQueue[4];
        for (int i = 0; i < 4; i++)
            queues[i] = new PortQueue { Worker = (ushort)(i % 2) };
        Assert.Equal(expected, (int)(OutputPort.Choose(queues, 4, (uint)ordinal, (ushort)worker) - queues));
    }

    private static byte[] Frame(int number) => Frames.Ethernet(B, A, 0x88b5, [.. BitConverter.GetBytes(number), .. new byte[56]]);
}
