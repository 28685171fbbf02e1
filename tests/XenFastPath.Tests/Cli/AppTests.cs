// What a transcript cannot show: endless output, a reader that goes away, the shells' questions, what is documented.
using System.CommandLine;
using System.Runtime.CompilerServices;
using XenFastPath.Api;
using XenFastPath.Cli;
using XenFastPath.Tests.Api;

namespace XenFastPath.Tests.Cli;

public sealed class AppTests
{
    private static Command Tree => CommandTree.Build(new Session(new Terminal(TextWriter.Null, TextWriter.Null)));

    [Theory]
    [InlineData(false, "TIME  vif.plugged  vif1.0  evil?[2J")]
    [InlineData(true, """{"time":"TIME","kind":"vif.plugged","object":"vif1.0","message":"evil\u001B[2J"}""")]
    public async Task Events_are_printed_one_a_line_until_the_daemon_goes(bool json, string expected)
    {
        var change = new EventInfo(DateTimeOffset.UnixEpoch, "vif.plugged", "vif1.0", "evil\e[2J");
        var server = new TestServer();
        using var output = new StringWriter();
        string[] args = ["--socket", server.SocketPath, "events", .. json ? ["--json"] : Array.Empty<string>()];
        Task<int> running = App.RunAsync(args, new Terminal(TextWriter.Synchronized(output), TextWriter.Null));
        await using (ApiClient other = await ApiClient.ConnectAsync(server.SocketPath))
        {
            while (output.GetStringBuilder().Length == 0)  // published until the subscription is there to take it
            {
                server.Daemon.Events.Publish(change);
                await other.CallAsync(ApiMethods.FdbSync, new Empty());
            }
        }
        await server.DisposeAsync();
        Assert.Equal(ExitStatus.Unreachable, await running);
        string local = change.Time.ToLocalTime().ToString("yyyy-MM-dd HH:mm:ss.fff");  // in the machine's time zone
        string time = json ? "1970-01-01T00:00:00+00:00" : local;
        Assert.Equal(expected.Replace("TIME", time, StringComparison.Ordinal), output.ToString().Split('\n')[0]);
    }

    [Fact]
    public async Task A_second_list_of_trunks_is_no_addition_to_the_first()
    {
        await using var server = new TestServer();
        string[] args = ["--socket", server.SocketPath, "vif", "set", "vif1.0", "--trunks", "100", "--trunks", "200"];
        Assert.Equal(ExitStatus.Usage, await App.RunAsync(args, new Terminal(TextWriter.Null, TextWriter.Null)));
    }

    [Fact]
    public async Task A_closed_pipe_ends_the_output_as_SIGPIPE_would()
    {
        await using var server = new TestServer();
        using var writer = new BrokenPipe();
        var terminal = new Terminal(writer, TextWriter.Null);
        Assert.Equal(141, await App.RunAsync(["--socket", server.SocketPath, "network", "list"], terminal));
    }

    [Fact]
    public async Task A_peer_without_permission_reads_why()
    {
        await using var server = new TestServer(readPeer: _ => new PeerCredentials(1, 1000, 1000, []));
        using var error = new StringWriter();
        var terminal = new Terminal(TextWriter.Null, error);
        Assert.Equal(ExitStatus.Refused, await App.RunAsync(["--socket", server.SocketPath, "plan"], terminal));
        Assert.StartsWith("xfp: permission denied: uid 1000", error.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", "network pif vlan bond vif show fdb stats plan apply confirm rollback export doctor events brctl completion")]
    [InlineData("p", "pif plan")]
    [InlineData("network|", "create list show set destroy")]
    [InlineData("network|show|", "LAN Gäste Süd")]
    [InlineData("network|show|G", "Gäste Süd")]
    [InlineData("network|show|LAN|", "--json --help")]
    [InlineData("network|set|LAN|--", "--mtu --datapath --pif --no-pif --json --help")]
    [InlineData("network|set|--mtu|1500|LAN|--", "--datapath --pif --no-pif --json --help")]
    [InlineData("network|set|LAN|--datapath|", "auto afxdp redirect bridge")]
    [InlineData("network|set|LAN|--datapath|=|a", "auto afxdp")]
    [InlineData("network|create|", "")]
    [InlineData("network|create|x|--pif|", "eth0 eth1")]
    [InlineData("network|create|x|--mtu|", "")]
    [InlineData("pif|forget|eth", "eth0 eth1")]
    [InlineData("vlan|show|", "eth0.100")]
    [InlineData("bond|destroy|", "bond0")]
    [InlineData("bond|set-mode|bond0|l", "lacp")]
    [InlineData("vif|unplug|vif2", "vif2.0")]
    [InlineData("vif|plug|vif9.0|--network|L", "LAN")]
    [InlineData("vif|set|", "vif1.0 vif2.0 vif3.0")]
    [InlineData("vif|set|vif1.0|--trunks|", "none")]
    [InlineData("vif|move|vif1.0|--network|", "LAN Gäste Süd")]
    [InlineData("fdb|list|--n", "--network")]
    [InlineData("fdb|list|--network|", "LAN Gäste Süd")]
    [InlineData("completion|", "bash zsh fish")]
    [InlineData("no|such|", "")]
    public async Task Completes(string words, string expected)
    {
        await using var server = new TestServer();
        Assert.Equal(expected, await CompleteAsync(["--socket", server.SocketPath, .. words.Split('|')]));
    }

    [Fact]
    public async Task Completes_devices_the_daemon_does_not_know_from_the_kernel()
    {
        var folder = new DirectoryInfo("/sys/class/net");
        IEnumerable<string> devices = folder.EnumerateFileSystemInfos().Select(entry => entry.Name);
        string expected = string.Join(' ', devices.Where(device => device != "lo").Order(StringComparer.Ordinal));
        foreach (string[] words in (string[][])[["pif", "introduce", ""], ["vif", "plug", ""]])
        {
            Assert.Equal(expected, await CompleteAsync(words));
        }
    }

    [Fact]
    public async Task Completes_nothing_and_says_nothing_without_a_daemon() =>
        Assert.Equal("", await CompleteAsync(["--socket", "/nonexistent/api.sock", "network", "show", ""]));

    [Theory]
    [InlineData("bash", "xfp.bash")]
    [InlineData("zsh", "_xfp")]
    [InlineData("fish", "xfp.fish")]
    public async Task Completion_prints_the_packaged_script(string shell, string file)
    {
        using var output = new StringWriter();
        Assert.Equal(0, await App.RunAsync(["completion", shell], new Terminal(output, TextWriter.Null)));
        Assert.Equal(await File.ReadAllTextAsync(Path.Combine(Packaging(), "completions", file)), output.ToString());
    }

    [Fact]
    public async Task Everything_is_described_in_the_help_and_in_the_manual()
    {
        string manual = await File.ReadAllTextAsync(Path.Combine(Packaging(), "man", "xfp.1"));
        manual = manual.Replace("Fl -", "--", StringComparison.Ordinal);
        foreach (Command command in Leaves(Tree))
        {
            Symbol[] symbols = [command, .. command.Options, .. command.Arguments];
            Assert.All(symbols, symbol => Assert.NotEmpty(symbol.Description ?? ""));
            Assert.Matches($@"Cm {HelpText.PathOf(command)["xfp ".Length..]}\b", manual);
            Assert.All(command.Options, option => Assert.Contains(option.Name, manual, StringComparison.Ordinal));
        }
    }

    private static IEnumerable<Command> Leaves(Command command) =>
        command.Subcommands.Count == 0 ? [command] : command.Subcommands.SelectMany(Leaves);

    private static async Task<string> CompleteAsync(string[] words)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var terminal = new Terminal(output, error) { Patience = TimeSpan.FromSeconds(30) };
        Assert.Equal(0, await App.RunAsync([Completer.Marker, .. words], terminal));
        Assert.Equal("", error.ToString());
        string[] lines = output.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries);
        return string.Join(' ', lines.Select(line => line.Split('\t')[0]));
    }

    private static string Packaging([CallerFilePath] string caller = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(caller)!, "../../../packaging"));

    private sealed class BrokenPipe : StringWriter
    {
        public override Task FlushAsync(CancellationToken cancellationToken) =>
            Task.FromException(new IOException("Broken pipe", 32));
    }
}
