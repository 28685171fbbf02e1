// A 1 kHz ping that really is one: iputils' ping slows down when replies do not come.
using System.Buffers.Binary;
using System.Diagnostics;

namespace XenFastPath.KernelTests.Lab;

/// <summary>
/// Sends one ICMP echo request each millisecond from a guest's raw socket; the other guest's kernel answers. What is not answered
/// within a second of the end is lost. A slower machine (<see cref="Lab.Scale"/>) sends one each so many milliseconds; the numbers
/// are then of milliseconds.
/// </summary>
internal sealed class Prober : IDisposable
{
    private const int LengthMax = 60_000;

    private readonly PacketSocket _socket;
    private readonly byte[] _request;
    private readonly bool[] _answered = new bool[LengthMax];
    private readonly Thread _sender;
    private readonly Thread _receiver;
    private readonly int _count;
    private readonly Steal _steal = new();
    private int _sent;
    private bool _stop;

    public Prober(Guest from, Guest to, int count)
    {
        _count = count / Lab.Scale;
        _socket = from.Netns.Inside(() => new PacketSocket(from.Device));
        _request = ComparisonTests.Ipv4(to.Mac, from.Mac, 1, [8, 0, 0, 0, 0x5a, 0x5a, 0, 0, .. new byte[32]]);
        System.Net.IPAddress.Parse(from.Ip).TryWriteBytes(_request.AsSpan(26), out _);
        System.Net.IPAddress.Parse(to.Ip).TryWriteBytes(_request.AsSpan(30), out _);
        Checksum(_request.AsSpan(14, 20), 10);
        _sender = new Thread(Send) { Priority = ThreadPriority.Highest };
        _receiver = new Thread(Receive);
        _receiver.Start();
        _sender.Start();
    }

    public int Sent => _sent * Lab.Scale;

    /// <summary>Waits for the end; the number of requests without an answer, and the longest run of them.</summary>
    public (int Lost, int LongestMs) Finish()
    {
        _sender.Join();
        Tool.Eventually(() => _answered.AsSpan(0, _count).IndexOf(false) < 0 || _quiet.ElapsedMilliseconds > 1000, "the last answers");
        Volatile.Write(ref _stop, true);
        _receiver.Join();
        int lost = 0, run = 0, longest = 0;
        for (int i = 0; i < _count; i++)
        {
            run = _answered[i] ? 0 : run + 1;
            lost += _answered[i] ? 0 : 1;
            longest = Math.Max(longest, run);
        }

        StolenMs = _steal.Ms;
        return (lost * Lab.Scale, longest * Lab.Scale);
    }

    /// <summary>What the host took while this ran, known after <see cref="Finish"/>; see <see cref="Steal"/>.</summary>
    public int StolenMs { get; private set; }

    /// <summary><see cref="Finish"/>, and at most so many requests may have had no answer, besides what the host took.</summary>
    public void FinishWith(int lostMax)
    {
        (int lost, int longestMs) = Finish();
        Assert.True(lost <= lostMax + StolenMs,
            $"{lost} replies lost, {longestMs} ms at a stretch; {lostMax} may be, and {StolenMs} that the host stole");
    }

    private readonly Stopwatch _quiet = Stopwatch.StartNew();

    public void Dispose()
    {
        Volatile.Write(ref _stop, true);
        _receiver.Join();
        _sender.Join();
        _socket.Dispose();
    }

    private void Send()
    {
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < _count && !Volatile.Read(ref _stop); i++)
        {
            BinaryPrimitives.WriteUInt16BigEndian(_request.AsSpan(40), (ushort)i);
            Checksum(_request.AsSpan(34), 2);
            _socket.TrySend(_request);
            Volatile.Write(ref _sent, i + 1);
            long dueNs = (i + 1) * 1_000_000L * Lab.Scale - (Stopwatch.GetTimestamp() - start);
            if (dueNs > 0)
                Tmds.Linux.LibC.usleep((uint)(dueNs / 1000));
        }
    }

    private void Receive()
    {
        while (!Volatile.Read(ref _stop))
        {
            if (_socket.Receive(50) is not { Length: >= 42 } reply || reply[12] != 8 || reply[13] != 0 || reply[23] != 1 || reply[34] != 0 || reply[38] != 0x5a)
                continue;
            _answered[BinaryPrimitives.ReadUInt16BigEndian(reply.AsSpan(40))] = true;
            _quiet.Restart();
        }
    }

    private static void Checksum(Span<byte> data, int field)
    {
        BinaryPrimitives.WriteUInt16BigEndian(data[field..], 0);
        uint sum = 0;
        for (int i = 0; i < data.Length; i += 2)
            sum += (uint)(data[i] << 8 | (i + 1 < data.Length ? data[i + 1] : 0));
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        BinaryPrimitives.WriteUInt16BigEndian(data[field..], (ushort)~sum);
    }
}
