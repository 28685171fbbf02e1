// Where xfp prints and what may be printed there. Everything a command needs from the outside world comes through here.
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace XenFastPath.Cli;

/// <summary>The colours used; what they mean is decided by <see cref="Words.InkOf"/>.</summary>
internal enum Ink
{
    Plain = 0,
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
}

/// <summary>Standard output and error, and how the reader sees them.</summary>
internal sealed class Terminal(TextWriter output, TextWriter error)
{
    public TextWriter Out { get; } = output;

    public TextWriter Error { get; } = error;

    /// <summary>Somebody looks at it: JSON is indented, screens are redrawn.</summary>
    public bool IsInteractive { get; init; }

    public bool HasColour { get; init; }

    /// <summary>The locale is UTF-8: trees may be drawn with box characters.</summary>
    public bool IsUnicode { get; init; } = true;

    /// <summary>Lines that fit the screen, now.</summary>
    public Func<int> Height { get; init; } = static () => int.MaxValue;

    /// <summary>Standard input, for commands that read a file named "-".</summary>
    public Func<Stream> OpenInput { get; init; } = Console.OpenStandardInput;

    /// <summary>How long a shell that completes a word is kept waiting for the daemon.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromMilliseconds(300);

    /// <summary>How time passes; tests do not wait.</summary>
    public Func<TimeSpan, CancellationToken, Task> Pause { get; init; } = Task.Delay;

    /// <summary>The terminal, pipe or file this process writes to.</summary>
    public static Terminal OfProcess()
    {
        bool interactive = !Console.IsOutputRedirected;
        string locale = Variable("LC_ALL") ?? Variable("LC_CTYPE") ?? Variable("LANG") ?? "";
        string encoding = locale.Replace("-", "", StringComparison.Ordinal);
        return new Terminal(Writer(OpenOutput()), Writer(Console.OpenStandardError()))
        {
            IsInteractive = interactive,
            HasColour = interactive && Variable("NO_COLOR") is null && Variable("TERM") is not (null or "dumb"),
            IsUnicode = encoding.Contains("utf8", StringComparison.OrdinalIgnoreCase),
            Height = static () => Console.WindowHeight,
        };
    }

    /// <summary>An environment variable; one that is set to nothing counts as not set.</summary>
    public static string? Variable(string name) =>
        Environment.GetEnvironmentVariable(name) is { Length: > 0 } value ? value : null;

    public string Paint(string text, Ink ink) =>
        HasColour && ink != Ink.Plain && text.Length > 0 ? $"\e[{(int)ink}m{text}\e[0m" : text;


    private static StreamWriter Writer(Stream stream) => new(stream, new UTF8Encoding(false));

    // The console's stream takes a closed pipe for success, and `xfp events | head -1` would run for ever. A FileStream
    // fails there as it should; but on a file it keeps an offset of its own, which is wrong if stderr goes there too.
    private static Stream OpenOutput()
    {
        var output = new FileStream(new SafeFileHandle(1, ownsHandle: false), FileAccess.Write, bufferSize: 0);
        return output.CanSeek ? Console.OpenStandardOutput() : output;
    }
}
