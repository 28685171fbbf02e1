// The envelope of a request: {"jsonrpc":"2.0","id":..,"method":"..","params":{..}}; what is in params is the method's.
using System.Text.Json;
using System.Text.Unicode;

namespace XenFastPath.Api;

/// <summary>One request line. It points into the line's memory.</summary>
internal readonly struct RpcRequest
{
    private static readonly byte[] NoParams = [.. "{}"u8];

    /// <summary>The id as the client wrote it, byte for byte; null for a notification.</summary>
    public ReadOnlyMemory<byte>? Id { get; private init; }

    public string Method { get; private init; }

    /// <summary>The JSON text of params.</summary>
    public ReadOnlyMemory<byte> Params { get; private init; }

    /// <summary>What is wrong with the envelope; then only <see cref="Id"/> is meant, if it could be read.</summary>
    public RpcFault? Fault { get; private init; }

    /// <summary>Reads an envelope; never throws, whatever the bytes are.</summary>
    public static RpcRequest Parse(ReadOnlyMemory<byte> line)
    {
        if (!Utf8.IsValid(line.Span))
        {
            return Faulty(ApiErrorCode.ParseError, "the line is not valid UTF-8");
        }
        try
        {
            return ParseObject(line);
        }
        catch (JsonException e)
        {
            string problem = $"the line is not JSON: {ParamsFault.WithoutPosition(e)} (byte {e.BytePositionInLine})";
            return Faulty(ApiErrorCode.ParseError, problem);
        }
        catch (InvalidOperationException)
        {
            // An escape such as \ud800 that stands for no character; the reader notices when the text is asked for.
            return Faulty(ApiErrorCode.ParseError, "the line is not JSON: invalid \\u escape");
        }
    }

    private static RpcRequest ParseObject(ReadOnlyMemory<byte> line)
    {
        var reader = new Utf8JsonReader(line.Span);
        reader.Read();
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            bool batch = reader.TokenType == JsonTokenType.StartArray;
            ReadToEnd(ref reader);
            return Faulty(ApiErrorCode.InvalidRequest, batch
                ? "batches are not supported; send one request object per line"
                : "a request is a JSON object");
        }

        ReadOnlyMemory<byte>? id = null;
        ReadOnlyMemory<byte> parameters = NoParams;
        string? method = null, problem = null;
        bool versioned = false;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string name = reader.GetString()!;
            reader.Read();
            JsonTokenType type = reader.TokenType;
            string? text = type == JsonTokenType.String ? reader.GetString() : null;
            int start = (int)reader.TokenStartIndex;
            reader.Skip();
            ReadOnlyMemory<byte> value = line[start..(int)reader.BytesConsumed];
            switch (name)
            {
                case "jsonrpc":
                    versioned = text == "2.0";
                    break;
                case "method" when text is not null:
                    method = text;
                    break;
                case "id" when type is JsonTokenType.Number or JsonTokenType.String or JsonTokenType.Null:
                    id = value;
                    break;
                case "params":
                    parameters = type == JsonTokenType.Null ? NoParams : value;
                    break;
                default:
                    problem ??= Problem(name);
                    break;
            }
        }
        ReadToEnd(ref reader);
        problem ??= !versioned ? "\"jsonrpc\" must be \"2.0\"" : method is null ? "\"method\" is missing" : null;
        return problem is null
            ? new RpcRequest { Id = id, Method = method!, Params = parameters }
            : Faulty(ApiErrorCode.InvalidRequest, problem, id);
    }

    private static string Problem(string member) => member switch
    {
        "method" => "\"method\" must be a string",
        "id" => "\"id\" must be a number, a string or null",
        _ => $"unknown member \"{member}\"; a request has jsonrpc, id, method and params",
    };

    // Syntax errors come first: text after a fault in the envelope, or after the object, makes the line no JSON at all.
    private static void ReadToEnd(ref Utf8JsonReader reader)
    {
        while (reader.Read())
        {
        }
    }

    private static RpcRequest Faulty(int code, string message, ReadOnlyMemory<byte>? id = null) =>
        new() { Id = id, Method = "", Fault = new RpcFault(code, message) };
}
