using XenFastPath.Dataplane;

namespace XenFastPath.Tests.Dataplane;

/// <summary>What a physical port sends is passed on as it is.</summary>
public sealed class CardPacketLoopTests() : PacketLoopTests(PortFlags.None);

/// <summary>What a guest sends may have an unfinished checksum, so each frame is looked at.</summary>
public sealed class GuestPacketLoopTests() : PacketLoopTests(PortFlags.Unfinished);

public abstract unsafe class PacketLoopTests(PortFlags flags) : IDisposable
{
    private const string A = "02:00:00:00:00:0a", B = "02:00:00:00:00:0b", C = "02:00:00:00:00:0c";

    private readonly LoopFixture _loop = new(flags: flags);

    public void Dispose() => _loop.Dispose();

    [Fact]
    public void A_frame_goes_to_the_port_of_its_destination_and_to_no_other()
    {
        SimulatedPort a = _loop.AddPort(), b = _loop.AddPort(), c = _loop.AddPort();
        _loop.Learn(B, b);
        byte[] frame = Frames.Ethernet(B, A, 0x0800, new byte[100]);
        Assert.True(a.Deliver(frame));
        Assert.True(_loop.Round() > 0);
        Assert.Equal([frame], b.TakeSent());
        Assert.Empty(a.TakeSent());
        Assert.Empty(c.TakeSent());
        Assert.Equal(1ul, a[PortCounter.RxFrames]);
        Assert.Equal(114ul, a[PortCounter.RxBytes]);
        Assert.Equal(1ul, b[PortCounter.TxFrames]);
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void A_frame_returns_to_the_stack_after_completion_and_not_before()
    {
        SimulatedPort a = _loop.AddPort(), b = _loop.AddPort();
        _loop.Learn(B, b);
        _loop.Round();
        uint free = _loop.FreeCount;
        a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[100]));
        _loop.Round();
        Assert.Equal(free - 1, _loop.FreeCount);
        b.TakeSent();
        _loop.Round();
        Assert.Equal(free - 1, _loop.FreeCount);
        b.Complete();
        _loop.Round();
        Assert.Equal(free, _loop.FreeCount);
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void Short_frames_are_padded_with_zeros_not_with_old_data()
    {
        SimulatedPort a = _loop.AddPort(), b = _loop.AddPort();
        _loop.Learn(B, b);
        new Span<byte>(_loop.Arena.Base + Limits.FrameBytes, (int)_loop.Arena.Bytes - Limits.FrameBytes).Fill(0xaa);
        a.Deliver(Frames.Ethernet(B, A, 0x0806));
        _loop.Round();
        byte[] sent = Assert.Single(b.TakeSent());
        Assert.Equal(Limits.FrameBytesMin, sent.Length);
        Assert.Equal(Frames.Ethernet(B, A, 0x0806, new byte[46]), sent);
        Assert.Equal(1ul, b[PortCounter.Padded]);
    }

    [Fact]
    public void What_cannot_be_sent_is_dropped_and_counted_where_it_came_from()
    {
        SimulatedPort a = _loop.AddPort(), b = _loop.AddPort(frameBytesMax: 200), stranger = _loop.AddPort(network: 8);
        _loop.Learn(A, a);
        _loop.Learn(B, b);
        _loop.Learn(C, stranger);                        // an entry of this Network that names a port of another
        _loop.Learn("02:00:00:00:00:0d", b, generation: 99);
        a.Deliver(Frames.Ethernet("02:00:00:00:00:ff", A, 0x0800, new byte[50]));
        a.Deliver(Frames.Ethernet(A, A, 0x0800, new byte[50]));
        a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[187]));
        a.Deliver(Frames.Ethernet(C, A, 0x0800, new byte[50]));
        a.Deliver(Frames.Ethernet("02:00:00:00:00:0d", A, 0x0800, new byte[50]));
        a.Deliver(new byte[13]);
        _loop.Round();
        Assert.Equal(1ul, a[PortCounter.DropUnknown]);
        Assert.Equal(1ul, a[PortCounter.DropSamePort]);
        Assert.Equal(1ul, a[PortCounter.DropOversize]);
        Assert.Equal(1ul, a[PortCounter.DropOtherNetwork]);
        Assert.Equal(1ul, a[PortCounter.DropOutputGone]);
        Assert.Equal(1ul, a[PortCounter.DropRunt]);
        Assert.All(_loop.Ports, p => Assert.Empty(p.TakeSent()));
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void Nothing_goes_between_isolated_ports_even_if_the_program_let_it_in()
    {
        SimulatedPort a = _loop.AddPort(flags: PortFlags.Isolated), b = _loop.AddPort(), c = _loop.AddPort(flags: PortFlags.Isolated);
        _loop.Learn(A, a);
        _loop.Learn(B, b);
        a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[50]));
        b.Deliver(Frames.Ethernet(A, B, 0x0800, new byte[50]));
        _loop.Round();
        Assert.Single(b.TakeSent());
        Assert.Single(a.TakeSent());
        a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[50]));         // redirected while B was still on an open port
        _loop.Learn(B, c);
        _loop.Round();
        Assert.Empty(c.TakeSent());
        Assert.Equal(1ul, a[PortCounter.DropIsolated]);
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void A_port_that_leaves_the_path_lets_frames_in_flight_through()
    {
        SimulatedPort a = _loop.AddPort(), b = _loop.AddPort();
        _loop.Learn(B, b);
        a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[50]));
        _loop.Entry(b.Id)->Word = PortEntry.Pack(LoopFixture.Generation, LoopFixture.Network, PortFlags.None);
        _loop.Round();
        Assert.Single(b.TakeSent());
    }

    [Fact]
    public void A_counter_row_has_room_for_every_counter() => Assert.True((int)PortCounter.Count <= CounterMemory.RowSlots);

    [Fact]
    public void A_frame_of_exactly_the_outputs_mtu_passes()
    {
        SimulatedPort a = _loop.AddPort(), b = _loop.AddPort(frameBytesMax: 1514);
        _loop.Learn(B, b);
        a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[1500]));
        a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[1501]));
        _loop.Round();
        Assert.Single(b.TakeSent());
        Assert.Equal(1ul, a[PortCounter.DropOversize]);
    }

    [Fact]
    public void Descriptors_that_no_kernel_should_give_are_dropped_and_harm_nothing()
    {
        SimulatedPort a = _loop.AddPort(), b = _loop.AddPort();
        _loop.Learn(B, b);
        ulong Chunk()
        {
            Assert.Equal(1u, a.Fill.Kernel.Peek(1));
            ulong address = a.Fill.Kernel.Address(0);
            a.Fill.Kernel.Release(1);
            return address;
        }

        a.Publish(Chunk() + 2000, 100, 0);              // across the chunk
        a.Publish(Chunk() + 256, 100, 1);               // first part of several
        a.Publish(Chunk() + 256, 0xffff_ffff, 0);
        a.Publish(_loop.Arena.Bytes + 256, 100, 0);     // outside the arena
        a.Publish(ulong.MaxValue - 10, 100, 0);
        a.Publish(Arena.TombstoneAddress, 100, 0);      // a frame that is nobody's
        _loop.Round();
        Assert.Equal(3ul, a[PortCounter.DropBadDescriptor]);
        Assert.Equal(3ul, a[PortCounter.LedgerViolation]);
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void A_frame_that_the_kernel_delivers_twice_is_sent_once()
    {
        SimulatedPort a = _loop.AddPort(), b = _loop.AddPort();
        _loop.Learn(B, b);
        ulong address = (a.Fill.Kernel.Address(0) & Arena.ChunkMask) + 256;
        Assert.True(a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[50])));
        a.Publish(address, 64, 0);
        _loop.Round();
        Assert.Single(b.TakeSent());
        Assert.Equal(1ul, a[PortCounter.LedgerViolation]);
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void An_output_holds_no_more_than_its_limit_also_while_that_falls()
    {
        SimulatedPort a = _loop.AddPort(), b = _loop.AddPort();
        _loop.Learn(B, b);
        foreach ((uint limit, int sent) in new[] { (5u, 5), (3u, 5), (8u, 8) })
        {
            b.Queue->TxLimit = limit;
            for (int i = 0; i < 20; i++)
                Assert.True(a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[50])));
            while (_loop.Round() > 0)
            {
            }

            Assert.Equal((ulong)sent, b[PortCounter.TxFrames]);
        }

        Assert.Equal(52ul, a[PortCounter.DropTxFull]);
        Assert.Equal(8, b.TakeSent().Count);
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void A_full_output_drops_and_slows_nobody()
    {
        SimulatedPort a = _loop.AddPort(fillFrames: 256), dead = _loop.AddPort(txFrames: 16), b = _loop.AddPort();
        _loop.Learn(B, b);
        _loop.Learn(C, dead);
        for (int i = 0; i < 100; i++)
        {
            Assert.True(a.Deliver(Frames.Ethernet(C, A, 0x0800, new byte[50])));
            Assert.True(a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[50])));
            while (_loop.Round() > 0)
            {
                b.TakeSent();
                b.Complete();
            }
        }

        Assert.Equal(100ul, b[PortCounter.TxFrames]);
        Assert.Equal(16ul, dead[PortCounter.TxFrames]);
        Assert.Equal(84ul, a[PortCounter.DropTxFull]);
        Assert.Equal(0ul, a[PortCounter.FillStarved]);
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void A_completion_that_the_kernel_invents_frees_nothing()
    {
        SimulatedPort a = _loop.AddPort(), b = _loop.AddPort();
        _loop.Learn(B, b);
        a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[50]));
        _loop.Round();
        b.TakeSent();
        b.CompleteBogus(5 * Limits.FrameBytes + 256);   // a frame in somebody's fill ring, or free
        b.CompleteBogus(_loop.Arena.Bytes + 4096);
        b.Complete();
        _loop.Round();
        Assert.Equal(0u, b.Queue->TxHeld);
        Assert.Equal(2ul, b[PortCounter.CompletionBogus]);
        Assert.True(_loop.Audit());
    }

    [Theory]
    [InlineData(QueueFlags.None)]
    [InlineData(QueueFlags.TxMetadata)]
    public void Unfinished_checksums_are_finished_by_kernel_or_loop(QueueFlags queueFlags)
    {
        SimulatedPort a = _loop.AddPort(flags: PortFlags.Unfinished), b = _loop.AddPort(queueFlags: queueFlags);
        _loop.Learn(B, b);
        foreach (byte[] frame in new[] { Frames.UnfinishedIpv4(B, A, 6, 100), Frames.UnfinishedIpv4(B, A, 17, 3), Frames.UnfinishedIpv6(B, A, 17, 1300) })
        {
            byte[] expected = (byte[])frame.Clone();
            fixed (byte* data = expected)
            {
                Assert.True(Checksum.IsUnfinished(data, (uint)expected.Length, out uint start, out uint field));
                Reference.FinishChecksum(expected, (int)start, (int)field);
            }

            a.Deliver(frame);
            _loop.Round();
            Assert.Equal(expected, Assert.Single(b.TakeSent())[..expected.Length]);
            b.Complete();
        }

        Assert.Equal(queueFlags == QueueFlags.None ? 3ul : 0ul, b[PortCounter.ChecksumBySoftware]);
        Assert.Equal(queueFlags == QueueFlags.None ? 0ul : 3ul, b[PortCounter.ChecksumByKernel]);
    }

    [Fact]
    public void Frames_from_a_port_with_whole_checksums_are_not_touched()
    {
        SimulatedPort a = _loop.AddPort(flags: PortFlags.None), b = _loop.AddPort();
        _loop.Learn(B, b);
        byte[] collides = Frames.UnfinishedIpv4(B, A, 6, 100);
        a.Deliver(collides);
        _loop.Round();
        Assert.Equal(collides, Assert.Single(b.TakeSent()));
    }

    [Fact]
    public void After_a_stall_what_waited_is_thrown_away_before_the_heartbeat()
    {
        SimulatedPort a = _loop.AddPort(), b = _loop.AddPort();
        _loop.Learn(B, b);
        for (int i = 0; i < 10; i++)
            a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[50]));
        _loop.Now += (ulong)Layout.StallNs + 1;
        Assert.Equal(0u, _loop.Round());
        Assert.Equal(_loop.Now, _loop.Heartbeat);
        Assert.Empty(b.TakeSent());
        Assert.Equal(10ul, a[PortCounter.DropStale]);
        Assert.Equal(1ul, _loop[LoopCounter.Stalls]);
        a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[50]));
        _loop.Round();
        Assert.Single(b.TakeSent());
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void After_a_stall_what_the_kernel_had_not_taken_is_revoked()
    {
        SimulatedPort a = _loop.AddPort(), b = _loop.AddPort();
        _loop.Learn(B, b);
        for (int i = 0; i < 10; i++)
            a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[50]));
        _loop.Round();
        Assert.Equal(4, b.TakeSent(4).Count);           // the kernel took four, six are left
        _loop.Now += (ulong)Layout.StallNs + 1;
        _loop.Round();
        Assert.Equal(6ul, b[PortCounter.TxRevoked]);
        List<byte[]> left = b.TakeSent();
        Assert.Equal(6, left.Count);
        Assert.All(left, f => Assert.Equal("0180C2000001", Convert.ToHexString(f[..6])));
        b.Complete();
        _loop.Round();
        Assert.Equal(*b.Completion.Producer, *b.Completion.Consumer);      // tombstones too leave the completion ring at once
        Assert.Equal(0u, b.Queue->Tombstones);
        a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[50]));
        _loop.Round();
        Assert.Equal(B, MacOf(Assert.Single(b.TakeSent())));
        Assert.Equal(0ul, b[PortCounter.CompletionBogus]);
        b.CompleteBogus(Arena.TombstoneAddress);                           // one more than there were
        _loop.Round();
        Assert.Equal(1ul, b[PortCounter.CompletionBogus]);
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void In_zero_copy_mode_what_is_published_stays_because_the_driver_reads_by_itself()
    {
        SimulatedPort a = _loop.AddPort(), b = _loop.AddPort(queueFlags: QueueFlags.ZeroCopy);
        _loop.Learn(B, b);
        a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[50]));
        _loop.Round();
        _loop.Now += (ulong)Layout.StallNs + 1;
        _loop.Round();
        a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[60]));
        _loop.Round();
        Assert.Equal(0ul, b[PortCounter.TxRevoked]);
        Assert.Equal([64, 74], b.TakeSent().Select(f => f.Length));
    }

    [Theory]
    [InlineData(QueueFlags.None)]
    [InlineData(QueueFlags.ZeroCopy)]
    public void What_a_stop_inside_a_round_kept_from_being_published_never_is(QueueFlags flags)
    {
        SimulatedPort a = _loop.AddPort(), b = _loop.AddPort(queueFlags: flags);
        _loop.Learn(B, b);
        a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[50]));
        _loop.Round();
        for (int i = 0; i < 5; i++)
            a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[60]));
        ulong beganNs = _loop.Now;
        _loop.Now += (ulong)Layout.StallNs + 1;
        _loop.Loop.Round(beganNs);
        // The driver may have read the first one while the thread was stopped; in copy mode nobody did, so it is too old as well.
        List<byte[]> sent = b.TakeSent();
        Assert.Equal(flags == QueueFlags.ZeroCopy ? B : "01:80:c2:00:00:01", MacOf(Assert.Single(sent)));
        Assert.Equal(flags == QueueFlags.ZeroCopy ? 5ul : 6ul, b[PortCounter.TxRevoked]);
        b.Complete();
        _loop.Round();
        Assert.Equal(0u, b.Queue->TxHeld);
        a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[50]));
        _loop.Round();
        Assert.Equal(B, MacOf(Assert.Single(b.TakeSent())));
        Assert.Equal(0ul, b[PortCounter.CompletionBogus]);
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void A_barrier_is_passed_when_what_waited_is_through()
    {
        SimulatedPort a = _loop.AddPort(fillFrames: 256, txFrames: 256), b = _loop.AddPort(txFrames: 256);
        _loop.Learn(B, b);
        for (int i = 0; i < Limits.BatchFrames * 2 + 1; i++)
            Assert.True(a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[50])));
        _loop.Loop.PostBarrier();
        _loop.Round();
        Assert.False(_loop.Loop.IsIdle);
        _loop.Round();
        Assert.False(_loop.Loop.IsIdle);
        a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[50]));
        _loop.Round();
        Assert.True(_loop.Loop.IsIdle);
        Assert.Equal(Limits.BatchFrames * 2 + 2, b.TakeSent().Count);
    }

    [Fact]
    public void A_port_that_leaves_gives_its_frames_back()
    {
        SimulatedPort a = _loop.AddPort(), b = _loop.AddPort();
        _loop.Learn(B, b);
        for (int i = 0; i < 10; i++)
            a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[50]));
        _loop.Round();
        b.TakeSent(4);                                  // some in flight, some not even taken
        _loop.Loop.PostDetach(b.Id);
        _loop.Round();
        Assert.True(_loop.Audit());
        a.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[50]));
        _loop.Round();
        Assert.Equal(1ul, a[PortCounter.DropOutputGone]);
        _loop.Loop.PostReclaim(b.Queue->Index);
        _loop.Round();
        Assert.Equal(64L + 10, _loop.Loop.Result);
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void Forwarding_allocates_nothing()
    {
        SimulatedPort a = _loop.AddPort(fillFrames: 256, txFrames: 256), b = _loop.AddPort(fillFrames: 256, txFrames: 256, queueFlags: QueueFlags.TxMetadata);
        _loop.Learn(B, b);
        byte[] frame = Frames.UnfinishedIpv4(B, A, 6, 1000), unknown = Frames.Ethernet(C, A, 0x0800, new byte[50]);
        Assert.True(Forward(1000) >= 0);                 // warm-up: whatever the runtime does once
        Assert.Equal(0, Forward(100_000));
        Assert.Equal(101_000ul, b[PortCounter.TxFrames]);

        long Forward(int count)
        {
            long allocated = 0;
            for (int i = 0; i < count; i++)
            {
                a.Deliver(frame);
                a.Deliver(unknown);
                long before = GC.GetAllocatedBytesForCurrentThread();
                _loop.Round();
                allocated += GC.GetAllocatedBytesForCurrentThread() - before;
                b.TakeSent();
                b.Complete();
            }

            return allocated;
        }
    }

    private static string MacOf(byte[] frame) => string.Join(':', frame[..6].Select(x => x.ToString("x2")));
}
