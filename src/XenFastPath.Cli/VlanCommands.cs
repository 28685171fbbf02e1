// xfp vlan: tags of a PIF, each the uplink of a Network of its own.
using System.CommandLine;
using System.Globalization;
using XenFastPath.Api;

namespace XenFastPath.Cli;

internal static class VlanCommands
{
    public static Command Build(Session session) =>
        new("vlan", "VLANs: tags of a PIF, each the uplink of a Network of its own; guests see no tag.")
    {
        Create(session),
        List(session),
        Show(session),
        Destroy(session),
    };

    private static Command Create(Session session)
    {
        var pif = new Option<string>("--pif")
        {
            Description = "the PIF (or bond) that carries the tagged frames",
            HelpName = "DEVICE",
            Required = true,
            CompletionSources = { context => session.Pifs(context.ParseResult) },
        };
        var tag = new Option<int>("--tag")
        {
            Description = "the VLAN identifier, 1 to 4094",
            HelpName = "N",
            Required = true,
            CustomParser = parsed =>
            {
                string text = parsed.Tokens[0].Value;
                if (!int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number))
                {
                    parsed.AddError($"--tag takes a whole number, not '{text}'");
                }
                return number;
            },
        };
        Option<string> network = CommandTree.NetworkOption(session, "the Network to be its uplink", required: true);
        var command = new Command("create", "Make a tag of a PIF the uplink of a Network; prints the uuid.")
        {
            pif, tag, network,
        };
        session.Bind(command, ApiMethods.VlanCreate,
            parsed => new VlanCreateParams(
                parsed.GetRequiredValue(pif), parsed.GetRequiredValue(tag), parsed.GetRequiredValue(network)),
            vlan => session.Terminal.Out.WriteLine(vlan.Uuid));
        return command;
    }

    private static Command List(Session session)
    {
        var command = new Command("list", "List the VLANs.");
        session.Bind(command, ApiMethods.VlanList, vlans =>
        {
            var table = new Table("DEVICE", "PIF", ">TAG", "NETWORK", "STATE", ">MTU", "PATH");
            foreach (VlanInfo vlan in vlans)
            {
                table.Add(vlan.Device, vlan.Pif, Words.Number(vlan.Tag), vlan.Network, Cell.State(vlan.State),
                    Words.Number(vlan.Mtu), PortText.Path(vlan.Path, session.Terminal));
            }
            table.Write(session.Terminal);
        });
        return command;
    }

    private static Command Show(Session session)
    {
        Argument<string> device = Device(session);
        var command = new Command("show", "Show one VLAN.") { device };
        session.Bind(command, ApiMethods.VlanShow, parsed => new VlanParams(parsed.GetRequiredValue(device)),
            vlan => Describe(vlan, session.Terminal).Write(session.Terminal));
        return command;
    }

    private static Command Destroy(Session session)
    {
        Argument<string> device = Device(session);
        var command = new Command("destroy", "Remove a VLAN; its Network stays, without an uplink.") { device };
        session.Bind(command, ApiMethods.VlanDestroy, parsed => new VlanParams(parsed.GetRequiredValue(device)), _ => { });
        return command;
    }

    private static Argument<string> Device(Session session) => new("DEVICE")
    {
        Description = "the VLAN: its device, PIF.TAG or uuid",
        CompletionSources = { context => session.Vlans(context.ParseResult) },
    };

    private static Facts Describe(VlanInfo vlan, Terminal terminal)
    {
        var facts = new Facts();
        facts.Add("uuid", $"{vlan.Uuid}");
        facts.Add("device", vlan.Device);
        facts.Add("ifindex", vlan.Ifindex is { } index ? Words.Number(index) : null);
        facts.Add("pif", vlan.Pif);
        facts.Add("tag", Words.Number(vlan.Tag));
        facts.Add("network", vlan.Network);
        facts.Add("state", Cell.State(vlan.State));
        facts.Add("carrier", Words.YesNo(vlan.Carrier));
        facts.Add("mtu", Words.Number(vlan.Mtu));
        PortText.Describe(vlan.Path, vlan.Counters, facts, terminal);
        return facts;
    }
}
