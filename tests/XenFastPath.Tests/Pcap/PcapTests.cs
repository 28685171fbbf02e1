// Frames in, frames out: what the packet loop makes of captures whose outcome scapy has computed (make_pcaps.py).
using System.Runtime.CompilerServices;
using XenFastPath.Dataplane;
using XenFastPath.Tests.Dataplane;

namespace XenFastPath.Tests.Pcap;

public sealed unsafe class PcapTests
{
    private const ushort OtherNetwork = LoopFixture.Network + 1;
    private const int PortCount = 5;

    public static TheoryData<string, bool> Cases()
    {
        TheoryData<string, bool> cases = [];
        foreach (string path in Directory.GetFiles(Folder(), "*.counters").Order())
        {
            cases.Add(Path.GetFileNameWithoutExtension(path), false);
            cases.Add(Path.GetFileNameWithoutExtension(path), true);
        }

        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void What_comes_out_is_what_scapy_says(string name, bool kernelFinishesChecksums)
    {
        using LoopFixture loop = SetUp(kernelFinishesChecksums ? QueueFlags.TxMetadata : QueueFlags.None);
        Dictionary<int, List<byte[]>> sent = Run(loop, Inputs(name), oneByOne: true);
        for (int port = 1; port <= PortCount; port++)
            AssertFrames(name, port, Expected(name, port), sent[port]);
        AssertCounters(name, loop, kernelFinishesChecksums);
        Assert.True(loop.Audit());
    }

    /// <summary>The same in batches: what a frame becomes depends on no other, and frames of one input keep their order.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void Batches_change_nothing(string name, bool kernelFinishesChecksums)
    {
        using LoopFixture loop = SetUp(kernelFinishesChecksums ? QueueFlags.TxMetadata : QueueFlags.None);
        List<(int Port, PcapFrame Frame)> inputs = Inputs(name);
        int firstPort = inputs.Min(i => i.Port);
        Dictionary<int, List<byte[]>> sent = Run(loop, inputs, oneByOne: false);
        for (int port = 1; port <= PortCount; port++)
        {
            List<byte[]> expected = Expected(name, port);
            if (inputs.TrueForAll(i => i.Port == firstPort))
                AssertFrames(name, port, expected, sent[port]);
            else
                Assert.Equal(expected.Select(Convert.ToHexString).Order(), sent[port].Select(Convert.ToHexString).Order());
        }

        AssertCounters(name, loop, kernelFinishesChecksums);
        Assert.True(loop.Audit());
    }

    [Fact]
    public void Every_capture_belongs_to_a_case()
    {
        HashSet<string> cases = [.. Directory.GetFiles(Folder(), "*.counters").Select(p => Path.GetFileNameWithoutExtension(p)!)];
        Assert.True(cases.Count >= 9, $"only {cases.Count} cases in {Folder()}");
        Assert.All(Directory.GetFiles(Folder(), "*.pcap"), path => Assert.Contains(Path.GetFileName(path).Split('.')[0], cases));
    }

    private static string Folder([CallerFilePath] string caller = "") => Path.Combine(Path.GetDirectoryName(caller)!, "frames");

    /// <summary>The ports and addresses that make_pcaps.py describes.</summary>
    private static LoopFixture SetUp(QueueFlags queueFlags)
    {
        LoopFixture loop = new();
        loop.AddPort(queueFlags: queueFlags);
        loop.AddPort(queueFlags: queueFlags);
        loop.AddPort(queueFlags: queueFlags, flags: PortFlags.None);
        loop.AddPort(queueFlags: queueFlags, frameBytesMax: 414);
        loop.AddPort(queueFlags: queueFlags, network: OtherNetwork);
        for (int n = 1; n <= 4; n++)
            loop.Learn($"02:00:00:00:00:{0x0a + n:x2}", loop.Ports[n - 1]);
        loop.Learn("02:00:00:00:00:0f", loop.Ports[4], OtherNetwork);
        loop.Learn("02:00:00:00:00:f1", loop.Ports[4]);
        loop.Learn("02:00:00:00:00:f2", loop.Ports[1], generation: LoopFixture.Generation - 1);
        // Every frame of the arena but the tombstone holds somebody's old data.
        new Span<byte>(loop.Arena.Base + Limits.FrameBytes, (int)loop.Arena.Bytes - Limits.FrameBytes).Fill(0xaa);
        return loop;
    }

    private static List<(int Port, PcapFrame Frame)> Inputs(string name)
    {
        List<(int Port, PcapFrame Frame)> inputs = [];
        for (int port = 1; port <= PortCount; port++)
            inputs.AddRange(ReadIfThere(name, "in", port).Select(f => (port, f)));
        Assert.NotEmpty(inputs);
        return [.. inputs.OrderBy(i => i.Frame.Second)];
    }

    private static List<byte[]> Expected(string name, int port) => [.. ReadIfThere(name, "out", port).Select(f => f.Bytes)];

    private static List<PcapFrame> ReadIfThere(string name, string direction, int port)
    {
        string path = Path.Combine(Folder(), $"{name}.{direction}{port}.pcap");
        return File.Exists(path) ? PcapFile.Read(path) : [];
    }

    private static Dictionary<int, List<byte[]>> Run(LoopFixture loop, List<(int Port, PcapFrame Frame)> inputs, bool oneByOne)
    {
        Dictionary<int, List<byte[]>> sent = loop.Ports.ToDictionary(p => (int)p.Id, _ => new List<byte[]>());
        foreach ((int port, PcapFrame frame) in inputs)
        {
            Assert.True(loop.Ports[port - 1].Deliver(frame.Bytes), "more frames than a fill ring holds: make the case smaller");
            if (oneByOne)
                Drain(loop, sent);
        }

        Drain(loop, sent);
        return sent;
    }

    private static void Drain(LoopFixture loop, Dictionary<int, List<byte[]>> sent)
    {
        loop.Round();
        foreach (SimulatedPort port in loop.Ports)
        {
            sent[port.Id].AddRange(port.TakeSent());
            port.Complete();
        }
    }

    private static void AssertFrames(string name, int port, List<byte[]> expected, List<byte[]> actual)
    {
        for (int i = 0; i < Math.Min(expected.Count, actual.Count); i++)
        {
            Assert.True(expected[i].AsSpan().SequenceEqual(actual[i]),
                $"{name}.out{port}, frame {i + 1}:\nexpected {Convert.ToHexString(expected[i])}\nactual   {Convert.ToHexString(actual[i])}");
        }

        Assert.Equal(expected.Count, actual.Count);
    }

    /// <summary>All counters of all ports: what is not named must be 0.</summary>
    private static void AssertCounters(string name, LoopFixture loop, bool kernelFinishesChecksums)
    {
        IEnumerable<string> expected = File.ReadAllLines(Path.Combine(Folder(), name + ".counters"));
        if (kernelFinishesChecksums)
            expected = expected.Select(l => l.Replace(nameof(PortCounter.ChecksumBySoftware), nameof(PortCounter.ChecksumByKernel), StringComparison.Ordinal));
        List<string> actual = [];
        foreach (SimulatedPort port in loop.Ports)
        {
            foreach (PortCounter counter in Enum.GetValues<PortCounter>().Where(c => c != PortCounter.Count && port[c] != 0))
                actual.Add($"{port.Id} {counter} {port[counter]}");
        }

        Assert.Equal(expected.Order(StringComparer.Ordinal), actual.Order(StringComparer.Ordinal));
    }
}
