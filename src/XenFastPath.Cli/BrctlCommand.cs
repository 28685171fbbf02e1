// brctl of bridge-utils 1.7, as far as it is offered: its words, its output to the tab, its exit status.
using System.CommandLine;
using XenFastPath.Api;

namespace XenFastPath.Cli;

internal static class BrctlCommand
{
    public const string Name = "brctl";

    private static readonly string[] KnownWords =
    [
        "addbr", "delbr", "addif", "delif", "hairpin", "setageing", "setbridgeprio", "setfd", "sethello", "setmaxage",
        "setpathcost", "setportprio", "showmacs", "showstp", "stp",
    ];

    public static Command Build(Session session)
    {
        var bridges = new Argument<string[]>("BRIDGE")
        {
            Description = "only these bridges",
            Arity = ArgumentArity.ZeroOrMore,
        };
        var show = new Command("show", "List the bridges of this machine and their ports.") { bridges };
        show.SetAction(async (parsed, cancellationToken) =>
        {
            await using ApiClient client = await session.ConnectAsync(parsed, cancellationToken);
            if (parsed.GetValue(session.Json))
            {
                session.PrintJson(await client.CallRawAsync(ApiMethods.BridgeList, new Empty(), cancellationToken));
                return ExitStatus.Done;
            }
            var all = await client.CallAsync(ApiMethods.BridgeList, new Empty(), cancellationToken);
            return Show(all, parsed.GetValue(bridges) ?? [], session.Terminal);
        });
        var command = new Command(Name, "The words of bridge-utils; also for a link named brctl.")
        {
            show,
        };
        command.TreatUnmatchedTokensAsErrors = false;
        command.SetAction(parsed => RefuseOther(parsed.UnmatchedTokens, session.Terminal));
        return command;
    }

    private static int Show(IReadOnlyList<BridgeInfo> all, string[] names, Terminal terminal)
    {
        int status = ExitStatus.Done;
        var shown = new List<BridgeInfo>();
        foreach (string name in names)
        {
            if (all.FirstOrDefault(bridge => bridge.Name == name) is { } bridge)
            {
                shown.Add(bridge);
                continue;
            }
            terminal.Error.WriteLine($"bridge {name} does not exist!");
            status = ExitStatus.Refused;
        }
        // Without a bridge there is no header either; the order is that of the names' bytes.
        IEnumerable<BridgeInfo> rows = names.Length > 0 ? shown : all.OrderBy(b => b.Name, StringComparer.Ordinal);
        string header = "bridge name\tbridge id\t\tSTP enabled\tinterfaces\n";
        foreach (BridgeInfo bridge in rows)
        {
            string ports = string.Join("\n\t\t\t\t\t\t\t", bridge.Interfaces.Order(StringComparer.Ordinal));
            terminal.Out.Write($"{header}{bridge.Name}\t\t{bridge.Id}\t{Words.YesNo(bridge.Stp)}\t\t{ports}\n");
            header = "";
        }
        return status;
    }

    private static int RefuseOther(IReadOnlyList<string> words, Terminal terminal)
    {
        terminal.Error.WriteLine(words switch
        {
            [] => "Usage: brctl show [BRIDGE...]",
            [var word, ..] when KnownWords.Contains(word) =>
                $"xfp: brctl {word}: this release has only 'brctl show'; see 'xfp network --help'",
            [var word, ..] => $"never heard of command [{Words.Printable(word)}]",
        });
        return ExitStatus.Refused;
    }
}
