// Round trips of small UDP datagrams between two sockets, alone and beside load: what a request and its answer wait for.
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using XenFastPath.Rig.Arms;
using XenFastPath.Rig.Bpf;
using XenFastPath.Rig.Lab;
using XenFastPath.Rig.Results;

namespace XenFastPath.Rig.Workloads;

internal static class Latency
{
    public const string Workload = "latency";
    public const string P50 = "p50_us", P99 = "p99_us", P999 = "p999_us", Lost = "lost_per_thousand";

    private const int Port = 7777, PayloadBytes = 64, WarmUpRounds = 2000, AnswerWaitMsMax = 200;
    private const string Idle = "VIF<->PIF, idle", Loaded = "VIF<->PIF, 50 % load";

    /// <summary>What receives decides which way a frame may take: XDP frames reach a veth only where its other end takes them.</summary>
    public static void Run(Bench bench)
    {
        Run(bench, SinkKind.Xdp, "");
        Run(bench, SinkKind.Tc, ", skb");
    }

    private static void Run(Bench bench, SinkKind sinks, string suffix)
    {
        string idle = Idle + suffix, loaded = Loaded + suffix;
        (bool isIdleAsked, bool isLoadedAsked) = (bench.Wants(Workload, idle), bench.Wants(Workload, loaded));
        if (!isIdleAsked && !isLoadedAsked)
            return;
        double load = isLoadedAsked ? BridgeRate(bench, sinks, loaded) / 2 : 0;
        if (load > 0)
            Console.WriteLine($"    load: {load / 1e6:F3} Mpps of 64 bytes, VIF->PIF: half of what the kernel bridge forwards");
        bench.Each(Workload, Pair.VifPif, 1, sinks, setup =>
        {
            using Echo echo = new(setup.Site.B);
            if (isIdleAsked)
                Measure(setup, echo, idle);
            if (isLoadedAsked)
                Measure(setup, echo, loaded, load);
        });
    }

    /// <summary>Frames a second that the kernel bridge forwards now, in this run.</summary>
    private static double BridgeRate(Bench bench, SinkKind sinks, string cell)
    {
        using Setup setup = bench.SetUp(Workload, new BridgeArm(), Pair.VifPif, 1, sinks);
        using Generators generators = new(setup, Direction.Forth, FrameSizes.Of(64));
        using Traffic traffic = new(generators.All);
        traffic.During(0.3);
        double rate = setup.Measure(generators.All, traffic, 1).Received;
        setup.Record(cell, Throughput.Offered, rate / 2);
        return rate;
    }

    private static void Measure(Setup setup, Echo echo, string cell, double load)
    {
        using Generators generators = new(setup, Direction.Forth, FrameSizes.Of(64));
        generators.All[0].SetRate(load);
        using Traffic traffic = new(generators.All, isPolite: true);
        traffic.During(0.3);
        long received = setup.Received();
        long start = Stopwatch.GetTimestamp();
        Measure(setup, echo, cell);
        setup.Record(cell, Throughput.Rate, (setup.Received() - received) / Stopwatch.GetElapsedTime(start).TotalSeconds);
    }

    private static void Measure(Setup setup, Echo echo, string cell)
    {
        (double[] sorted, int lost) = setup.Site.A.Netns.Inside(() => RoundTrips(echo, setup.Effort.Seconds * 2));
        if (sorted.Length == 0)
            throw new RigException($"{cell}: no answer comes back");
        setup.Record(cell, P50, Statistics.PerMille(sorted, 500));
        setup.Record(cell, P99, Statistics.PerMille(sorted, 990));
        setup.Record(cell, P999, Statistics.PerMille(sorted, 999));
        setup.Record(cell, Lost, lost * 1000.0 / (lost + sorted.Length));
        Console.WriteLine($"    {cell,-28} {setup.Arm.Name,-9} p50 {Statistics.PerMille(sorted, 500),7:F1} µs, p99 {Statistics.PerMille(sorted, 990),7:F1}, "
            + $"p99.9 {Statistics.PerMille(sorted, 999),7:F1}, {sorted.Length} answers, {lost} lost");
    }

    /// <summary>Times in microseconds, ascending, and how many questions had no answer. In the namespace of the calling thread.</summary>
    private static (double[] Sorted, int Lost) RoundTrips(Echo echo, double seconds)
    {
        using Socket socket = new(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp) { ReceiveTimeout = AnswerWaitMsMax };
        socket.Connect(new IPEndPoint(IPAddress.Parse(echo.Station.Ip), Port));
        List<double> times = new(1 << 20);
        Span<byte> question = stackalloc byte[PayloadBytes], answer = stackalloc byte[PayloadBytes];
        int lost = 0;
        long begin = 0;
        for (int number = 0; number < WarmUpRounds || Stopwatch.GetElapsedTime(begin).TotalSeconds < seconds; number++)
        {
            if (number == WarmUpRounds || begin == 0)
                begin = Stopwatch.GetTimestamp();
            BitConverter.TryWriteBytes(question, number);
            long sent = Stopwatch.GetTimestamp();
            bool isAnswered = Ask(socket, question, answer);
            double elapsed = Stopwatch.GetElapsedTime(sent).TotalMicroseconds;
            if (number >= WarmUpRounds && isAnswered)
                times.Add(elapsed);
            else if (number >= WarmUpRounds)
                lost++;
            else if (!isAnswered && Stopwatch.GetElapsedTime(begin).TotalSeconds > seconds)
                break;
        }

        times.Sort();
        return ([.. times], lost);
    }

    private static bool Ask(Socket socket, ReadOnlySpan<byte> question, Span<byte> answer)
    {
        try
        {
            socket.Send(question);
            // An answer that comes after its time belongs to an earlier question.
            do
            {
                socket.Receive(answer);
            }
            while (!answer[..4].SequenceEqual(question[..4]));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    /// <summary>Sends back what comes.</summary>
    private sealed class Echo : IDisposable
    {
        private readonly Socket _socket;
        private readonly Thread _thread;
        private volatile bool _stop;

        public Echo(Station station)
        {
            Station = station;
            _socket = station.Netns.Inside(() =>
            {
                Socket socket = new(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp) { ReceiveTimeout = AnswerWaitMsMax };
                socket.Bind(new IPEndPoint(IPAddress.Any, Port));
                return socket;
            });
            _thread = station.Netns.Start(Serve, _ => { });
        }

        public Station Station { get; }

        public void Dispose()
        {
            _stop = true;
            _thread.Join();
            _socket.Dispose();
        }

        private void Serve()
        {
            Span<byte> buffer = stackalloc byte[PayloadBytes];
            SocketAddress address = new(AddressFamily.InterNetwork);
            while (!_stop)
            {
                try
                {
                    int length = _socket.ReceiveFrom(buffer, SocketFlags.None, address);
                    _socket.SendTo(buffer[..length], SocketFlags.None, address);
                }
                catch (SocketException)
                {
                    // Nothing came within the time.
                }
            }
        }
    }
}
