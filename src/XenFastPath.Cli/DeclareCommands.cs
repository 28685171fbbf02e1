// Commands about the whole desired state: plan, apply, confirm, rollback, export.
using System.CommandLine;
using System.Text;
using XenFastPath.Api;

namespace XenFastPath.Cli;

/// <summary>A file that a command was given cannot be used.</summary>
internal sealed class UnreadableException(string file, string reason) : Exception($"{file}: {reason}");

internal static class DeclareCommands
{
    public static Command Plan(Session session)
    {
        Argument<string?> file = FileArgument(required: false);
        var command = new Command("plan", "Print what would change to make the machine as it should be, or as a file says.")
        {
            file,
        };
        session.Bind(command, ApiMethods.Plan,
            parsed => new PlanParams(parsed.GetValue(file) is { } name ? Read(session, name) : null),
            plan => Write(session.Terminal, plan.Changes ?? [], plan.Actions));
        return command;
    }

    public static Command Apply(Session session)
    {
        Argument<string?> file = FileArgument(required: true);
        Option<int?> confirm = CommandTree.WholeNumber("--confirm", "SECONDS", "roll back after this time, unless 'xfp confirm' comes before");
        var command = new Command("apply", "Make the whole desired state as a file has it; what it does not name goes.")
        {
            file, confirm,
        };
        session.Bind(command, ApiMethods.StateApply,
            parsed => new StateApplyParams(Read(session, parsed.GetRequiredValue(file)!), parsed.GetValue(confirm)),
            done =>
            {
                Write(session.Terminal, done.Changes, done.Actions);
                if (done.Pending is { } pending)
                {
                    session.Terminal.Out.WriteLine($"confirm within {pending.SecondsLeft} s: xfp confirm");
                }
            });
        return command;
    }

    public static Command Confirm(Session session)
    {
        var command = new Command("confirm", "Keep what was applied with --confirm.");
        session.Bind(command, ApiMethods.StateConfirm, _ => { });
        return command;
    }

    public static Command Rollback(Session session)
    {
        var command = new Command("rollback", "Undo at once what was applied with --confirm.");
        session.Bind(command, ApiMethods.StateRollback, done => Write(session.Terminal, done.Changes, []));
        return command;
    }

    public static Command Export(Session session)
    {
        var command = new Command("export", "Print the whole desired state as a file for apply.");
        session.Bind(command, ApiMethods.StateExport, state => session.Terminal.Out.Write(state.Document));
        return command;
    }

    private static Argument<string?> FileArgument(bool required) => new("FILE")
    {
        Description = "the desired state, as export writes it; - is standard input",
        Arity = required ? ArgumentArity.ExactlyOne : ArgumentArity.ZeroOrOne,
    };

    private static void Write(Terminal terminal, IReadOnlyList<string> changes, IReadOnlyList<string> actions)
    {
        foreach (string line in changes.Concat(actions).DefaultIfEmpty("nothing to do"))
        {
            terminal.Out.WriteLine(Words.Printable(line));
        }
    }

    /// <summary>The text of a file, which may also be a pipe; never more than the daemon takes.</summary>
    private static string Read(Session session, string name)
    {
        try
        {
            using Stream stream = name == "-" ? session.Terminal.OpenInput() : File.OpenRead(name);
            byte[] bytes = new byte[ApiLimits.DocumentBytesMax + 1];
            int length = stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
            return length < bytes.Length
                ? new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(bytes, 0, length).TrimStart('\uFEFF')
                : throw new UnreadableException(name, $"is longer than {ApiLimits.DocumentBytesMax} bytes");
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new UnreadableException(name, "no such file");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new UnreadableException(name, $"cannot be read: {e.Message}");
        }
        catch (DecoderFallbackException)
        {
            throw new UnreadableException(name, "is not UTF-8");
        }
    }
}
