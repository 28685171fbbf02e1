// Replays a terminal: the lines "$ xfp ..." of a file are run, what they print must be what the file has below them.
using System.CommandLine.Parsing;
using System.Text;
using XenFastPath.Cli;
using XenFastPath.Tests.Api;

namespace XenFastPath.Tests.Cli;

/// <summary>
/// A line "# WORD..." says how the reader sees what follows (interactive, colour, ascii, low) and how the daemon is
/// (down, idle, pending). stdin is a document. stdout and stderr come together as on a terminal; the daemon's last call, an exit status and an
/// interruption are noted.
/// </summary>
internal static class Transcript
{
    /// <summary>Runs the commands of a transcript against a fake daemon and returns what it should read.</summary>
    public static async Task<string> ReplayAsync(string[] lines)
    {
        var text = new StringBuilder();
        string[] mode = [];
        TestServer server = new();
        foreach (string line in lines)
        {
            if (line.StartsWith("# ", StringComparison.Ordinal))
            {
                mode = line[2..].Split(' ');
                await server.DisposeAsync();
                server = new TestServer(new FakeDaemon
                {
                    ForwarderState = mode.Contains("down") ? "down" : "running",
                    Actions = mode.Contains("idle") ? [] : ["set eth0 up"],
                    PendingSeconds = mode.Contains("pending") ? 42 : null,
                });
                text.Append(line).Append('\n');
            }
            else if (line.StartsWith("$ xfp", StringComparison.Ordinal))
            {
                text.Append(line).Append('\n').Append(await RunAsync(server, mode, line["$ xfp".Length..]));
            }
        }
        await server.DisposeAsync();
        return text.ToString();
    }

    private static async Task<string> RunAsync(TestServer server, string[] mode, string commandLine)
    {
        using var output = new StringWriter();
        int pauses = 0;
        var terminal = new Terminal(output, output)
        {
            IsInteractive = mode.Contains("interactive"),
            HasColour = mode.Contains("colour"),
            IsUnicode = !mode.Contains("ascii"),
            OpenInput = () => new MemoryStream(Encoding.UTF8.GetBytes(FakeData.Document)),
            Height = () => mode.Contains("low") ? 8 : int.MaxValue,
            // No time passes; the third look at a watched screen is interrupted.
            Pause = (_, _) => ++pauses < 3 ? Task.CompletedTask : throw new OperationCanceledException(),
        };
        server.Daemon.LastCall = null;
        string[] words = [.. CommandLineParser.SplitCommandLine(commandLine)];
        string[] socket = words.Contains("--socket") ? [] : ["--socket", server.SocketPath];
        string note;
        try
        {
            int status = await App.RunAsync([.. socket, .. words], terminal);
            note = status == 0 ? "" : $"[exit {status}]\n";
        }
        catch (OperationCanceledException)
        {
            note = "[interrupted]\n";
        }
        string call = server.Daemon.LastCall is null ? "" : $"[call] {server.Daemon.LastCall}\n";
        return output.ToString().Replace('\e', '␛') + call + note;
    }
}
