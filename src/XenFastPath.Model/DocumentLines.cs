// Where in its text each element of a document begins, so that a refusal names a line that an editor can go to.
using System.Text.Json;

namespace XenFastPath.Model;

/// <summary>Lines of the elements of a document's lists, counted from 1.</summary>
public sealed class DocumentLines
{
    private readonly Dictionary<(string List, int Index), int> _lines = [];

    private DocumentLines()
    {
    }

    /// <summary>Of a document without text.</summary>
    public static DocumentLines None { get; } = new();

    /// <summary>Finds them in the JSON text of an object whose members are lists.</summary>
    public static DocumentLines Of(ReadOnlySpan<byte> json)
    {
        DocumentLines lines = new();
        Utf8JsonReader reader = new(json, new JsonReaderOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true });
        int line = 1, counted = 0;      // up to where lines are counted: a document has thousands of elements
        reader.Read();
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string list = reader.GetString()!;
            reader.Read();
            if (reader.TokenType != JsonTokenType.StartArray)
            {
                reader.Skip();
                continue;
            }

            for (int index = 0; reader.Read() && reader.TokenType != JsonTokenType.EndArray; index++)
            {
                int start = (int)reader.TokenStartIndex;
                line += json[counted..start].Count((byte)'\n');
                counted = start;
                lines._lines[(list, index)] = line;
                reader.Skip();
            }
        }

        return lines;
    }

    /// <summary>For people: "networks[2] (line 14)".</summary>
    public string Of(string list, int index) =>
        _lines.TryGetValue((list, index), out int line) ? $"{list}[{index}] (line {line})" : $"{list}[{index}]";
}
