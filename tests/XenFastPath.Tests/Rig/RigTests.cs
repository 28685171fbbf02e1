// The bench rig's frames, its command line, and how it reads /proc/stat.
using XenFastPath.Rig;
using XenFastPath.Rig.Bpf;
using XenFastPath.Rig.Lab;
using XenFastPath.Rig.Workloads;

namespace XenFastPath.Tests.Rig;

public sealed class RigTests
{
    /// <summary>A header with a right checksum sums up to all ones (RFC 1071).</summary>
    [Theory]
    [InlineData(60)]
    [InlineData(1514)]
    public void A_frame_has_whole_checksums(int bytes)
    {
        byte[] frame = Frames.Build(bytes, 1, 2);
        Assert.Equal(bytes, frame.Length);
        Assert.Equal(bytes - 14, frame[16] << 8 | frame[17]);
        Assert.Equal(0xffff, Sum(frame.AsSpan(14, 20)));
        Assert.Equal(0xffff, Sum(frame.AsSpan(34)));
        Assert.Equal([2, 2, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0], frame[..12]);
    }

    [Fact]
    public void Imix_has_seven_four_and_one()
    {
        Assert.Equal([(60, 7), (590, 4), (1514, 1)], FrameSizes.Imix.Bytes.CountBy(b => b).Select(p => (p.Key, p.Value)));
        Assert.True(FrameSizes.Imix.Bytes.Length <= 12, "the program's pattern holds 12");
    }

    [Fact]
    public void Cells_have_names_of_their_own()
    {
        string[] names = [.. Throughput.Cells(isQuick: false).Select(c => c.Name)];
        Assert.Equal(names.Length, names.Distinct().Count());
        Assert.Equal(Throughput.Cells(isQuick: true).Select(c => c.Name), names[..6]);
    }

    [Fact]
    public void Busy_and_idle_are_told_apart()
    {
        const string stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 100 10 200 5000 50 1 2 700 30 0\ncpu1 0 0 100 1 0 0 0 0 0 0\nintr 5 6\n";
        Assert.Equal([new CpuSeconds(3.13, 50.5), new CpuSeconds(1, 0.01)], Cpu.Parse(stat));
    }

    [Fact]
    public void Arguments_are_understood()
    {
        RigOptions? options = RigOptions.Parse(
            ["--quick", "--only", "tcp/VIF", "--arms", "bridge,auto", "--repetitions", "9", "--seconds", "0.5"], out string? problem);
        Assert.Null(problem);
        Assert.True(options!.IsQuick);
        Assert.Equal(("tcp/VIF", 9, 0.5), (options.Only, options.Repetitions, options.Seconds));
        Assert.Equal(["bridge", "auto"], options.Arms!);
    }

    [Theory]
    [InlineData("--repetitions", "0")]
    [InlineData("--seconds", "x")]
    [InlineData("--what", "1")]
    [InlineData("--only")]
    public void Others_are_refused(params string[] args)
    {
        Assert.Null(RigOptions.Parse(args, out string? problem));
        Assert.Contains(args[0], problem, StringComparison.Ordinal);
    }

    private static int Sum(ReadOnlySpan<byte> bytes)
    {
        int sum = 0;
        for (int i = 0; i < bytes.Length; i += 2)
            sum += bytes[i] << 8 | bytes[i + 1];
        sum = (sum & 0xffff) + (sum >> 16);
        return (sum & 0xffff) + (sum >> 16);
    }
}
