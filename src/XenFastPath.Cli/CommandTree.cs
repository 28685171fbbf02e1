// All words of xfp. The tree is also what --help and the shells' completion are made from.
using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using System.Globalization;
using System.Reflection;

namespace XenFastPath.Cli;

internal static class CommandTree
{
    public static Command Build(Session session)
    {
        var help = new HelpOption("--help", "-h") { Description = "show this help" };
        help.Action = new HelpAction(session.Terminal);
        Option<bool> version = Flag("--version", "show the version of xfp");
        version.Action = new VersionAction(session.Terminal);
        const string description =
            "Virtual switches of a Xen dom0 on the XenFastPath data path: xfp tells xenfastpathd what to do " +
            "and shows what it does.";
        return new Command("xfp", description)
        {
            session.Socket,
            session.Json,
            help,
            version,
            NetworkCommands.Build(session),
            PifCommands.Build(session),
            VlanCommands.Build(session),
            BondCommands.Build(session),
            VifCommands.Build(session),
            StateCommands.Show(session),
            StateCommands.Fdb(session),
            StatsCommand.Build(session),
            DeclareCommands.Plan(session),
            DeclareCommands.Apply(session),
            DeclareCommands.Confirm(session),
            DeclareCommands.Rollback(session),
            DeclareCommands.Export(session),
            StateCommands.Doctor(session),
            EventsCommand.Build(session),
            BrctlCommand.Build(session),
            CompletionCommand.Build(session),
        };
    }

    /// <summary>An option without a value: the word after it is never taken for one.</summary>
    public static Option<bool> Flag(string name, string description) => new(name)
    {
        Description = description,
        Arity = ArgumentArity.Zero,
    };

    public static Argument<string> Label(Session session) => new("LABEL")
    {
        Description = "the Network: its label, uuid or bridge",
        CompletionSources = { context => session.Labels(context.ParseResult) },
    };

    /// <summary>A network device the daemon may not know yet.</summary>
    public static Argument<string> KernelDevice(string description) => new("DEVICE")
    {
        Description = description,
        CompletionSources = { _ => KernelDevices.All() },
    };

    public static Option<string> NetworkOption(Session session, string description, bool required) => new("--network")
    {
        Description = description,
        HelpName = "LABEL",
        Required = required,
        CompletionSources = { context => session.Labels(context.ParseResult) },
    };

    public static Option<int?> MtuOption() => WholeNumber("--mtu", "N", "largest packet in bytes, without the Ethernet header");

    public static Option<int?> WholeNumber(string name, string value, string description) => new(name)
    {
        Description = description,
        HelpName = value,
        CustomParser = parsed =>
        {
            string text = parsed.Tokens[0].Value;
            if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number))
            {
                return number;
            }
            parsed.AddError($"{name} takes a whole number, not '{text}'");
            return null;
        },
    };

    /// <summary>The daemon decides which values it takes; these are offered to the shell.</summary>
    public static Option<string> DatapathOption() => new("--datapath")
    {
        Description = "how frames are forwarded; auto leaves it to the daemon",
        HelpName = "auto|afxdp|redirect|bridge",
        CompletionSources = { "auto", "afxdp", "redirect", "bridge" },
    };

    private sealed class HelpAction(Terminal terminal) : SynchronousCommandLineAction
    {
        public override bool ClearsParseErrors => true;

        public override int Invoke(ParseResult parseResult)
        {
            HelpText.Write(parseResult.CommandResult.Command, terminal);
            return ExitStatus.Done;
        }
    }

    private sealed class VersionAction(Terminal terminal) : SynchronousCommandLineAction
    {
        public override bool ClearsParseErrors => true;

        public override int Invoke(ParseResult parseResult)
        {
            var version = typeof(App).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!;
            terminal.Out.WriteLine($"xfp {version.InformationalVersion.Split('+')[0]}");
            return ExitStatus.Done;
        }
    }
}
