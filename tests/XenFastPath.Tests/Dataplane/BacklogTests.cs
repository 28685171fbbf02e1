using XenFastPath.Dataplane;

namespace XenFastPath.Tests.Dataplane;

/// <summary>Outputs that the kernel drains slowly, or not at all: what waits too long is taken back, and only that.</summary>
public sealed unsafe class BacklogTests : IDisposable
{
    private const string A = "02:00:00:00:00:0a", B = "02:00:00:00:00:0b";
    private const ulong MillisecondNs = 1_000_000;
    private const int KickFrames = 32;

    private readonly LoopFixture _loop = new();

    public void Dispose() => _loop.Dispose();

    [Theory]
    [InlineData(0u)]
    [InlineData(0xffff_ff00u)]      // the mark runs through 2^32 as the indices do
    public void A_busy_output_that_is_never_empty_loses_nothing(uint startIndex)
    {
        SimulatedPort a = _loop.AddPort(fillFrames: 128), b = _loop.AddPort(txFrames: 192, startIndex: startIndex);
        _loop.Learn(B, b);
        int received = 0;
        for (int round = 0; round < 1500; round++, _loop.Now += MillisecondNs)
        {
            Deliver(a, 64);
            _loop.Round();
            Assert.NotEqual(0ul, b.Queue->BacklogSinceNs);
            received += b.TakeSent(KickFrames).Count;
            b.Complete();
        }

        Assert.Equal(1500 * KickFrames, received);
        Assert.Equal(0ul, b[PortCounter.TxRevoked]);
        Assert.True(_loop.Audit());
    }

    [Fact]
    public void An_output_that_takes_nothing_is_revoked_after_the_stall_time()
    {
        SimulatedPort a = _loop.AddPort(), b = _loop.AddPort();
        _loop.Learn(B, b);
        Deliver(a, 10);
        _loop.Round();
        ulong sinceNs = _loop.Now;
        while (_loop.Now - sinceNs < (ulong)Layout.StallNs)
        {
            _loop.Now += MillisecondNs;
            _loop.Round();
            Assert.Equal(0ul, b[PortCounter.TxRevoked]);
        }

        _loop.Now += MillisecondNs;
        _loop.Round();
        Assert.Equal(10ul, b[PortCounter.TxRevoked]);
        Assert.Equal(0u, b.Queue->TxHeld);
        Assert.True(_loop.Audit());
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Wherever_the_thread_stops_nothing_that_waited_is_sent_after_it(int seed)
    {
        SimulatedPort a = _loop.AddPort(fillFrames: 128), b = _loop.AddPort(txFrames: 192);
        _loop.Learn(B, b);
        Random random = new(seed);
        for (int stop = 0; stop < 200; stop++)
        {
            for (int round = random.Next(100); round >= 0; round--, _loop.Now += MillisecondNs)
            {
                Deliver(a, random.Next(64));
                _loop.Round();
                b.TakeSent(random.Next(64));
                b.Complete();
            }

            Deliver(a, random.Next(64));
            ulong beganNs = _loop.Now;
            _loop.Now += (ulong)Layout.StallNs + 1;
            _loop.Loop.Round(random.Next(2) == 0 ? beganNs : _loop.Now);      // in the middle of a round, or between two
            Assert.All(b.TakeSent(), f => Assert.Equal("0180C2000001", Convert.ToHexString(f[..6])));
            b.Complete();
        }

        Assert.True(b[PortCounter.TxRevoked] > 1000);
        Assert.True(_loop.Audit());
    }

    /// <summary>Sent, completed, received into and put into the same ring again: the entry that the kernel will read is the later one.</summary>
    [Fact]
    public void A_frame_that_stands_twice_behind_a_lagging_index_is_never_sent_after_it_was_taken_back()
    {
        const int dead = 4;
        SimulatedPort a = _loop.AddPort(fillFrames: 8), b = _loop.AddPort(txFrames: 64);
        _loop.Learn(B, b);
        Deliver(a, dead);
        _loop.Round();
        b.CompleteUnreleased(dead);
        for (int round = 0; round < 4; round++)
        {
            Deliver(a, 8);
            _loop.Round();
            _loop.Round();      // a batch ends where the ring does
        }

        _loop.Now += (ulong)Layout.StallNs + 1;
        _loop.Round();
        List<byte[]> entries = b.TakeSent();
        Assert.Equal(dead + 32, entries.Count);
        Assert.All(entries.Skip(dead), f => Assert.Equal("0180C2000001", Convert.ToHexString(f[..6])));
        Assert.Equal(32u, b.Queue->Tombstones);
        Assert.True(_loop.Audit());
    }

    private static void Deliver(SimulatedPort port, int frames)
    {
        for (int i = 0; i < frames; i++)
            Assert.True(port.Deliver(Frames.Ethernet(B, A, 0x0800, new byte[50])));
    }
}
