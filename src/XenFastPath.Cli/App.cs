// From argv to an exit status.
using System.CommandLine;
using System.CommandLine.Invocation;
using System.CommandLine.Parsing;
using XenFastPath.Api;

namespace XenFastPath.Cli;

/// <summary>What scripts rely on.</summary>
internal static class ExitStatus
{
    public const int Done = 0;
    public const int Refused = 1;
    public const int Usage = 2;
    public const int Unreachable = 3;

    /// <summary>As the shell reports a process that SIGPIPE ended: the reader of our output went away.</summary>
    public const int BrokenPipe = 141;
}

internal static class App
{
    private const int EPIPE = 32;

    // "@x" is a label like any other, not a file of arguments.
    private static readonly ParserConfiguration Parsing = new() { ResponseFileTokenReplacer = null };

    /// <summary>Runs one command line; never throws for what the daemon, the user or a closed pipe does.</summary>
    public static async Task<int> RunAsync(
        string[] args, Terminal terminal, CancellationToken cancellationToken = default)
    {
        try
        {
            int status = await InvokeAsync(args, terminal, cancellationToken);
            await terminal.Out.FlushAsync(cancellationToken);
            await terminal.Error.FlushAsync(cancellationToken);
            return status;
        }
        catch (IOException e) when (e.HResult == EPIPE)
        {
            return ExitStatus.BrokenPipe;
        }
        catch (IOException e)
        {
            return await FailAsync(terminal, ExitStatus.Refused, $"cannot write: {e.Message}");
        }
    }

    private static async Task<int> InvokeAsync(string[] args, Terminal terminal, CancellationToken cancellationToken)
    {
        var session = new Session(terminal);
        Command root = CommandTree.Build(session);
        if (args is [Completer.Marker, .. var words])
        {
            Completer.Write(root, words, terminal.Out);
            return ExitStatus.Done;
        }
        ParseResult parsed = root.Parse(args, Parsing);
        if (parsed.Action is ParseErrorAction or null)
        {
            return await FailUsageAsync(parsed, terminal);
        }
        var invocation = new InvocationConfiguration
        {
            Output = terminal.Out,
            Error = terminal.Error,
            EnableDefaultExceptionHandler = false,
            ProcessTerminationTimeout = null,  // Ctrl-C just ends xfp: nothing is half-made on this side of the socket
        };
        try
        {
            return await parsed.InvokeAsync(invocation, cancellationToken);
        }
        catch (ApiErrorException e)
        {
            return await FailAsync(terminal, ExitStatus.Refused, Words.Printable(e.Message));
        }
        catch (UnreadableException e)
        {
            return await FailAsync(terminal, ExitStatus.Refused, Words.Printable(e.Message));
        }
        catch (DaemonUnreachableException e)
        {
            return await FailAsync(terminal, ExitStatus.Unreachable, $"{Words.Printable(e.Message)}\n{Remedy(e)}");
        }
    }

    private static Task<int> FailUsageAsync(ParseResult parsed, Terminal terminal)
    {
        string problems = string.Join("; ", Problems(parsed).Distinct());
        string command = HelpText.PathOf(parsed.CommandResult.Command);
        return FailAsync(terminal, ExitStatus.Usage, $"{problems}\ntry '{command} --help'");
    }

    private static IEnumerable<string> Problems(ParseResult parsed)
    {
        Command command = parsed.CommandResult.Command;
        if (command.Subcommands.Count == 0)
        {
            return parsed.Errors.Select(Problem);
        }
        string choice = string.Join(", ", command.Subcommands.Select(c => c.Name));
        return
        [
            parsed.UnmatchedTokens switch
            {
                [] => $"a command is missing: {choice}",
                [['-', ..] option, ..] => $"unknown option '{option}'",
                [var word, ..] => $"unknown command '{word}', the commands are {choice}",
            },
        ];
    }

    private static string Problem(ParseError error) => error.SymbolResult switch
    {
        ArgumentResult { Tokens.Count: 0, Argument: var missing } => $"{missing.Name} is missing",
        _ => char.ToLowerInvariant(error.Message[0]) + error.Message[1..].TrimEnd('.'),
    };

    private static string Remedy(DaemonUnreachableException e) => e.IsPermission
        ? "run xfp as root, or as a member of the group xenfastpath"
        : "start the daemon with 'systemctl start xenfastpathd', or name its socket with --socket PATH";

    private static async Task<int> FailAsync(Terminal terminal, int status, string message)
    {
        await terminal.Out.FlushAsync();
        await terminal.Error.WriteLineAsync($"xfp: {message}");
        await terminal.Error.FlushAsync();
        return status;
    }
}
