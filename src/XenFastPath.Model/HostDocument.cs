// The whole desired state as a document for people: objects are named by label and device, so that it means the same elsewhere.
using System.Collections.Immutable;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace XenFastPath.Model;

/// <summary>
/// What <c>xfp export</c> writes and <c>xfp apply</c> reads. A list that is absent is empty, but <see cref="Vifs"/>: without that
/// list guests' interfaces stay as they are, for they come and go with their guests and no file can know them.
/// </summary>
public sealed record HostDocument(
    int Version = HostDocument.VersionNow,
    ImmutableArray<DocumentNetwork> Networks = default, ImmutableArray<DocumentPif> Pifs = default, ImmutableArray<DocumentVlan> Vlans = default,
    ImmutableArray<DocumentBond> Bonds = default, ImmutableArray<DocumentVif>? Vifs = null)
{
    public const int VersionNow = 1;

    /// <summary>What refusals call a document as a whole.</summary>
    internal const string Subject = "document";

    /// <summary>Names stay as people write them: the text never reaches HTML.</summary>
    private static readonly DocumentJsonContext s_json = new(new JsonSerializerOptions(DocumentJsonContext.Default.Options)
    {
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    });

    /// <summary>Where the elements of its lists begin, for refusals; empty if it was not read from text.</summary>
    [JsonIgnore]
    public DocumentLines Lines { get; private init; } = DocumentLines.None;

    /// <summary>The document of a state; the same state gives the same document, in whatever order it was built.</summary>
    public static HostDocument Of(HostState state)
    {
        string Label(Guid network) => state.NetworkOf(network).Label;
        string Device(Guid pif) => state.Pifs.First(p => p.Uuid == pif).Device;
        return new HostDocument(
            Networks:
            [
                .. state.Networks.OrderBy(n => n.Label, StringComparer.Ordinal)
                    .Select(n => new DocumentNetwork(n.Label, n.Bridge, n.Mtu, Rules.Word(n.Datapath))),
            ],
            Pifs:
            [
                .. state.Pifs.OrderBy(p => p.Device, StringComparer.Ordinal)
                    .Select(p => DocumentPif.Of(p, p.Network is { } network ? Label(network) : null)),
            ],
            Vlans:
            [
                .. state.Vlans.Select(v => new DocumentVlan(Device(v.Pif), v.Tag, Label(v.Network), v.Device))
                    .OrderBy(v => v.Pif, StringComparer.Ordinal).ThenBy(v => v.Tag),
            ],
            Bonds: [.. state.Bonds.OrderBy(b => b.Device, StringComparer.Ordinal).Select(b => DocumentBond.Of(b, [.. b.Members.Select(Device)]))],
            Vifs: [.. state.Vifs.OrderBy(v => v.Device, StringComparer.Ordinal).Select(v => DocumentVif.Of(v, Label(v.Network)))]);
    }

    /// <summary>The document as text: JSON, one member a line, a line feed at the end.</summary>
    public string ToText() => JsonSerializer.Serialize(this, s_json.HostDocument) + "\n";

    /// <summary>Reads a document. Comments (// and /* */) and a comma after the last element are allowed: people write it.</summary>
    /// <exception cref="RefusalException">It is no such document; the reason names line and member.</exception>
    public static HostDocument Parse(string text)
    {
        try
        {
            HostDocument document = JsonSerializer.Deserialize(text, s_json.HostDocument)
                ?? throw new RefusalException(Subject, "holds null");
            if (document.Version != VersionNow)
                throw new RefusalException(Subject, $"version {document.Version}; this program reads version {VersionNow}");
            return document with
            {
                Networks = Given(document.Networks),
                Pifs = Given(document.Pifs),
                Vlans = Given(document.Vlans),
                Bonds = Given(document.Bonds),
                Lines = DocumentLines.Of(Encoding.UTF8.GetBytes(text)),
            };
        }
        catch (JsonException e)
        {
            string member = e.Path is { Length: > 2 } path ? $", {path[2..]}" : "";
            throw new RefusalException(Subject, $"line {e.LineNumber + 1}{member}: {WithoutPosition(e.Message)}");
        }
    }

    private static ImmutableArray<T> Given<T>(ImmutableArray<T> list) => list.IsDefault ? [] : list;

    private static string WithoutPosition(string message)
    {
        int tail = message.IndexOf(" Path: ", StringComparison.Ordinal);
        tail = tail < 0 ? message.IndexOf(" LineNumber: ", StringComparison.Ordinal) : tail;
        return (tail < 0 ? message : message[..tail]).TrimEnd('.');
    }
}

/// <summary>A Network. Bridge and MTU that are not given are what <c>network create</c> would take, or stay as they are.</summary>
public sealed record DocumentNetwork(string Label, string? Bridge = null, int? Mtu = null, string? Datapath = null);

/// <summary>
/// A PIF: the device with this address and bus path if they are given, else the one of this name. That of a bond bears the
/// bond's name.
/// </summary>
/// <param name="Device">Its name; the document's other lists refer to it by this.</param>
/// <param name="Mac">Permanent MAC of a real device.</param>
/// <param name="BusPath">Its place on its bus.</param>
/// <param name="Network">The Network it is the uplink of.</param>
/// <param name="Plugged">Is it to be connected? Not given: yes.</param>
/// <param name="Ip">This host's addresses on it. Not given: as they are.</param>
public sealed record DocumentPif(string Device, string? Mac = null, string? BusPath = null, string? Network = null, bool? Plugged = null,
    DocumentIp? Ip = null)
{
    internal static DocumentPif Of(Pif pif, string? network)
    {
        // The address of a software device is no key: another one has it elsewhere, and after the next reboot.
        bool hasKey = pif is { Binding: null, Bond: null };
        return new DocumentPif(pif.Device, hasKey ? pif.Mac : null, hasKey ? pif.BusPath : null, network,
            network is not null && !pif.IsPlugged ? false : null, DocumentIp.Of(pif.Ip));
    }
}

/// <summary>A VLAN: <paramref name="Tag"/> on <paramref name="Pif"/> is the uplink of <paramref name="Network"/>.</summary>
public sealed record DocumentVlan(string Pif, int Tag, string Network, string? Device = null);

/// <summary>A bond of PIFs; the first is the primary. Properties in XenServer's words; those that are not given are its defaults.</summary>
public sealed record DocumentBond(
    string Device, ImmutableArray<string> Members, string Mode, string? Mac = null, IReadOnlyDictionary<string, string>? Properties = null)
{
    internal static DocumentBond Of(Bond bond, ImmutableArray<string> members) =>
        new(bond.Device, members, BondWords.Word(bond.Mode), bond.Mac, BondWords.All(bond.Mode, bond.Properties));
}

/// <summary>A guest's interface: the device of this name, as it is when the document is applied. Trunks that are not given are none.</summary>
public sealed record DocumentVif(string Device, string Network, string? Mac = null, ImmutableArray<int>? Trunks = null)
{
    internal static DocumentVif Of(Vif vif, string network) =>
        new(vif.Device, network, vif.Mac, vif.Trunks is { } trunks ? [.. trunks.Tags.ToArray().Select(t => (int)t)] : null);
}

[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, ReadCommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true,
    AllowDuplicateProperties = false)]
[JsonSerializable(typeof(HostDocument))]
internal sealed partial class DocumentJsonContext : JsonSerializerContext;
