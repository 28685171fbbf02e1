// The lines the daemon writes: results, errors and event notifications.
using System.Buffers;
using System.Text.Json;

namespace XenFastPath.Api;

internal static class RpcResponse
{
    private static readonly JsonWriterOptions Options = new() { Encoder = Wire.Encoder, SkipValidation = true };

    /// <summary>What stands before a result; <c>}</c> and LF follow it.</summary>
    public static void WriteResultHead(IBufferWriter<byte> output, ReadOnlySpan<byte> id)
    {
        output.Write("{\"jsonrpc\":\"2.0\",\"id\":"u8);
        output.Write(id);
        output.Write(",\"result\":"u8);
    }

    /// <summary>A whole error line. Without an id (it could not be read, or nothing was asked) it is null.</summary>
    public static void WriteFault(IBufferWriter<byte> output, ReadOnlyMemory<byte>? id, RpcFault fault)
    {
        using (var json = new Utf8JsonWriter(output, Options))
        {
            json.WriteStartObject();
            json.WriteString("jsonrpc"u8, "2.0"u8);
            json.WritePropertyName("id"u8);
            json.WriteRawValue(id is { } bytes ? bytes.Span : "null"u8, skipInputValidation: true);
            json.WriteStartObject("error"u8);
            json.WriteNumber("code"u8, fault.Code);
            json.WriteString("message"u8, fault.Message);
            if (fault.Details is not null)
            {
                json.WritePropertyName("data"u8);
                JsonSerializer.Serialize(json, fault.Details, Wire.Strict.ErrorData);
            }
            json.WriteEndObject();
            json.WriteEndObject();
        }
        output.Write("\n"u8);
    }

    /// <summary>A whole notification line.</summary>
    public static void WriteEvent(IBufferWriter<byte> output, EventInfo change)
    {
        output.Write("{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":"u8);
        using (var json = new Utf8JsonWriter(output, Options))
        {
            JsonSerializer.Serialize(json, change, Wire.Strict.EventInfo);
        }
        output.Write("}\n"u8);
    }
}
