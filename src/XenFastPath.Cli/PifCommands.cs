// xfp pif: physical interfaces.
using System.CommandLine;
using XenFastPath.Api;

namespace XenFastPath.Cli;

internal static class PifCommands
{
    public static Command Build(Session session) => new("pif", "PIFs: the physical interfaces of this machine.")
    {
        List(session, "scan", "Look for physical interfaces and list them.", ApiMethods.PifScan),
        List(session, "list", "List the PIFs.", ApiMethods.PifList),
        Show(session),
        Introduce(session),
        Forget(session),
        Change(session, "plug", "Connect a PIF to its Network and bring it up.", ApiMethods.PifPlug),
        Change(session, "unplug", "Disconnect a PIF from its Network.", ApiMethods.PifUnplug),
    };

    private static Command List(
        Session session, string name, string description, ApiMethod<Empty, IReadOnlyList<PifInfo>> method)
    {
        var command = new Command(name, description);
        session.Bind(command, method, pifs =>
        {
            var table = new Table("DEVICE", "NETWORK", "STATE", ">SPEED", ">MTU", "MAC", "DRIVER", "BUS", "PATH");
            foreach (PifInfo pif in pifs)
            {
                table.Add(pif.Device, pif.Network, Cell.State(pif.State), Words.Speed(pif.SpeedMbps),
                    Words.Number(pif.Mtu), pif.Mac, pif.Driver, pif.BusPath, PortText.Path(pif.Path, session.Terminal));
            }
            table.Write(session.Terminal);
        });
        return command;
    }

    private static Command Show(Session session)
    {
        Argument<string> device = Device(session);
        var command = new Command("show", "Show one PIF.") { device };
        session.Bind(command, ApiMethods.PifShow, parsed => new PifParams(parsed.GetRequiredValue(device)),
            pif => Describe(pif, session.Terminal).Write(session.Terminal));
        return command;
    }

    private static Command Introduce(Session session)
    {
        Argument<string> device = CommandTree.KernelDevice("the network device, as the kernel calls it");
        var command = new Command("introduce", "Make a physical interface known; prints the uuid.") { device };
        session.Bind(command, ApiMethods.PifIntroduce, parsed => new PifParams(parsed.GetRequiredValue(device)),
            pif => session.Terminal.Out.WriteLine(pif.Uuid));
        return command;
    }

    private static Command Forget(Session session)
    {
        Argument<string> device = Device(session);
        var command = new Command("forget", "Forget a PIF.") { device };
        session.Bind(command, ApiMethods.PifForget, parsed => new PifParams(parsed.GetRequiredValue(device)), _ => { });
        return command;
    }

    private static Command Change(
        Session session, string name, string description, ApiMethod<PifParams, PifInfo> method)
    {
        Argument<string> device = Device(session);
        var command = new Command(name, description) { device };
        session.Bind(command, method, parsed => new PifParams(parsed.GetRequiredValue(device)), _ => { });
        return command;
    }

    private static Argument<string> Device(Session session) => new("DEVICE")
    {
        Description = "the PIF: its device or uuid",
        CompletionSources = { context => session.Pifs(context.ParseResult) },
    };

    private static Facts Describe(PifInfo pif, Terminal terminal)
    {
        var facts = new Facts();
        facts.Add("uuid", $"{pif.Uuid}");
        facts.Add("device", pif.Device);
        facts.Add("ifindex", pif.Ifindex is { } index ? Words.Number(index) : null);
        facts.Add("network", pif.Network);
        facts.Add("state", Cell.State(pif.State));
        facts.Add("carrier", Words.YesNo(pif.Carrier));
        facts.Add("speed", Words.Speed(pif.SpeedMbps));
        facts.Add("mtu", Words.Number(pif.Mtu));
        facts.Add("mac", pif.Mac);
        facts.Add("permanent-mac", pif.PermanentMac);
        facts.Add("bus-path", pif.BusPath);
        facts.Add("driver", pif.Driver);
        PortText.Describe(pif.Path, pif.Counters, facts, terminal);
        return facts;
    }
}
