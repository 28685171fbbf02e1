// xfp vif: guests' interfaces.
using System.CommandLine;
using System.Globalization;
using XenFastPath.Api;

namespace XenFastPath.Cli;

internal static class VifCommands
{
    public static Command Build(Session session) => new("vif", "VIFs: the guests' interfaces, as dom0 sees them.")
    {
        Plug(session),
        Unplug(session),
        List(session),
        Show(session),
        Set(session),
        Move(session),
    };

    private static Command Plug(Session session)
    {
        Argument<string> device = CommandTree.KernelDevice("the network device, for example vif1.0");
        Option<string> network = CommandTree.NetworkOption(session, "the Network to connect it to", required: true);
        var mac = new Option<string>("--mac")
        {
            Description = "the guest's own address (dom0 sees another on the device)",
            HelpName = "MAC",
        };
        var command = new Command("plug", "Connect a guest's interface to a Network; prints the uuid.")
        {
            device, network, mac,
        };
        session.Bind(command, ApiMethods.VifPlug,
            parsed => new VifPlugParams(
                parsed.GetRequiredValue(device), parsed.GetRequiredValue(network), parsed.GetValue(mac)),
            vif => session.Terminal.Out.WriteLine(vif.Uuid));
        return command;
    }

    private static Command Unplug(Session session)
    {
        Argument<string> device = Device(session);
        var command = new Command("unplug", "Disconnect a guest's interface.") { device };
        session.Bind(command, ApiMethods.VifUnplug, parsed => new VifParams(parsed.GetRequiredValue(device)), _ => { });
        return command;
    }

    private static Command List(Session session)
    {
        var command = new Command("list", "List the VIFs.");
        session.Bind(command, ApiMethods.VifList, vifs =>
        {
            var table = new Table("DEVICE", "NETWORK", "STATE", ">MTU", "MAC", "PATH");
            foreach (VifInfo vif in vifs)
            {
                table.Add(vif.Device, vif.Network, Cell.State(vif.State), Words.Number(vif.Mtu), vif.Mac,
                    PortText.Path(vif.Path, session.Terminal));
            }
            table.Write(session.Terminal);
        });
        return command;
    }

    private static Command Show(Session session)
    {
        Argument<string> device = Device(session);
        var command = new Command("show", "Show one VIF.") { device };
        session.Bind(command, ApiMethods.VifShow, parsed => new VifParams(parsed.GetRequiredValue(device)),
            vif => Describe(vif, session.Terminal).Write(session.Terminal));
        return command;
    }

    private static Command Set(Session session)
    {
        Argument<string> device = Device(session);
        var trunks = new Option<int[]>("--trunks")
        {
            Description = "the guest's 802.1Q tags, each for the Network of that VLAN on the same PIF; or none",
            HelpName = "TAG,TAG|none",
            Required = true,
            Arity = ArgumentArity.ExactlyOne,       // a second list would be lost
            CustomParser = result => Tags(result.Tokens[0].Value, result.AddError),
            CompletionSources = { "none" },
        };
        var command = new Command("set", "Change a VIF: make it a trunk, whose guest sends and receives tagged frames.") { device, trunks };
        session.Bind(command, ApiMethods.VifSet,
            parsed => new VifSetParams(parsed.GetRequiredValue(device), parsed.GetRequiredValue(trunks)), _ => { });
        return command;
    }

    private static int[]? Tags(string text, Action<string> refuse)
    {
        if (text == "none")
            return [];
        string[] parts = text.Split(',');
        int[] tags = new int[parts.Length];
        for (int i = 0; i < parts.Length; i++)
        {
            if (int.TryParse(parts[i], NumberStyles.None, CultureInfo.InvariantCulture, out tags[i]))
                continue;
            refuse($"'{text}' is no list of tags: numbers separated by commas, or none");
            return null;
        }
        return tags;
    }

    private static Command Move(Session session)
    {
        Argument<string> device = Device(session);
        Option<string> network = CommandTree.NetworkOption(session, "the Network to move it to", required: true);
        var command = new Command("move", "Connect a VIF to another Network.") { device, network };
        session.Bind(command, ApiMethods.VifMove,
            parsed => new VifMoveParams(parsed.GetRequiredValue(device), parsed.GetRequiredValue(network)), _ => { });
        return command;
    }

    private static Argument<string> Device(Session session) => new("DEVICE")
    {
        Description = "the VIF: its device or uuid",
        CompletionSources = { context => session.Vifs(context.ParseResult) },
    };

    private static Facts Describe(VifInfo vif, Terminal terminal)
    {
        var facts = new Facts();
        facts.Add("uuid", $"{vif.Uuid}");
        facts.Add("device", vif.Device);
        facts.Add("ifindex", vif.Ifindex is { } index ? Words.Number(index) : null);
        facts.Add("network", vif.Network);
        facts.Add("state", Cell.State(vif.State));
        facts.Add("carrier", Words.YesNo(vif.Carrier));
        facts.Add("mtu", Words.Number(vif.Mtu));
        facts.Add("mac", vif.Mac);
        facts.Add("trunks", vif.Trunks is { } trunks ? string.Join(' ', trunks.Select(t => Words.Number(t))) : null);
        PortText.Describe(vif.Path, vif.Counters, facts, terminal);
        return facts;
    }
}
