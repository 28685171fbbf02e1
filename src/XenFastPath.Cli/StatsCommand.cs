// xfp stats: every counter that is not zero, once or each second with what it gained.
using System.CommandLine;
using XenFastPath.Api;

namespace XenFastPath.Cli;

internal static class StatsCommand
{
    private static readonly TimeSpan WatchInterval = TimeSpan.FromSeconds(1);

    public static Command Build(Session session)
    {
        var watch = CommandTree.Flag("--watch", "redraw each second, with rates, until Ctrl-C");
        var command = new Command("stats", "Print the counters of the data path that are not zero.") { watch };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            await using ApiClient client = await session.ConnectAsync(parsed, cancellationToken);
            if (parsed.GetValue(watch))
            {
                await WatchAsync(client, session, parsed.GetValue(session.Json), cancellationToken);
            }
            else if (parsed.GetValue(session.Json))
            {
                session.PrintJson(await client.CallRawAsync(ApiMethods.Stats, new Empty(), cancellationToken));
            }
            else
            {
                Write(await client.CallAsync(ApiMethods.Stats, new Empty(), cancellationToken), null, session.Terminal);
            }
            return ExitStatus.Done;
        });
        return command;
    }

    private static async Task WatchAsync(
        ApiClient client, Session session, bool json, CancellationToken cancellationToken)
    {
        StatsInfo? before = null;
        while (true)
        {
            if (json)
            {
                session.PrintJson(await client.CallRawAsync(ApiMethods.Stats, new Empty(), cancellationToken));
            }
            else
            {
                StatsInfo now = await client.CallAsync(ApiMethods.Stats, new Empty(), cancellationToken);
                Redraw(now, before, session.Terminal);
                before = now;
            }
            await session.Terminal.Out.FlushAsync(cancellationToken);
            await session.Terminal.Pause(WatchInterval, cancellationToken);
        }
    }

    // Overwrites the screen line by line, which does not flicker as clearing it first would.
    private static void Redraw(StatsInfo now, StatsInfo? before, Terminal terminal)
    {
        if (!terminal.IsInteractive)
        {
            Write(now, before, terminal);
            terminal.Out.WriteLine();
            return;
        }
        using var page = new StringWriter();
        Write(now, before, new Terminal(page, page) { HasColour = terminal.HasColour, IsUnicode = terminal.IsUnicode });
        string[] lines = page.ToString().TrimEnd('\n').Split('\n');
        int height = terminal.Height();
        bool fits = lines.Length < height;
        terminal.Out.Write("\e[H");
        foreach (string line in fits ? lines : lines[..Math.Max(0, height - 2)])
        {
            terminal.Out.Write($"{line}\e[K\n");
        }
        string rest = $"... {lines.Length - height + 2} more lines; the window is too small\e[K";
        terminal.Out.Write(fits ? "\e[J" : $"{rest}\e[J");
    }

    private static void Write(StatsInfo now, StatsInfo? before, Terminal terminal)
    {
        double seconds = before is null ? 0 : (now.MonotonicNs - before.MonotonicNs) / 1e9;
        Dictionary<(string, string), long> old = before is null ? [] : Sections(before)
            .SelectMany(section => section.Counters.Select(c => KeyValuePair.Create((section.Title, c.Name), c.Value)))
            .DistinctBy(counter => counter.Key).ToDictionary();
        terminal.Out.WriteLine(ShowTree.ForwarderLine(now.Forwarder, terminal));
        var table = new Table("", ">", ">");
        foreach (Section section in Sections(now))
        {
            table.AddNote(terminal.Paint(Words.Printable(section.Title), Ink.Bold));
            foreach ((string name, long value) in section.Counters.Where(counter => counter.Value != 0))
            {
                // A counter that went back belongs to a port plugged anew.
                bool grew = old.TryGetValue((section.Title, name), out long earlier) && value > earlier && seconds > 0;
                string rate = grew ? $"{Words.Count((value - earlier) / seconds)}/s" : "";
                table.Add($"  {name}", Words.Number(value), rate);
            }
        }
        table.Write(terminal);
    }

    private static IEnumerable<Section> Sections(StatsInfo stats) =>
    [
        new("loop", Sorted(stats.Loop)),
        new("mirror", Sorted(stats.Mirror)),
        .. stats.Ports.Select(p => new Section($"{p.Device}  {p.Network}  {p.Path}", PortText.Counters(p.Counters))),
    ];

    private static IEnumerable<(string Name, long Value)> Sorted(IReadOnlyDictionary<string, long> counters) =>
        counters.OrderBy(c => c.Key, StringComparer.Ordinal).Select(c => (c.Key, c.Value));

    private sealed record Section(string Title, IEnumerable<(string Name, long Value)> Counters);
}
