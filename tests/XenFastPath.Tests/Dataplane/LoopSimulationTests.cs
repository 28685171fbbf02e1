// Many ports, random traffic, a kernel that is slow, lossy and late at random: what comes out is compared with an obvious model.
using XenFastPath.Dataplane;

namespace XenFastPath.Tests.Dataplane;

public sealed class LoopSimulationTests
{
    private const int PortCount = 6, Steps = 20_000;

    [Theory]
    [InlineData(1, 0u)]
    [InlineData(2, 0xffff_ff00u)]
    [InlineData(3, 0xffff_ff00u)]
    [InlineData(4, 0x7fff_ff00u)]
    public void Every_frame_comes_out_once_in_order_or_is_counted(int seed, uint startIndex)
    {
        Random random = new(seed);
        using LoopFixture loop = new(frames: 2048);
        List<string> macs = [];
        for (int i = 0; i < PortCount; i++)
        {
            // Two Networks; the last port of each never takes what it is sent.
            SimulatedPort port = loop.AddPort(network: (ushort)(1 + i % 2), startIndex: startIndex, fillFrames: 48, txFrames: 24);
            macs.Add($"02:00:00:00:00:{i:x2}");
            loop.Learn(macs[i], port, network: (ushort)(1 + i % 2));
        }

        Dictionary<(int From, int To), (int Sent, int Seen)> flows = [];
        long delivered = 0, received = 0;
        for (int step = 0; step < Steps; step++)
        {
            int from = random.Next(PortCount), to = random.Next(PortCount);
            if (random.Next(3) > 0)
            {
                flows.TryGetValue((from, to), out (int Sent, int Seen) flow);
                byte[] frame = Frames.Ethernet(macs[to], macs[from], 0x88b5, [.. BitConverter.GetBytes(flow.Sent + 1), .. new byte[random.Next(100)]]);
                if (loop.Ports[from].Deliver(frame))
                {
                    delivered++;
                    flows[(from, to)] = flow with { Sent = flow.Sent + 1 };
                }
            }

            if (random.Next(2) == 0)
                loop.Round();
            SimulatedPort sink = loop.Ports[random.Next(PortCount - 2)];
            if (random.Next(2) == 0)
                received += Check(sink.TakeSent(random.Next(8)), sink.Id - 1, flows);
            if (random.Next(2) == 0)
                sink.Complete(random.Next(8));
            if (step % 500 == 0)
                Assert.True(loop.Audit(), $"the ledger does not balance at step {step}");
        }

        for (int i = 0; i < 10; i++)
        {
            loop.Round();
            for (int p = 0; p < PortCount - 2; p++)
            {
                received += Check(loop.Ports[p].TakeSent(), p, flows);
                loop.Ports[p].Complete();
            }
        }

        Assert.True(loop.Audit());
        long dropped = Sum(loop, PortCounter.DropUnknown, PortCounter.DropSamePort, PortCounter.DropTxFull);
        long held = loop.Ports.Skip(PortCount - 2).Sum(p => (long)p[PortCounter.TxFrames]);
        Assert.Equal(delivered, received + dropped + held);
        Assert.Equal(0, Sum(loop, PortCounter.LedgerViolation, PortCounter.CompletionBogus, PortCounter.FillStarved, PortCounter.DropOtherNetwork,
            PortCounter.DropBadDescriptor, PortCounter.DropTableBusy, PortCounter.DropStale, PortCounter.TxRevoked));
        Assert.True(received > Steps / 20, $"only {received} frames came through: the test tests nothing");
    }

    private static long Sum(LoopFixture loop, params PortCounter[] counters) =>
        loop.Ports.Sum(p => counters.Sum(c => (long)p[c]));

    private static int Check(List<byte[]> frames, int to, Dictionary<(int From, int To), (int Sent, int Seen)> flows)
    {
        foreach (byte[] frame in frames)
        {
            Assert.Equal(to, frame[5]);
            int from = frame[11];
            Assert.Equal(to % 2, from % 2);             // never into another Network
            int number = BitConverter.ToInt32(frame, 14);
            (int Sent, int Seen) flow = flows[(from, to)];
            Assert.True(number > flow.Seen && number <= flow.Sent, "duplicated, reordered or invented");
            flows[(from, to)] = flow with { Seen = number };
        }

        return frames.Count;
    }
}
