// xfp network: virtual switches.
using System.CommandLine;
using XenFastPath.Api;

namespace XenFastPath.Cli;

internal static class NetworkCommands
{
    public static Command Build(Session session) =>
        new("network", "Networks: the virtual switches that PIFs and VIFs are connected to.")
    {
        Create(session),
        List(session),
        Show(session),
        Set(session),
        Destroy(session),
    };

    private static Command Create(Session session)
    {
        var label = new Argument<string>("LABEL") { Description = "what the Network is called" };
        var bridge = new Option<string>("--bridge")
        {
            Description = "name of its Linux bridge; default: chosen by the daemon",
            HelpName = "NAME",
        };
        Option<string> pif = PifOption(session, "the physical interface it reaches the wire through; default: none");
        Option<int?> mtu = CommandTree.MtuOption();
        Option<string> datapath = CommandTree.DatapathOption();
        var command = new Command("create", "Make a Network and its Linux bridge; prints the uuid.")
        {
            label, bridge, pif, mtu, datapath,
        };
        session.Bind(command, ApiMethods.NetworkCreate,
            parsed => new NetworkCreateParams(
                parsed.GetRequiredValue(label), parsed.GetValue(bridge), parsed.GetValue(pif), parsed.GetValue(mtu),
                parsed.GetValue(datapath)),
            network =>
            {
                session.Terminal.Out.WriteLine(network.Uuid);
                WarnOfBypassed(network, session.Terminal);
            });
        return command;
    }

    private static Command List(Session session)
    {
        var command = new Command("list", "List the Networks.");
        session.Bind(command, ApiMethods.NetworkList, networks =>
        {
            var table = new Table("LABEL", "BRIDGE", "STATE", ">MTU", "DATAPATH", "PATH", "PIF", ">VIFS", "UUID");
            foreach (NetworkInfo network in networks)
            {
                table.Add(network.Label, network.Bridge, Cell.State(network.State), Words.Number(network.Mtu),
                    network.Datapath, network.Path, network.Pif?.Device ?? network.Vlan?.Device, Words.Number(network.Vifs.Count),
                    new Cell($"{network.Uuid}", Ink.Dim));
            }
            table.Write(session.Terminal);
        });
        return command;
    }

    private static Command Show(Session session)
    {
        Argument<string> label = CommandTree.Label(session);
        var command = new Command("show", "Show one Network.") { label };
        session.Bind(command, ApiMethods.NetworkShow, parsed => new NetworkParams(parsed.GetRequiredValue(label)),
            network => Describe(network).Write(session.Terminal));
        return command;
    }

    private static Command Set(Session session)
    {
        Argument<string> label = CommandTree.Label(session);
        Option<int?> mtu = CommandTree.MtuOption();
        Option<string> datapath = CommandTree.DatapathOption();
        Option<string> pif = PifOption(session, "connect this physical interface in place of the present one");
        var noPif = CommandTree.Flag("--no-pif", "disconnect the physical interface");
        Option[] changes = [mtu, datapath, pif, noPif];
        var command = new Command("set", "Change a Network; what is not named stays as it is.")
        {
            label, mtu, datapath, pif, noPif,
        };
        command.Validators.Add(parsed =>
        {
            if (parsed.GetResult(pif) is not null && parsed.GetResult(noPif) is not null)
            {
                parsed.AddError("--pif and --no-pif exclude each other");
            }
            if (Array.TrueForAll(changes, option => parsed.GetResult(option) is null))
            {
                parsed.AddError("nothing to set: name at least one option");
            }
        });
        session.Bind(command, ApiMethods.NetworkSet,
            parsed => new NetworkSetParams(
                parsed.GetRequiredValue(label), parsed.GetValue(mtu), parsed.GetValue(datapath), parsed.GetValue(pif),
                parsed.GetValue(noPif)),
            network => WarnOfBypassed(network, session.Terminal));
        return command;
    }

    private static Command Destroy(Session session)
    {
        Argument<string> label = CommandTree.Label(session);
        var command = new Command("destroy", "Remove a Network; a bridge that was there before stays.") { label };
        session.Bind(command, ApiMethods.NetworkDestroy,
            parsed => new NetworkParams(parsed.GetRequiredValue(label)), _ => { });
        return command;
    }

    private static Option<string> PifOption(Session session, string description) => new("--pif")
    {
        Description = description,
        HelpName = "DEVICE",
        CompletionSources = { context => session.Pifs(context.ParseResult) },
    };

    private static Facts Describe(NetworkInfo network)
    {
        var facts = new Facts();
        facts.Add("uuid", $"{network.Uuid}");
        facts.Add("label", network.Label);
        facts.Add("state", Cell.State(network.State));
        facts.Add("bridge", network.Bridge);
        facts.Add("bridge-ifindex", network.BridgeIfindex is { } index ? Words.Number(index) : null);
        facts.Add("bridge-adopted", Words.YesNo(network.BridgeAdopted));
        facts.Add("mtu", Words.Number(network.Mtu));
        facts.Add("datapath", network.Datapath);
        facts.Add("path", network.Path);
        facts.Add("path-reason", network.PathReason);
        facts.Add("pif", network.Pif?.Device);
        facts.Add("vlan", network.Vlan is { } vlan ? $"{vlan.Device} (tag {vlan.Tag} of {vlan.Pif})" : null);
        facts.Add("vifs", network.Vifs.Count > 0 ? string.Join(' ', network.Vifs.Select(vif => vif.Device)) : null);
        foreach (string filter in network.Bypassed)
        {
            facts.Add("bypassed", new Cell(filter, Ink.Yellow));
        }
        return facts;
    }

    // A path chosen on purpose skips these, and whoever chose it must hear so even if a script swallows stdout.
    private static void WarnOfBypassed(NetworkInfo network, Terminal terminal)
    {
        foreach (string filter in network.Bypassed)
        {
            string text = Words.Printable($"{network.Label}: frames on the fast path bypass {filter}");
            terminal.Error.WriteLine($"xfp: warning: {text}");
        }
    }
}
