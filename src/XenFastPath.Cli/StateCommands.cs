// Commands that look: show, fdb, doctor.
using System.CommandLine;
using XenFastPath.Api;

namespace XenFastPath.Cli;

internal static class StateCommands
{
    private static readonly TimeSpan RateInterval = TimeSpan.FromMilliseconds(300);

    public static Command Show(Session session)
    {
        var noRates = CommandTree.Flag("--no-rates", "count from the beginning instead of measuring for 0.3 s");
        var command = new Command("show", "Draw the Networks with their ports, the path frames take and their rates.")
        {
            noRates,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            await using ApiClient client = await session.ConnectAsync(parsed, cancellationToken);
            if (parsed.GetValue(session.Json))
            {
                session.PrintJson(await client.CallRawAsync(ApiMethods.Show, new Empty(), cancellationToken));
                return ExitStatus.Done;
            }
            ShowInfo? before = null;
            if (!parsed.GetValue(noRates))
            {
                before = await client.CallAsync(ApiMethods.Show, new Empty(), cancellationToken);
                await session.Terminal.Pause(RateInterval, cancellationToken);
            }
            ShowInfo now = await client.CallAsync(ApiMethods.Show, new Empty(), cancellationToken);
            new ShowTree(now, before, session.Terminal).Write();
            return ExitStatus.Done;
        });
        return command;
    }

    public static Command Fdb(Session session)
    {
        Option<string> network = CommandTree.NetworkOption(session, "only this Network", required: false);
        var list = new Command("list", "List the MAC addresses the kernel knows, and which of them the fast path has.")
        {
            network,
        };
        session.Bind(list, ApiMethods.FdbList, parsed => new FdbListParams(parsed.GetValue(network)), entries =>
        {
            var table = new Table("NETWORK", "MAC", "DEVICE", "KIND", "FAST", ">IDLE");
            foreach (FdbEntryInfo entry in entries)
            {
                table.Add(entry.Network, entry.Mac, entry.Device, entry.Permanent ? "local" : "learned",
                    Words.YesNo(entry.FastPath), Words.Seconds(entry.IdleSeconds));
            }
            table.Write(session.Terminal);
        });
        var sync = new Command("sync", "Wait until the fast path has caught up with the kernel.");
        session.Bind(sync, ApiMethods.FdbSync, done =>
            session.Terminal.Out.WriteLine($"{done.Entries} entries, {done.FastPathEntries} of them on the fast path"));
        return new Command("fdb", "The forwarding database: which MAC address is behind which port.") { list, sync };
    }

    public static Command Doctor(Session session)
    {
        var command = new Command("doctor", "Check what this machine can do, and what to do about the rest.");
        session.Bind(command, ApiMethods.Doctor, doctor =>
        {
            session.Terminal.Out.WriteLine($"kernel {doctor.Kernel}");
            var table = new Table("CHECK", "RESULT", "DETAIL", "REMEDY");
            foreach (DoctorCheckInfo check in doctor.Checks)
            {
                table.Add(check.Name, Cell.State(check.Result), check.Detail, check.Remedy ?? "");
            }
            table.Write(session.Terminal);
        });
        return command;
    }
}
