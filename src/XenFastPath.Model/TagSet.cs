// VLAN identifiers as one value, in the state file a list of numbers.
using System.Text.Json;
using System.Text.Json.Serialization;

namespace XenFastPath.Model;

/// <summary>VLAN identifiers, compared by value.</summary>
[JsonConverter(typeof(TagSetConverter))]
public sealed class TagSet : IEquatable<TagSet>
{
    private readonly ushort[] _tags;

    public TagSet(IEnumerable<ushort> tags) => _tags = [.. tags.Distinct().Order()];

    public static TagSet Empty { get; } = new([]);

    /// <summary>Ascending.</summary>
    public ReadOnlySpan<ushort> Tags => _tags;

    public bool Equals(TagSet? other) => other is not null && _tags.AsSpan().SequenceEqual(other._tags);

    public override bool Equals(object? obj) => Equals(obj as TagSet);

    public override int GetHashCode() => _tags.Length == 0 ? 0 : HashCode.Combine(_tags.Length, _tags[0], _tags[^1]);

    public override string ToString() => string.Join(",", _tags);
}

/// <summary>[100, 200].</summary>
internal sealed class TagSetConverter : JsonConverter<TagSet>
{
    public override TagSet Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType != JsonTokenType.StartArray)
            throw new JsonException("A list of tags is expected.");
        List<ushort> tags = [];
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType != JsonTokenType.Number || !reader.TryGetUInt16(out ushort tag) || tag is < Rules.TagMin or > Rules.TagMax)
                throw new JsonException($"A tag is a number in {Rules.TagMin}..{Rules.TagMax}.");
            tags.Add(tag);
        }

        return new TagSet(tags);
    }

    public override void Write(Utf8JsonWriter writer, TagSet value, JsonSerializerOptions options)
    {
        writer.WriteStartArray();
        foreach (ushort tag in value.Tags)
            writer.WriteNumberValue(tag);
        writer.WriteEndArray();
    }
}
