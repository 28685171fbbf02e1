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
        ReconfigureIp(session),
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

    private static Command ReconfigureIp(Session session)
    {
        Argument<string> device = Device(session);
        Option<string> mode = Mode("--mode", "where its IPv4 address comes from", "none", "static", "dhcp");
        Option<string> ip = Text("--ip", "ADDRESS/PREFIX", "the IPv4 address"), gateway = Text("--gateway", "ADDRESS", "the IPv4 default gateway");
        Option<string> dns = Text("--dns", "ADDRESS,...", "DNS servers, IPv4 or IPv6"), domain = Text("--domain", "NAME", "domain to look names up in");
        Option<string> mode6 = Mode("--ipv6-mode", "where its IPv6 addresses come from", "none", "static", "autoconf", "dhcp");
        Option<string> ipv6 = Text("--ipv6", "ADDRESS/PREFIX", "the IPv6 address"), gateway6 = Text("--gateway6", "ADDRESS", "the IPv6 default gateway");
        var route = new Option<string[]>("--route") { Description = "a route besides the default one; may be repeated", HelpName = "SUBNET=GATEWAY" };
        var command = new Command("reconfigure-ip", "Set this host's own addresses on a PIF; they are on its Network's bridge.")
        {
            device, mode, ip, gateway, dns, domain, mode6, ipv6, gateway6, route,
        };
        session.Bind(command, ApiMethods.PifReconfigureIp,
            parsed => new PifReconfigureIpParams(
                parsed.GetRequiredValue(device), parsed.GetValue(mode), parsed.GetValue(ip), parsed.GetValue(gateway), List(parsed.GetValue(dns)),
                parsed.GetValue(domain), parsed.GetValue(mode6), parsed.GetValue(ipv6), parsed.GetValue(gateway6),
                parsed.GetValue(route) is { Length: > 0 } routes ? routes : null),
            _ => { });
        return command;

        static string[]? List(string? text) => text?.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);

        static Option<string> Text(string name, string help, string description) => new(name) { Description = description, HelpName = help };

        // The daemon decides which values it takes; these are offered to the shell.
        static Option<string> Mode(string name, string description, params string[] words)
        {
            var option = new Option<string>(name) { Description = description, HelpName = string.Join('|', words) };
            option.CompletionSources.Add(words);
            return option;
        }
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
        foreach (string address in pif.Addresses)
            facts.Add("address", address);
        Describe(pif.Ip, facts);
        facts.Add("bond", pif.Bond);
        facts.Add("vlans", pif.Vlans is { } vlans ? string.Join(' ', vlans) : null);
        if (pif.Abilities is { } abilities)
        {
            facts.Add("queues", $"{abilities.RxQueues} rx, {abilities.TxQueues} tx");
            facts.Add("xdp", abilities.Xdp is { } xdp ? string.Join(' ', xdp) : "unknown (kernel < 6.3)");
            facts.Add("zero-copy-segments", abilities.ZeroCopySegmentsMax is { } segments ? Words.Number(segments) : null);
            facts.Add("xsk", abilities.Xsk.Count > 0 ? string.Join(' ', abilities.Xsk) : null);
            facts.Add("promiscuity", Words.Number(abilities.Promiscuity));
        }
        PortText.Describe(pif.Path, pif.Counters, facts, terminal);
        return facts;
    }

    private static void Describe(PifIpInfo? ip, Facts facts)
    {
        if (ip is null)
            return;
        facts.Add("ipv4-mode", ip.Ipv4Mode);
        facts.Add("ipv4", ip.Ipv4);
        facts.Add("ipv4-gateway", ip.Ipv4Gateway);
        facts.Add("ipv6-mode", ip.Ipv6Mode);
        facts.Add("ipv6", ip.Ipv6);
        facts.Add("ipv6-gateway", ip.Ipv6Gateway);
        facts.Add("dns", ip.Dns.Count > 0 ? string.Join(", ", ip.Dns) : null);
        facts.Add("domain", ip.Domain);
        foreach (string route in ip.Routes)
            facts.Add("route", route);
    }
}
