// --help, in the words of a manual page's synopsis; the library's own would write <LABEL> and [options].
using System.CommandLine;
using System.Text;

namespace XenFastPath.Cli;

internal static class HelpText
{
    private const int Columns = 80;

    private const string Examples = """
        Examples:
          xfp network create LAN --pif eth0          make a Network that reaches the wire through eth0
          xfp vif plug vif1.0 --network LAN          connect a guest's interface to it
          xfp show                                   see what is connected, which path it takes, and how fast
          xfp network set LAN --datapath afxdp       choose the path instead of leaving it to 'auto'
          xfp --json fdb list --network LAN          the MAC addresses of a Network, for a program
          xfp apply host.json --confirm 60           make the host as a file says; undone if not confirmed
          xfp doctor                                 what this kernel lacks, and what to do about it

        Exit status: 0 done, 1 refused (the reason is on stderr), 2 usage, 3 daemon not reachable.
        Manual: xfp(1)
        """;

    public static void Write(Command command, Terminal terminal)
    {
        bool isRoot = ParentOf(command) is null;
        var commands = command.Subcommands.Select(c =>
            (isRoot ? c.Name : Wrap([c.Name, .. Pieces(c)], 4), c.Description));
        var arguments = command.Arguments.Select(a => (a.Name, a.Description));
        var options = AllOptions(command).Select(o => (string.Join(", ", [.. o.Aliases, Synopsis(o)]), o.Description));
        terminal.Out.WriteLine(Usage(command));
        terminal.Out.WriteLine();
        terminal.Out.WriteLine(Wrap(command.Description!.Split(' '), 0));
        WriteSection("Commands:", commands, terminal);
        WriteSection("Arguments:", arguments, terminal);
        WriteSection("Options:", options, terminal);
        if (isRoot)
        {
            terminal.Out.WriteLine();
            terminal.Out.WriteLine(Examples);
        }
    }

    /// <summary>The words that lead to a command: "xfp network create".</summary>
    public static string PathOf(Command command) =>
        ParentOf(command) is { } parent ? $"{PathOf(parent)} {command.Name}" : command.Name;

    /// <summary>A command's own options and those it inherits.</summary>
    public static IEnumerable<Option> AllOptions(Command command)
    {
        IEnumerable<Option> options = command.Options;
        for (Command? parent = ParentOf(command); parent is not null; parent = ParentOf(parent))
        {
            options = options.Concat(parent.Options.Where(o => o.Recursive));
        }
        return options;
    }

    private static Command? ParentOf(Command command) => command.Parents.OfType<Command>().FirstOrDefault();

    private static string Usage(Command command)
    {
        string head = $"Usage: {PathOf(command)}";
        string[] common = ParentOf(command) is null ? ["[--socket PATH]", "[--json]"] : [];
        string[] rest = command.Subcommands.Count > 0 ? ["COMMAND"] : [];
        return Wrap([head, .. common, .. Pieces(command), .. rest], head.Length + 1);
    }

    private static IEnumerable<string> Pieces(Command command)
    {
        foreach (Argument argument in command.Arguments)
        {
            string name = argument.Arity.MaximumNumberOfValues > 1 ? $"{argument.Name}..." : argument.Name;
            yield return argument.Arity.MinimumNumberOfValues > 0 ? name : $"[{name}]";
        }
        // The root's own are shown by Usage; those that are inherited, in the list of options.
        foreach (Option option in command.Options.Where(o => !o.Recursive && ParentOf(command) is not null))
        {
            yield return option.Required ? Synopsis(option) : $"[{Synopsis(option)}]";
        }
    }

    private static string Synopsis(Option option) =>
        option.HelpName is { } value ? $"{option.Name} {value}" : option.Name;

    private static void WriteSection(string heading, IEnumerable<(string Left, string? Right)> rows, Terminal terminal)
    {
        var list = rows.ToList();
        if (list.Count == 0)
        {
            return;
        }
        terminal.Out.WriteLine();
        terminal.Out.WriteLine(terminal.Paint(heading, Ink.Bold));
        // A left side too long for the column has its description on the next line.
        int column = Math.Min(30, list.Max(row => row.Left.Length));
        foreach ((string left, string? right) in list)
        {
            int fill = column - left.Length;
            string gap = fill >= 0 ? new string(' ', fill) : "\n  " + new string(' ', column);
            terminal.Out.WriteLine($"  {left}{gap}  {right}");
        }
    }

    // Puts as many pieces on a line as fit, and indents the lines after the first.
    private static string Wrap(IEnumerable<string> pieces, int indent)
    {
        var text = new StringBuilder();
        int width = 0;
        foreach (string piece in pieces)
        {
            bool wraps = width + 1 + piece.Length > Columns;
            text.Append(wraps ? "\n" + new string(' ', indent) : width == 0 ? "" : " ").Append(piece);
            width = (wraps ? indent : width == 0 ? 0 : width + 1) + piece.Length;
        }
        return text.ToString();
    }
}
