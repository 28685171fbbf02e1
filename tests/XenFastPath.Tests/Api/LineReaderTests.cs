using System.IO.Pipelines;
using System.Text;
using XenFastPath.Api;

namespace XenFastPath.Tests.Api;

public sealed class LineReaderTests
{
    [Fact]
    public async Task Lines_are_the_same_wherever_the_stream_is_cut()
    {
        byte[] stream = "{\"a\":1}\n{\"b\":\"é\"}\r\n\n[]\n"u8.ToArray();
        string[] expected = ["{\"a\":1}", "{\"b\":\"é\"}\r", "", "[]"];
        for (int first = 0; first <= stream.Length; first++)
        {
            for (int second = first; second <= stream.Length; second++)
            {
                Assert.Equal(expected, await CutAsync(stream, first, second));
            }
        }
    }

    [Fact]
    public async Task Byte_by_byte()
    {
        var pipe = new Pipe();
        var reader = new LineReader(pipe.Reader, 100);
        foreach (byte b in "ab\ncd\n"u8.ToArray())
        {
            await pipe.Writer.WriteAsync(new[] { b });
        }
        await pipe.Writer.CompleteAsync();
        Assert.Equal(["ab", "cd"], await ReadAllAsync(reader));
    }

    [Theory]
    [InlineData(10, true)]
    [InlineData(11, false)]
    public async Task The_limit_counts_the_line_without_its_end(int length, bool fits)
    {
        foreach (bool ended in (bool[])[true, false])
        {
            var pipe = new Pipe();
            await pipe.Writer.WriteAsync(Encoding.UTF8.GetBytes(new string('x', length) + (ended ? "\n" : "")));
            await pipe.Writer.CompleteAsync();
            Task<List<string>> reading = ReadAllAsync(new LineReader(pipe.Reader, 10));
            if (fits)
            {
                Assert.Equal(ended ? 1 : 0, (await reading).Count);
            }
            else
            {
                await Assert.ThrowsAsync<LineTooLongException>(() => reading);
            }
        }
    }

    [Fact]
    public async Task A_line_that_does_not_end_is_dropped()
    {
        var pipe = new Pipe();
        await pipe.Writer.WriteAsync("whole\n{\"jsonrpc\":\"2.0\"}"u8.ToArray());
        await pipe.Writer.CompleteAsync();
        Assert.Equal(["whole"], await ReadAllAsync(new LineReader(pipe.Reader, 100)));
    }

    private static async Task<List<string>> CutAsync(byte[] stream, int first, int second)
    {
        var pipe = new Pipe();
        Task<List<string>> reading = ReadAllAsync(new LineReader(pipe.Reader, 100));
        await pipe.Writer.WriteAsync(stream.AsMemory(..first));
        await pipe.Writer.WriteAsync(stream.AsMemory(first..second));
        await pipe.Writer.WriteAsync(stream.AsMemory(second..));
        await pipe.Writer.CompleteAsync();
        return await reading;
    }

    private static async Task<List<string>> ReadAllAsync(LineReader reader)
    {
        var lines = new List<string>();
        while (await reader.ReadAsync(default) is { } line)
        {
            lines.Add(Encoding.UTF8.GetString(line));
            reader.Release();
        }
        return lines;
    }
}
