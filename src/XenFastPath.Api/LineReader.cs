// The framing of the API: one frame per line, ended by LF. A CR before it is JSON white space and needs no care.
using System.Buffers;
using System.IO.Pipelines;

namespace XenFastPath.Api;

/// <summary>The peer sent a line longer than the limit: where the next one begins is not known, so close.</summary>
internal sealed class LineTooLongException(int limitBytes) : Exception($"line longer than {limitBytes} bytes");

/// <summary>Cuts a byte stream into lines without ever buffering more than the limit plus one read.</summary>
internal sealed class LineReader(PipeReader input, int limitBytes)
{
    private SequencePosition _next;

    /// <summary>
    /// The next line without its LF, valid until <see cref="Release"/>; null when the stream has ended. What follows
    /// the last LF is dropped: half a request must not be acted on.
    /// </summary>
    public async ValueTask<ReadOnlySequence<byte>?> ReadAsync(CancellationToken cancellationToken)
    {
        long scanned = 0;
        while (true)
        {
            ReadResult read = await input.ReadAsync(cancellationToken).ConfigureAwait(false);
            ReadOnlySequence<byte> buffer = read.Buffer;
            if (buffer.Slice(scanned).PositionOf((byte)'\n') is { } end)
            {
                ReadOnlySequence<byte> line = buffer.Slice(0, end);
                _next = buffer.GetPosition(1, end);
                return line.Length <= limitBytes ? line : throw new LineTooLongException(limitBytes);
            }
            if (buffer.Length > limitBytes)
            {
                throw new LineTooLongException(limitBytes);
            }
            if (read.IsCompleted)
            {
                return null;
            }
            scanned = buffer.Length;
            input.AdvanceTo(buffer.Start, buffer.End);
        }
    }

    /// <summary>Gives the memory of the line last read back.</summary>
    public void Release() => input.AdvanceTo(_next);
}
