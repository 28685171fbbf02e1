// Turns the serializer's complaint about params into a sentence that names the parameter in the API's words.
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace XenFastPath.Api;

internal static class ParamsFault
{
    /// <summary>What is wrong with <paramref name="json"/>, which is no <paramref name="type"/>.</summary>
    public static RpcFault Explain(JsonException exception, JsonTypeInfo type, ReadOnlySpan<byte> json)
    {
        try
        {
            string problem = Find(type, json) ?? $"params: {WithoutPosition(exception)}";
            return new RpcFault(ApiErrorCode.InvalidParams, problem);
        }
        catch (InvalidOperationException)
        {
            return new RpcFault(ApiErrorCode.InvalidParams, "params: invalid \\u escape");  // as in RpcRequest.Parse
        }
    }

    /// <summary>The message without its " Path: $ | LineNumber: 0 | BytePositionInLine: 7." tail.</summary>
    public static string WithoutPosition(JsonException exception)
    {
        string message = exception.Message;
        int tail = message.IndexOf(" Path: ", StringComparison.Ordinal);
        tail = tail < 0 ? message.IndexOf(" LineNumber: ", StringComparison.Ordinal) : tail;
        return (tail < 0 ? message : message[..tail]).TrimEnd('.');
    }

    private static string? Find(JsonTypeInfo type, ReadOnlySpan<byte> json)
    {
        var missing = type.Properties.Where(p => p.IsRequired).Select(p => p.Name).ToList();
        string? wrong = null;
        var reader = new Utf8JsonReader(json);
        reader.Read();
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            return "params must be an object with named parameters";
        }
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string name = reader.GetString()!;
            JsonPropertyInfo? property =
                type.Properties.FirstOrDefault(p => string.Equals(p.Name, name, StringComparison.OrdinalIgnoreCase));
            if (property is null)
            {
                return $"unknown parameter \"{name}\"; {Known(type)}";
            }
            missing.Remove(property.Name);
            reader.Read();
            if (!Fits(property, ref reader))
            {
                wrong ??= $"parameter \"{property.Name}\" must be {Wanted(property.PropertyType)}";
            }
            reader.Skip();
        }
        return missing.Count > 0 ? $"missing parameter \"{missing[0]}\"" : wrong;
    }

    private static string Known(JsonTypeInfo type) => type.Properties.Count == 0
        ? "the method takes none"
        : $"the method takes {string.Join(", ", type.Properties.Select(p => p.Name))}";

    private static bool Fits(JsonPropertyInfo property, ref Utf8JsonReader reader) => reader.TokenType switch
    {
        JsonTokenType.Null => property.IsSetNullable,
        JsonTokenType.String when reader.GetString() is { } text =>
            property.PropertyType == typeof(string) || (IsInteger(property.PropertyType) && int.TryParse(text, out _)),
        JsonTokenType.Number => IsInteger(property.PropertyType) && reader.TryGetInt32(out _),
        JsonTokenType.True or JsonTokenType.False => property.PropertyType == typeof(bool),
        _ => false,
    };

    private static bool IsInteger(Type type) => type == typeof(int) || type == typeof(int?);

    private static string Wanted(Type type) => type switch
    {
        _ when type == typeof(string) => "a string",
        _ when IsInteger(type) => "a whole number",
        _ when type == typeof(bool) => "true or false",
        _ => throw new InvalidOperationException($"no words for a parameter of type {type}"),
    };
}
