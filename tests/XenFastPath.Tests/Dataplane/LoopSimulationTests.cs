// Many ports, random traffic, a kernel that is slow, lossy and late at random: what comes out is compared with an obvious model.
using XenFastPath.Dataplane;

namespace XenFastPath.Tests.Dataplane;

public sealed class LoopSimulationTests
{
    // Hosts 0 to 5 have a port each; those from 6 on live behind a trunk, each in a VLAN of its own. Even and odd hosts have their own Network.
    private const int PortCount = 6, HostCount = 8, Steps = 20_000;

    private const ushort FirstTag = 100;

    [Theory]
    [InlineData(1, 0u, 1)]
    [InlineData(2, 0xffff_ff00u, 1)]
    [InlineData(3, 0xffff_ff00u, 1)]
    [InlineData(4, 0x7fff_ff00u, 1)]
    [InlineData(5, 0xffff_ff00u, 2)]
    [InlineData(6, 0x7fff_ff00u, 2)]
    [InlineData(7, 0u, 3)]
    public void Every_frame_comes_out_once_in_order_or_is_counted(int seed, uint startIndex, int workers)
    {
        Random random = new(seed);
        using LoopFixture loop = new(frames: 2048, workers: workers);
        List<string> macs = [];
        for (int i = 0; i < PortCount; i++)
        {
            // Two Networks, with cards and guests in both; the last port of each never takes what it is sent.
            SimulatedPort port = loop.AddPort((ushort)(1 + i % 2), i < 2 ? PortFlags.None : PortFlags.Unfinished,
                startIndex: startIndex, fillFrames: 48, txFrames: 24, worker: (ushort)(i / 2 % workers));
            macs.Add($"02:00:00:00:00:{i:x2}");
            loop.Learn(macs[i], port, network: (ushort)(1 + i % 2));
        }

        SimulatedPort trunk = loop.AddPort(network: 3, startIndex: startIndex, fillFrames: 48, txFrames: 24);
        for (int i = PortCount; i < HostCount; i++)
        {
            macs.Add($"02:00:00:00:00:{i:x2}");
            loop.Learn(macs[i], loop.AddVlan(trunk, (ushort)(FirstTag + i), (ushort)(1 + i % 2)), (ushort)(1 + i % 2));
        }

        Dictionary<(int From, int To), (int Sent, int Seen)> flows = [];
        long delivered = 0, received = 0;
        for (int step = 0; step < Steps; step++)
        {
            int from = random.Next(HostCount), to = random.Next(HostCount);
            if (random.Next(3) > 0)
            {
                flows.TryGetValue((from, to), out (int Sent, int Seen) flow);
                byte[] frame = Frames.Ethernet(macs[to], macs[from], 0x88b5, [.. BitConverter.GetBytes(flow.Sent + 1), .. new byte[random.Next(100)]]);
                bool isInVlan = from >= PortCount;
                if ((isInVlan ? trunk : loop.Ports[from]).Deliver(isInVlan ? VlanTests.Tag(frame, random.Next(8) << 13 | (FirstTag + from)) : frame))
                {
                    delivered++;
                    flows[(from, to)] = flow with { Sent = flow.Sent + 1 };
                }
            }

            byte[] stray = VlanTests.Tag(Frames.Ethernet(macs[to], macs[from], 0x88b5, new byte[50]), FirstTag + random.Next(PortCount));
            if (random.Next(50) == 0 && trunk.Deliver(stray))
                delivered++;
            if (random.Next(2) == 0)
                loop.Loops[random.Next(workers)].Round(loop.Now);
            SimulatedPort sink = random.Next(5) == 0 ? trunk : loop.Ports[random.Next(PortCount - 2)];
            if (random.Next(2) == 0)
                received += Check(sink.TakeSent(random.Next(8)), sink, flows);
            if (random.Next(2) == 0)
                sink.Complete(random.Next(8));
            if (step % 500 == 0)
                Assert.True(loop.Audit(), $"the ledger does not balance at step {step}");
        }

        for (int i = 0; i < 10; i++)
        {
            loop.Round();
            foreach (SimulatedPort port in loop.Ports.Take(PortCount - 2).Append(trunk))
            {
                received += Check(port.TakeSent(), port, flows);
                port.Complete();
            }
        }

        Assert.True(loop.Audit());
        long dropped = Sum(loop, PortCounter.DropUnknown, PortCounter.DropSamePort, PortCounter.DropTxFull, PortCounter.DropNoVlan, PortCounter.DropWorkerBusy);
        long held = loop.Ports.Take(PortCount).TakeLast(2).Sum(p => (long)p[PortCounter.TxFrames]);
        Assert.Equal(delivered, received + dropped + held);
        Assert.Equal(0, Sum(loop, PortCounter.LedgerViolation, PortCounter.CompletionBogus, PortCounter.FillStarved, PortCounter.DropOtherNetwork,
            PortCounter.DropBadDescriptor, PortCounter.DropTableBusy, PortCounter.DropStale, PortCounter.TxRevoked));
        Assert.True(received > Steps / 20, $"only {received} frames came through: the test tests nothing");
    }

    private static long Sum(LoopFixture loop, params PortCounter[] counters) =>
        loop.Ports.Sum(p => counters.Sum(c => (long)p[c])) + loop.Vlans.Sum(v => counters.Sum(c => (long)v[c]));

    private static int Check(List<byte[]> frames, SimulatedPort port, Dictionary<(int From, int To), (int Sent, int Seen)> flows)
    {
        foreach (byte[] sent in frames)
        {
            bool isTagged = port.Id > PortCount;
            int to = isTagged ? sent[15] - FirstTag : port.Id - 1;
            byte[] frame = isTagged ? [.. sent[..12], .. sent[16..]] : sent;
            Assert.Equal(isTagged, to >= PortCount);
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
