// xfp events: what happens, as it happens.
using System.CommandLine;
using System.Globalization;
using System.Text;
using XenFastPath.Api;

namespace XenFastPath.Cli;

internal static class EventsCommand
{
    public static Command Build(Session session)
    {
        var command = new Command("events", "Print what changes, as it changes, until Ctrl-C.");
        command.SetAction(async (parsed, cancellationToken) =>
        {
            await using ApiClient client = await session.ConnectAsync(parsed, cancellationToken);
            // Each line is flushed: whoever reads a pipe wants the event now.
            if (parsed.GetValue(session.Json))
            {
                await foreach (byte[] change in client.EventsRawAsync(cancellationToken))
                {
                    await session.Terminal.Out.WriteLineAsync(Encoding.UTF8.GetString(change));
                    await session.Terminal.Out.FlushAsync(cancellationToken);
                }
            }
            else
            {
                await foreach (EventInfo change in client.EventsAsync(cancellationToken))
                {
                    await session.Terminal.Out.WriteLineAsync(Line(change));
                    await session.Terminal.Out.FlushAsync(cancellationToken);
                }
            }
            return ExitStatus.Done;
        });
        return command;
    }

    private static string Line(EventInfo change)
    {
        string time = change.Time.ToLocalTime().ToString("yyyy-MM-dd HH:mm:ss.fff", CultureInfo.InvariantCulture);
        return Words.Printable($"{time}  {change.Kind}  {change.Object}  {change.Message}");
    }
}
