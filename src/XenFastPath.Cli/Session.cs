// One run of xfp: the options every command has, and the way from parsed words over the socket to printed text.
using System.CommandLine;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using XenFastPath.Api;

namespace XenFastPath.Cli;

internal sealed class Session(Terminal terminal)
{
    private const string SocketVariable = "XFP_SOCKET";

    public Terminal Terminal { get; } = terminal;

    public Option<string> Socket { get; } = new("--socket")
    {
        Description = $"the daemon's socket; default: ${SocketVariable} or {ApiClient.DefaultSocketPath}",
        HelpName = "PATH",
        Recursive = true,
        DefaultValueFactory = _ => Terminal.Variable(SocketVariable) ?? ApiClient.DefaultSocketPath,
    };

    public Option<bool> Json { get; } = new("--json")
    {
        Description = "print the daemon's answer as JSON",
        Recursive = true,
        Arity = ArgumentArity.Zero,
    };

    public Task<ApiClient> ConnectAsync(ParseResult parsed, CancellationToken cancellationToken) =>
        ApiClient.ConnectAsync(parsed.GetRequiredValue(Socket), cancellationToken);

    /// <summary>Makes a command call a method: words to parameters, result to text.</summary>
    public void Bind<TParams, TResult>(
        Command command, ApiMethod<TParams, TResult> method, Func<ParseResult, TParams> parameters,
        Action<TResult> print)
    {
        command.SetAction(async (parsed, cancellationToken) =>
        {
            await using ApiClient client = await ConnectAsync(parsed, cancellationToken);
            if (parsed.GetValue(Json))
            {
                PrintJson(await client.CallRawAsync(method, parameters(parsed), cancellationToken));
            }
            else
            {
                print(await client.CallAsync(method, parameters(parsed), cancellationToken));
            }
            return ExitStatus.Done;
        });
    }

    /// <summary>For a method that takes nothing.</summary>
    public void Bind<TResult>(Command command, ApiMethod<Empty, TResult> method, Action<TResult> print) =>
        Bind(command, method, _ => new Empty(), print);

    /// <summary>Prints what the daemon sent: indented for a reader, as one line for a program.</summary>
    public void PrintJson(ReadOnlyMemory<byte> json)
    {
        if (!Terminal.IsInteractive)
        {
            Terminal.Out.WriteLine(Encoding.UTF8.GetString(json.Span));
            return;
        }
        var options = new JsonWriterOptions { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
        using var text = new MemoryStream();
        using (JsonDocument document = JsonDocument.Parse(json))
        using (var writer = new Utf8JsonWriter(text, options))
        {
            document.WriteTo(writer);
        }
        Terminal.Out.WriteLine(Encoding.UTF8.GetString(text.GetBuffer().AsSpan(0, (int)text.Length)));
    }

    // What the shells complete with: the daemon is asked quickly or not at all.

    public IEnumerable<string> Labels(ParseResult parsed) => Ask(parsed, ApiMethods.NetworkList, n => n.Label);

    public IEnumerable<string> Pifs(ParseResult parsed) => Ask(parsed, ApiMethods.PifList, pif => pif.Device);

    public IEnumerable<string> Vlans(ParseResult parsed) => Ask(parsed, ApiMethods.VlanList, vlan => vlan.Device);

    public IEnumerable<string> Bonds(ParseResult parsed) => Ask(parsed, ApiMethods.BondList, bond => bond.Device);

    public IEnumerable<string> Vifs(ParseResult parsed) => Ask(parsed, ApiMethods.VifList, vif => vif.Device);

    private IEnumerable<string> Ask<TResult>(
        ParseResult parsed, ApiMethod<Empty, IReadOnlyList<TResult>> method, Func<TResult, string> name)
    {
        try
        {
            return AskAsync(parsed, method, name).GetAwaiter().GetResult();
        }
        catch (Exception e) when (e is DaemonUnreachableException or ApiErrorException or OperationCanceledException)
        {
            return [];
        }
    }

    private async Task<IEnumerable<string>> AskAsync<TResult>(
        ParseResult parsed, ApiMethod<Empty, IReadOnlyList<TResult>> method, Func<TResult, string> name)
    {
        using var patience = new CancellationTokenSource(Terminal.Patience);
        await using ApiClient client = await ConnectAsync(parsed, patience.Token);
        return (await client.CallAsync(method, new Empty(), patience.Token)).Select(name);
    }
}
