// Workers in threads of their own, at once: what the tests with one thread cannot show.
using System.Collections.Concurrent;
using XenFastPath.Dataplane;

namespace XenFastPath.Tests.Dataplane;

public sealed unsafe class WorkerThreadTests
{
    private const int Seconds = 2;

    /// <summary>Caches that take from and put into one depot, in bursts that cross block borders: each frame has one owner at any time.</summary>
    [Fact]
    public void A_free_frame_is_given_to_one_worker_only()
    {
        const int threads = 4, frames = 1000;
        using Arena arena = new(frames * (long)Limits.FrameBytes);
        int* owners = stackalloc int[frames];
        nint shared = (nint)owners;
        ConcurrentBag<string> faults = [];
        long cached = 0;
        Run(threads, (number, isOver) =>
        {
            FrameCache cache = new(arena);
            Random random = new(number);
            Stack<uint> mine = new();
            while (!isOver())
            {
                uint wanted = (uint)random.Next(200), taken = 1;
                for (; wanted > 0 && taken > 0; wanted -= taken)
                {
                    taken = cache.Take(wanted, FrameOwner.Fill, (ushort)number, out uint* some);
                    for (uint i = 0; i < taken; i++)
                        Hold(mine, some[i], number);
                }

                for (int i = random.Next(200); i > 0 && mine.TryPop(out uint frame); i--)
                    Return(cache, frame);
                ReturnBatch(cache, mine, random.Next(Limits.BatchFrames + 1));
            }

            while (mine.TryPop(out uint frame))
                Return(cache, frame);
            Interlocked.Add(ref cached, cache.Count);
        });
        Assert.Empty(faults);
        Assert.Equal(frames - 1u, arena.Depot.Count + cached);

        void Hold(Stack<uint> mine, uint frame, int number)
        {
            if (Interlocked.Exchange(ref ((int*)shared)[frame], number + 1) != 0 || frame is 0 or >= frames)
                faults.Add($"frame {frame} was given away twice");
            mine.Push(frame);
        }

        void Return(FrameCache cache, uint frame)
        {
            Volatile.Write(ref ((int*)shared)[frame], 0);
            cache.Return(frame);
        }

        void ReturnBatch(FrameCache cache, Stack<uint> mine, int count)
        {
            uint* batch = cache.Room();
            uint held = 0;
            for (; held < count && mine.TryPop(out uint frame); held++)
            {
                Volatile.Write(ref ((int*)shared)[frame], 0);
                arena.Give(frame, FrameOwner.Free, 0);
                batch[held] = frame;
            }

            cache.TakeRoom(held);
        }
    }

    /// <summary>Each port's flows to all others arrive in order and whole, or are counted, whichever worker serves which.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    public void Frames_between_ports_of_different_workers_keep_their_order_and_none_is_lost(int workers)
    {
        const int ports = 6;
        using LoopFixture loop = new(frames: 8192, workers: workers);
        for (int i = 0; i < ports; i++)
            loop.Learn(Mac(i), loop.AddPort(fillFrames: 128, txFrames: 128, worker: (ushort)(i % workers)));
        ulong nowNs = loop.Now;
        int[,] sent = new int[ports, ports], seen = new int[ports, ports];
        long delivered = 0, received = 0;
        Random random = new(workers);
        Run(workers, (number, isOver) =>
        {
            loop.Now = nowNs;
            while (!isOver())
                loop.Loops[number].Round(nowNs);
        }, meanwhile: () =>
        {
            int from = random.Next(ports), to = (from + random.Next(1, ports)) % ports;
            for (int i = random.Next(40); i > 0; i--)
            {
                byte[] frame = Frames.Ethernet(Mac(to), Mac(from), 0x88b5, [.. BitConverter.GetBytes(sent[from, to] + 1), .. new byte[random.Next(100)]]);
                if (!loop.Ports[from].Deliver(frame))
                    break;
                sent[from, to]++;
                delivered++;
            }

            Take(loop.Ports[random.Next(ports)]);
            if (random.Next(2000) == 0)
                Assert.True(AuditAtOnce(loop), "the ledger does not balance");
        });
        for (int i = 0; i < 100; i++)
        {
            loop.Round();
            loop.Ports.ForEach(Take);
        }

        Assert.True(loop.Audit());
        long dropped = loop.Ports.Sum(p => (long)(p[PortCounter.DropTxFull] + p[PortCounter.DropWorkerBusy]));
        Assert.Equal(delivered, received + dropped);
        Assert.True(received > 10_000, $"only {received} frames came through: the test tests nothing");
        Assert.All(loop.Ports, p => Assert.Equal(0ul, p[PortCounter.LedgerViolation] + p[PortCounter.CompletionBogus] + p[PortCounter.FillStarved]));

        void Take(SimulatedPort port)
        {
            foreach (byte[] frame in port.TakeSent())
            {
                int from = frame[11], to = frame[5], number = BitConverter.ToInt32(frame, 14);
                Assert.Equal(port.Id - 1, to);
                Assert.True(number > seen[from, to] && number <= sent[from, to], "duplicated, reordered or invented");
                seen[from, to] = number;
                received++;
            }

            port.Complete();
        }
    }

    private static string Mac(int port) => $"02:00:00:00:00:{port:x2}";

    /// <summary>As the manager does it, while the workers run.</summary>
    private static bool AuditAtOnce(LoopFixture loop)
    {
        foreach (PacketLoop other in loop.Loops.Skip(1))
            Do(other, () => other.PostPause());
        Do(loop.Loop, loop.Loop.PostAudit);
        bool isGood = loop.Loop.Result == 0;
        foreach (PacketLoop other in loop.Loops.Skip(1))
            Do(other, () => other.PostResume());
        return isGood;

        static void Do(PacketLoop worker, Action post)
        {
            post();
            Assert.True(SpinWait.SpinUntil(() => worker.IsIdle, TimeSpan.FromSeconds(20)), "a worker does not answer");
        }
    }

    /// <summary>Runs threads for a while; <paramref name="meanwhile"/> again and again on this one.</summary>
    private static void Run(int threads, Action<int, Func<bool>> thread, Action? meanwhile = null)
    {
        bool isOver = false;
        ConcurrentBag<Exception> faults = [];
        Thread[] all = [.. Enumerable.Range(0, threads).Select(n => new Thread(() =>
        {
            try
            {
                thread(n, () => Volatile.Read(ref isOver));
            }
            catch (Exception e) when (e is Xunit.Sdk.XunitException or InvalidOperationException)
            {
                faults.Add(e);
            }
        }))];
        foreach (Thread one in all)
            one.Start();
        try
        {
            long end = Environment.TickCount64 + Seconds * 1000;
            while (Environment.TickCount64 < end)
            {
                if (meanwhile is null)
                    Thread.Sleep(1);
                else
                    meanwhile();
            }
        }
        finally
        {
            Volatile.Write(ref isOver, true);
            foreach (Thread one in all)
                one.Join();
        }

        Assert.Empty(faults);
    }
}
