// Aligned columns without borders, and key: value lines.
using System.Text;

namespace XenFastPath.Cli;

/// <summary>A piece of text in its colour.</summary>
internal readonly record struct Cell(string Text, Ink Ink = Ink.Plain)
{
    public static implicit operator Cell(string? text) => new(text ?? Words.None);

    /// <summary>A state in the colour that goes with it.</summary>
    public static Cell State(string state) => new(state, Words.InkOf(state));
}

/// <summary>Rows of cells. A column whose header starts with '>' is aligned to the right.</summary>
internal sealed class Table(params string[] header)
{
    private const string Gap = "  ";

    private readonly List<(Cell[] Cells, string? Note)> _rows = [];

    public int Count => _rows.Count;

    public void Add(params Cell[] cells) => _rows.Add((cells, null));

    /// <summary>A line that takes no part in the columns.</summary>
    public void AddNote(string text) => _rows.Add(([], text));

    public void Write(Terminal terminal)
    {
        if (Array.Exists(header, name => name.TrimStart('>').Length > 0))
        {
            _rows.Insert(0, ([.. header.Select(name => new Cell(name.TrimStart('>'), Ink.Bold))], null));
        }
        int[] widths = [.. header.Select((_, column) =>
            _rows.Max(row => column < row.Cells.Length ? Width(row.Cells[column].Text) : 0))];
        foreach ((Cell[] cells, string? note) in _rows)
        {
            terminal.Out.WriteLine(note ?? Line(cells, widths, terminal));
        }
    }

    private string Line(Cell[] cells, int[] widths, Terminal terminal)
    {
        var line = new StringBuilder();
        int pending = 0;  // spaces owed to the columns so far; not written at the end of a line
        for (int column = 0; column < cells.Length; column++)
        {
            string text = Words.Printable(cells[column].Text);
            int fill = widths[column] - Width(text);
            bool right = header[column].StartsWith('>');
            pending += right ? fill : 0;
            if (text.Length > 0)
            {
                line.Append(' ', pending).Append(terminal.Paint(text, cells[column].Ink));
                pending = 0;
            }
            pending += Gap.Length + (right ? 0 : fill);
        }
        return line.ToString();
    }

    private static int Width(string text) => text.EnumerateRunes().Count();
}

/// <summary>One object as <c>key: value</c> lines with the values below each other.</summary>
internal sealed class Facts
{
    private readonly Table _table = new("", "");

    public void Add(string key, Cell value) => _table.Add($"{key}:", value);

    public void Write(Terminal terminal) => _table.Write(terminal);
}
