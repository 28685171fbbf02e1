using System.Runtime.InteropServices;
using BenchmarkDotNet.Attributes;
using XenFastPath.Dataplane;

namespace XenFastPath.Bench;

/// <summary>The forwarder's MAC look-up, by table size; each operation is one key.</summary>
[MemoryDiagnoser]
public unsafe class MacTableBench
{
    private const int Batch = 1024;

    private MacTableWriter _writer = null!;
    private MacTable _table;
    private ulong[] _hits = [];
    private ulong[] _misses = [];

    [Params(1, 1_000, 100_000, 1_000_000)]
    public int Entries { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _writer = new MacTableWriter(Math.Max(Entries, 64));
        for (int i = 1; i <= Entries; i++)
            _writer.TrySet(FdbKey.Make(1, (ulong)i << 8), FdbWord.Make(1, (ushort)(i % 8000 + 1)));
        _table = _writer.Reader;
        Random random = new(1);
        _hits = [.. Enumerable.Range(0, Batch).Select(_ => FdbKey.Make(1, (ulong)random.Next(1, Entries + 1) << 8))];
        _misses = [.. _hits.Select(k => k | 1)];
    }

    [Benchmark(OperationsPerInvoke = Batch, Baseline = true)]
    public ulong Hit() => Sum(_hits);

    [Benchmark(OperationsPerInvoke = Batch)]
    public ulong Miss() => Sum(_misses);

    /// <summary>As the loop does it: all hashes and prefetches of a batch first.</summary>
    [Benchmark(OperationsPerInvoke = Batch)]
    public ulong HitBulk()
    {
        ulong sum = 0;
        ulong* words = stackalloc ulong[Limits.BatchFrames];
        fixed (ulong* keys = _hits)
        {
            for (int start = 0; start < Batch; start += Limits.BatchFrames)
            {
                _table.LookupBatch(keys + start, words, Limits.BatchFrames);
                for (int i = 0; i < Limits.BatchFrames; i++)
                    sum += words[i];
            }
        }

        return sum;
    }

    [Benchmark(OperationsPerInvoke = Batch)]
    public int RemoveAndSet()
    {
        foreach (ulong key in _hits)
        {
            _writer.Remove(key);
            _writer.TrySet(key, 1);
        }

        return _writer.Count;
    }

    private ulong Sum(ulong[] keys)
    {
        ulong sum = 0;
        foreach (ulong key in keys)
            sum += _table.Lookup(key);
        return sum;
    }
}

/// <summary>Checksum completion of one frame, and the ring operations around it.</summary>
[MemoryDiagnoser]
public unsafe class FrameBench
{
    private byte* _frame;
    private uint* _indices;
    private ulong* _entries;
    private Ring _producer;
    private Ring _consumer;

    [Params(64, 1514)]
    public int FrameBytes { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _frame = (byte*)NativeMemory.AllocZeroed(2048);
        ReadOnlySpan<byte> header = [0x45, 0, (byte)((FrameBytes - 14) >> 8), (byte)(FrameBytes - 14), 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        _frame[12] = 8;
        header.CopyTo(new Span<byte>(_frame + 14, 20));
        _indices = (uint*)NativeMemory.AlignedAlloc(256, 64);
        new Span<uint>(_indices, 64).Clear();
        _entries = (ulong*)NativeMemory.AllocZeroed(1024, sizeof(ulong));
        _producer.Attach(_indices, _indices + 16, _indices + 32, _entries, 1024);
        _consumer.Attach(_indices, _indices + 16, _indices + 32, _entries, 1024);
    }

    [Benchmark]
    public bool RecogniseUnfinished() => Checksum.IsUnfinished(_frame, (uint)FrameBytes, out _, out _);

    [Benchmark]
    public void FinishInSoftware() => Checksum.Finish(_frame, (uint)FrameBytes, 34, 16);

    [Benchmark(OperationsPerInvoke = 64)]
    public uint RingThroughput()
    {
        uint room = _producer.Reserve(64);
        for (uint i = 0; i < room; i++)
            _producer.PutAddress(i);
        _producer.Submit();
        uint ready = _consumer.Peek(64);
        ulong sum = 0;
        for (uint i = 0; i < ready; i++)
            sum += _consumer.Address(i);
        _consumer.Release(ready);
        return (uint)sum;
    }
}
