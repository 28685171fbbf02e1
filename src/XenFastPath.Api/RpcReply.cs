// The envelope of what the daemon sends, as the client reads it.
using System.Buffers;
using System.Text.Json;

namespace XenFastPath.Api;

internal enum RpcReplyKind
{
    Result,
    Error,
    Event,
}

/// <summary>One line from the daemon. <see cref="Payload"/> points into the line's memory.</summary>
internal readonly struct RpcReply
{
    public RpcReplyKind Kind { get; private init; }

    /// <summary>The JSON text of the result, or of the event.</summary>
    public ReadOnlySequence<byte> Payload { get; private init; }

    public ApiErrorException? Error { get; private init; }

    /// <summary>Reads an envelope.</summary>
    /// <exception cref="JsonException">The line is none.</exception>
    public static RpcReply Parse(ReadOnlySequence<byte> line)
    {
        var reader = new Utf8JsonReader(line);
        RpcReply? reply = null;
        if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
        {
            throw new JsonException("a response is a JSON object");
        }
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string name = reader.GetString()!;
            reader.Read();
            long start = reader.TokenStartIndex;
            reader.Skip();
            ReadOnlySequence<byte> value = line.Slice(start, reader.BytesConsumed - start);
            reply = name switch
            {
                "result" => new RpcReply { Kind = RpcReplyKind.Result, Payload = value },
                "params" => new RpcReply { Kind = RpcReplyKind.Event, Payload = value },
                "error" => new RpcReply { Kind = RpcReplyKind.Error, Error = ParseError(value) },
                _ => reply,
            };
        }
        return reply ?? throw new JsonException("a response has a result, an error or an event");
    }

    private static ApiErrorException ParseError(ReadOnlySequence<byte> json)
    {
        using JsonDocument error = JsonDocument.Parse(json);
        JsonElement root = error.RootElement;
        int code = root.GetProperty("code"u8).GetInt32();
        string message = root.GetProperty("message"u8).GetString()!;
        ErrorData? details = root.TryGetProperty("data"u8, out JsonElement data)
            ? data.Deserialize(Wire.Lenient.ErrorData)
            : null;
        return new ApiErrorException(code, details?.Object, details?.Reason ?? message);
    }
}
