// Frames as fast as the port takes them, or at a rate: BPF_PROG_RUN with live frames (Documentation/bpf/bpf_prog_run.rst). The frames
// leave by the station's device as if it had sent them, and arrive at dom0's end without an skb.
using System.Collections.Concurrent;
using System.Diagnostics;
using XenFastPath.Interop;
using XenFastPath.Rig.Lab;

namespace XenFastPath.Rig.Bpf;

/// <summary>What a generator sends.</summary>
/// <param name="From">Who sends.</param>
/// <param name="To">Whose addresses are the destinations.</param>
/// <param name="Sizes">How long the frames are.</param>
/// <param name="Sources">How many addresses the sender has.</param>
/// <param name="Destinations">How many the receiver has.</param>
/// <param name="Base">At which address a range of more than one begins.</param>
/// <param name="Limit">Sends no more frames than that; 0: no limit.</param>
internal sealed record Flow(Station From, Station To, FrameSizes Sizes, int Sources = 1, int Destinations = 1, int Base = 0, int Limit = 0);

/// <summary>One stream, sent by a thread of the caller that lives in the sender's namespace.</summary>
internal sealed unsafe class Generator : IDisposable
{
    /// <summary>A prime that no number of addresses used here shares: each address has its turn, neighbours do not follow each other.</summary>
    private const uint Stride = 7919;
    private const int BatchFrames = 64;

    private readonly RigBpf _bpf = new();
    private readonly byte[] _frame;
    private readonly int _program;
    private RigConfig _config;

    public Generator(Flow flow)
    {
        Flow = flow;
        _frame = Frames.Build(flow.Sizes.BytesMax, flow.From.Number, flow.To.Number);
        _program = _bpf.Program("rig_generate");
        _config = new RigConfig
        {
            OutIfindex = (uint)flow.From.Ifindex,
            Sources = (uint)flow.Sources,
            Destinations = (uint)flow.Destinations,
            Stride = Stride,
            Sizes = (uint)flow.Sizes.Bytes.Length,
            Base = (uint)flow.Base,
            Limit = (ulong)flow.Limit,
        };
        for (int i = 0; i < flow.Sizes.Bytes.Length; i++)
        {
            RigSize size = Frames.Size(flow.Sizes.Bytes[i], flow.From.Number, flow.To.Number);
            _config.Size[i] = *(ulong*)&size;
        }

        SetRate(0);
    }

    public Flow Flow { get; }

    /// <summary>Frames given to the device so far; some it may have dropped.</summary>
    public long Sent => (long)_bpf.Get<RigState>("state").Sent;

    /// <summary>Frames a second; 0: as many as go. What a pause has cost is made up for by at most a batch.</summary>
    public void SetRate(double framesPerSecond)
    {
        _config.IntervalNs = framesPerSecond > 0 ? Math.Max(1, (ulong)(1e9 / framesPerSecond)) : 0;
        _config.BurstNs = _config.IntervalNs * BatchFrames;
        _bpf.Set("config", _config);
    }

    /// <summary>Runs the program on so many frames, from a thread in the sender's namespace; those that are too early do not leave.</summary>
    public void Run(int frames)
    {
        // Safety: the frame is pinned for the call, which copies it.
        fixed (byte* data = _frame)
        {
            bpf_test_run_opts options = new()
            {
                sz = (nuint)sizeof(bpf_test_run_opts), data_in = data, data_size_in = (uint)_frame.Length,
                repeat = frames, flags = LibBpf.BPF_F_TEST_XDP_LIVE_FRAMES, batch_size = BatchFrames,
            };
            int error = -LibBpf.bpf_prog_test_run_opts(_program, &options);
            if (error is not 0 and not Errno.EINTR)
                throw new SystemCallException("run the generator", error);
        }
    }

    public void Dispose() => _bpf.Dispose();
}

/// <summary>Streams that are being sent, in turns, by one thread each time it has the CPU.</summary>
internal sealed class Traffic : IDisposable
{
    // As long as it goes: the kernel waits for some 30 ms at the end of each run.
    private const int FramesPerTurn = int.MaxValue;
    private const int InterruptAgainMs = 20;

    private readonly Generator[] _generators;
    private readonly Thread[] _threads;
    private readonly ConcurrentBag<Interruptible> _running = [];
    private volatile bool _stop;
    private volatile Exception? _failure;

    /// <param name="generators">One for each direction; they share CPU 0.</param>
    /// <param name="isPolite">Give way to everybody else who wants the CPU: for load beside something that is measured.</param>
    public Traffic(Generator[] generators, bool isPolite = false)
    {
        _generators = generators;
        _threads = [.. generators.Select(g => g.Flow.From.Netns.Start(() => Send(g, isPolite), e => _failure = e))];
    }

    /// <summary>Lets it run for a while.</summary>
    /// <exception cref="RigException">A generator has stopped.</exception>
    public void During(double seconds)
    {
        Stopwatch watch = Stopwatch.StartNew();
        while (watch.Elapsed.TotalSeconds < seconds)
        {
            Thread.Sleep(TimeSpan.FromSeconds(Math.Clamp(seconds - watch.Elapsed.TotalSeconds, 0.001, 0.1)));
            if (_failure is { } failure)
                throw new RigException("the generator failed: " + failure.Message);
        }
    }

    public void Dispose()
    {
        _stop = true;
        Interrupt();
        foreach (Thread thread in _threads)
        {
            while (!thread.Join(InterruptAgainMs))
                Interrupt();
        }
        foreach (Generator generator in _generators)
            generator.SetRate(0);
    }

    private void Interrupt()
    {
        foreach (Interruptible thread in _running)
            thread.Interrupt();
    }

    private void Send(Generator generator, bool isPolite)
    {
        Cpu.Pin(Cpu.Generator);
        if (isPolite)
            Cpu.BeIdle();
        _running.Add(new Interruptible());
        while (!_stop)
            generator.Run(FramesPerTurn);
    }
}
