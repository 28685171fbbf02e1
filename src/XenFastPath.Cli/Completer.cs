// What the shells ask: `xfp [complete] WORD... CURRENT` prints what CURRENT may become: "value<TAB>description".
using System.CommandLine;
using System.CommandLine.Completions;

namespace XenFastPath.Cli;

internal static class Completer
{
    /// <summary>The first argument that asks for completion; no command can be called that.</summary>
    public const string Marker = "[complete]";

    /// <summary>Writes the candidates for the last word, given those before it.</summary>
    public static void Write(Command root, string[] words, TextWriter output)
    {
        string current = words.LastOrDefault("");
        // bash makes a word of the '=' in --option=value.
        string[] before = [.. words.SkipLast(1).Where(word => word != "=")];
        current = current == "=" ? "" : current;
        foreach (CompletionItem item in Candidates(root.Parse(before), current).DistinctBy(item => item.Label))
        {
            if (item.Label.StartsWith(current, StringComparison.Ordinal))
            {
                output.WriteLine(item.Detail is { } description ? $"{item.Label}\t{description}" : item.Label);
            }
        }
    }

    private static IEnumerable<CompletionItem> Candidates(ParseResult parsed, string current)
    {
        if (parsed.UnmatchedTokens.Count > 0)
        {
            return [];  // what does not parse leads nowhere
        }
        Command command = parsed.CommandResult.Command;
        CompletionContext context = parsed.GetCompletionContext();
        List<Option> options = [.. HelpText.AllOptions(command)];
        if (options.Find(option => AwaitsValue(parsed, option)) is { } waiting)
        {
            return waiting.CompletionSources.SelectMany(source => source(context));
        }
        IEnumerable<CompletionItem> flags = options
            .Where(option => parsed.GetResult(option) is null or { Implicit: true })
            .Select(option => new CompletionItem(option.Name, detail: option.Description));
        if (current.StartsWith('-'))
        {
            return flags;
        }
        Argument? next = command.Arguments.FirstOrDefault(
            argument => (parsed.GetResult(argument)?.Tokens.Count ?? 0) < argument.Arity.MaximumNumberOfValues);
        List<CompletionItem> words =
        [
            .. command.Subcommands.Where(c => !c.Hidden).Select(c => new CompletionItem(c.Name, detail: c.Description)),
            .. next?.CompletionSources.SelectMany(source => source(context)) ?? [],
        ];
        return words.Count > 0 || next is not null || current.Length > 0 ? words : flags;
    }

    private static bool AwaitsValue(ParseResult parsed, Option option) =>
        option.Arity.MinimumNumberOfValues > 0 && parsed.Tokens.Count > 0 &&
        parsed.GetResult(option) is { Implicit: false, Tokens.Count: 0, IdentifierToken: var last } &&
        last == parsed.Tokens[^1];
}
