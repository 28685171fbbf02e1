// The two measurements that bench/peers/run.sh holds against DPDK: plain loops over random keys, nanoseconds a key or frame, one line
// for each round.
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using XenFastPath.Dataplane;
using XenFastPath.Interop;

namespace XenFastPath.Bench;

internal static unsafe class PeerLoops
{
    private const int Keys = 1 << 20, Batch = Limits.BatchFrames;

    public static void Run(string what, int count, int rounds)
    {
        Func<double> round = what == "mac-table" ? MacTableBulk(count) : LoopOverMemory(count);
        for (int i = 0; i < rounds; i++)
            Console.WriteLine(round().ToString("f2", CultureInfo.InvariantCulture));
    }

    /// <summary>Random hits in a table of so many entries, in batches, as the packet loop looks up.</summary>
    private static Func<double> MacTableBulk(int entries)
    {
        MacTableWriter writer = new(entries);
        for (int i = 1; i <= entries; i++)
        {
            if (!writer.TrySet(FdbKey.Make(1, Mac(i)), FdbWord.Make((uint)i, 1)))
                throw new InvalidOperationException($"no room for entry {i}");
        }

        MacTable table = writer.Reader;
        Random random = new(1);
        ulong* keys = (ulong*)NativeMemory.Alloc(Keys, sizeof(ulong));
        for (int i = 0; i < Keys; i++)
            keys[i] = FdbKey.Make(1, Mac(random.Next(1, entries + 1)));
        return () =>
        {
            ulong* words = stackalloc ulong[Batch];
            ulong sum = 0;
            long start = Stopwatch.GetTimestamp();
            for (int at = 0; at < Keys; at += Batch)
            {
                table.LookupBatch(keys + at, words, Batch);
                for (int i = 0; i < Batch; i++)
                {
                    if (words[i] is 0 or MacTable.BusyWord)
                        throw new InvalidOperationException("a key is missing");
                    sum += words[i];
                }
            }

            double ns = Stopwatch.GetElapsedTime(start).TotalNanoseconds / Keys;
            return sum == 0 ? throw new InvalidOperationException("nothing was found") : ns;
        };
    }

    /// <summary>
    /// Two ports that send each other whatever comes in, 64-byte frames to so many MACs on either side. The "kernel" writes the
    /// addresses of each frame; net_null of DPDK, our counterpart, writes nothing.
    /// </summary>
    private static Func<double> LoopOverMemory(int macs)
    {
        const uint size = Limits.VifFillFrames, generation = 1;
        const int roundsPerMeasure = Keys / (2 * Batch);
        Arena arena = new(4 * size * Limits.FrameBytes);
        PortEntry* ports = (PortEntry*)NativeMemory.AllocZeroed(Layout.PortsMax, (nuint)sizeof(PortEntry));
        ulong* counters = (ulong*)NativeMemory.AllocZeroed(64, sizeof(ulong));
        PacketLoop loop = new(arena, ports, counters + 40, counters, &Now);
        MacTableWriter table = new(2 * macs);
        MemoryPort[] sides = [new(1, 0, size), new(2, 1, size)];
        loop.PostSetTable(SharedMemory.OpenReadOnly(Tmds.Linux.LibC.dup(table.Fd), table.Bytes, "macs").Address);
        loop.Round(1);
        for (ushort id = 1; id <= 2; id++)
        {
            MemoryPort side = sides[id - 1];
            ports[id] = new PortEntry { Word = PortEntry.Pack(generation, 1, PortFlags.Ingress | PortFlags.Egress), FrameBytesMax = 1514 };
            loop.PostAttach(id, new OutputPort { Queues = side.Queue, Counters = side.Queue->Counters, Generation = generation, QueueCount = 1 });
            loop.Round(1);
            for (int i = 0; i < macs; i++)
                table.TrySet(FdbKey.Make(1, Mac(i * 2 + id)), FdbWord.Make(generation, id));
        }

        uint random = 1;
        return () =>
        {
            long start = Stopwatch.GetTimestamp();
            ulong sent = 0;
            for (int round = 0; round < roundsPerMeasure; round++)
            {
                Receive(ref sides[0], 2);
                Receive(ref sides[1], 1);
                loop.Round(1);
                sent += Send(ref sides[0]) + Send(ref sides[1]);
            }

            double ns = Stopwatch.GetElapsedTime(start).TotalNanoseconds / (roundsPerMeasure * 2 * Batch);
            return sent == roundsPerMeasure * 2 * Batch ? ns : throw new InvalidOperationException($"{sent} frames of {roundsPerMeasure * 2 * Batch}");
        };

        void Receive(ref MemoryPort side, int to)
        {
            uint count = side.KernelFill.Peek(Batch, out ulong* free);
            count = side.KernelRx.Reserve(count, out xdp_desc* received);
            uint seed = random;
            for (uint i = 0; i < count; i++)
            {
                ulong address = free[i] + IfXdp.XDP_PACKET_HEADROOM;
                // Numbers by arithmetic (the linear generator of "Numerical Recipes"): reading them would cost what DPDK's side need not pay.
                seed = seed * 1664525 + 1013904223;
                *(ulong*)(arena.Base + address) = Mac((int)((ulong)seed * (uint)macs >> 32) * 2 + to);
                received[i] = new xdp_desc { addr = address, len = 64 };
            }

            random = seed;
            side.KernelFill.Release(count);
            side.KernelRx.PutReserved(count);
            side.KernelRx.Submit();
        }

        static ulong Send(ref MemoryPort side)
        {
            uint count = side.KernelTx.Peek(side.KernelTx.Size, out xdp_desc* sent);
            side.KernelCompletion.Reserve(count);
            for (uint i = 0; i < count; i++)
                side.KernelCompletion.PutAddress(sent[i].addr);
            side.KernelTx.Release(count);
            side.KernelCompletion.Submit();
            return count;
        }
    }

    /// <summary>The i-th station: 6 bytes in memory order, never a group.</summary>
    private static ulong Mac(int i) => (ulong)i << 8;

    private static ulong Now() => 1;
}
