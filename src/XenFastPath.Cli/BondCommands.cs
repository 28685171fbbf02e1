// xfp bond: several PIFs as one.
using System.CommandLine;
using XenFastPath.Api;

namespace XenFastPath.Cli;

internal static class BondCommands
{
    private const string Modes = "active-backup|balance-slb|lacp";

    public static Command Build(Session session) => new("bond", "Bonds: several PIFs as one uplink.")
    {
        Create(session),
        List(session),
        Show(session),
        SetMode(session),
        Destroy(session),
    };

    private static Command Create(Session session)
    {
        var pifs = new Option<string>("--pifs")
        {
            Description = "the members, separated by commas; the first is the primary",
            HelpName = "A,B",
            Required = true,
            CompletionSources = { context => session.Pifs(context.ParseResult) },
        };
        var mode = new Option<string>("--mode")
        {
            Description = "how the members are used",
            HelpName = Modes,
            Required = true,
            CompletionSources = { Modes.Split('|') },
        };
        Option<string> network = CommandTree.NetworkOption(session, "the Network to be its uplink", required: true);
        var mac = new Option<string>("--mac") { Description = "address of the bond; default: the primary's", HelpName = "M" };
        Option<string[]> properties = PropertyOption();
        var command = new Command("create",
            "Make a bond of PIFs; Networks, VLANs and VIFs of its members move to it. Prints the uuid.")
        {
            pifs, mode, network, mac, properties,
        };
        session.Bind(command, ApiMethods.BondCreate,
            parsed => new BondCreateParams(
                parsed.GetRequiredValue(pifs).Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries),
                parsed.GetRequiredValue(mode), parsed.GetRequiredValue(network), parsed.GetValue(mac),
                Properties(parsed.GetValue(properties))),
            bond => session.Terminal.Out.WriteLine(bond.Uuid));
        return command;
    }

    private static Command List(Session session)
    {
        var command = new Command("list", "List the bonds.");
        session.Bind(command, ApiMethods.BondList, bonds =>
        {
            var table = new Table("DEVICE", "MODE", "NETWORK", "STATE", "MAC", "MEMBERS");
            foreach (BondInfo bond in bonds)
            {
                table.Add(bond.Device, bond.Mode, bond.Network, Cell.State(bond.State), bond.Mac,
                    string.Join(' ', bond.Members.Select(m => $"{m.Device}:{m.State}")));
            }
            table.Write(session.Terminal);
        });
        return command;
    }

    private static Command Show(Session session)
    {
        Argument<string> device = Device(session);
        var command = new Command("show", "Show one bond with its members.") { device };
        session.Bind(command, ApiMethods.BondShow, parsed => new BondParams(parsed.GetRequiredValue(device)), bond =>
        {
            Describe(bond).Write(session.Terminal);
            session.Terminal.Out.WriteLine();
            Members(bond).Write(session.Terminal);
        });
        return command;
    }

    private static Command SetMode(Session session)
    {
        Argument<string> device = Device(session);
        var mode = new Argument<string>("MODE") { Description = Modes, CompletionSources = { Modes.Split('|') } };
        Option<string[]> properties = PropertyOption();
        var command = new Command("set-mode",
            "Change a bond's mode or properties. The members leave and come back: no frame passes meanwhile.")
        {
            device, mode, properties,
        };
        session.Bind(command, ApiMethods.BondSetMode,
            parsed => new BondSetModeParams(
                parsed.GetRequiredValue(device), parsed.GetRequiredValue(mode), Properties(parsed.GetValue(properties))),
            _ => { });
        return command;
    }

    private static Command Destroy(Session session)
    {
        Argument<string> device = Device(session);
        var command = new Command("destroy", "Remove a bond; its Network and VLANs go to the primary.") { device };
        session.Bind(command, ApiMethods.BondDestroy, parsed => new BondParams(parsed.GetRequiredValue(device)), _ => { });
        return command;
    }

    private static Option<string[]> PropertyOption()
    {
        var option = new Option<string[]>("--property")
        {
            Description = "XenServer's name and a value, e.g. updelay=0; may be given several times",
            HelpName = "k=v",
            AllowMultipleArgumentsPerToken = false,
            CompletionSources =
            {
                "miimon=", "updelay=", "downdelay=", "use_carrier=", "hashing_algorithm=", "rebalance-interval=",
                "lacp-time=", "lacp-aggregation-key=", "lacp-fallback-ab=",
            },
        };
        option.Validators.Add(parsed =>
        {
            foreach (string text in parsed.Tokens.Select(t => t.Value).Where(t => t.IndexOf('=') < 1))
            {
                parsed.AddError($"--property takes k=v, not '{text}'");
            }
        });
        return option;
    }

    private static Dictionary<string, string>? Properties(string[]? words)
    {
        if (words is null or [])
        {
            return null;
        }
        var properties = new Dictionary<string, string>();
        foreach (string word in words)
        {
            int equals = word.IndexOf('=');
            properties[word[..equals]] = word[(equals + 1)..];
        }
        return properties;
    }

    private static Argument<string> Device(Session session) => new("DEVICE")
    {
        Description = "the bond: its device or uuid",
        CompletionSources = { context => session.Bonds(context.ParseResult) },
    };

    private static Table Members(BondInfo bond)
    {
        bool hasShares = bond.Counters is not null;
        var table = new Table(["MEMBER", "STATE", "CARRIER", ">SPEED", ">FAILURES", .. hasShares ? [">BUCKETS", ">LOAD"] : Array.Empty<string>(), ""]);
        foreach (BondMemberInfo member in bond.Members)
        {
            Cell[] share = !hasShares ? [] : member.Share is { } carries
                ? [$"{carries.Buckets}/{carries.BucketsTotal}", $"{Words.Count(carries.LoadBytes)}B"] : [Words.None, Words.None];
            table.Add([member.Device, Cell.State(member.State), Words.YesNo(member.Carrier), Words.Speed(member.SpeedMbps),
                Words.Number(member.LinkFailures), .. share, member.Primary ? "primary" : ""]);
        }
        return table;
    }

    private static Facts Describe(BondInfo bond)
    {
        var facts = new Facts();
        facts.Add("uuid", $"{bond.Uuid}");
        facts.Add("device", bond.Device);
        facts.Add("ifindex", bond.Ifindex is { } index ? Words.Number(index) : null);
        facts.Add("mode", bond.Mode);
        facts.Add("network", bond.Network);
        facts.Add("state", Cell.State(bond.State));
        facts.Add("mac", bond.Mac);
        if (bond.Mode == "lacp")
        {
            facts.Add("partner", bond.LacpPartner ?? Words.None);
        }
        foreach ((string key, string value) in bond.Properties)
        {
            facts.Add(key, value);
        }
        foreach ((string name, long value) in bond.Counters ?? new Dictionary<string, long>())
        {
            facts.Add(name.Replace('_', '-'), Words.Number(value));
        }
        return facts;
    }
}
