// The desired state on disk: one file that a person can read, replaced as a whole or not at all.
using System.Text.Json;
using System.Text.Json.Serialization;

namespace XenFastPath.Model;

/// <summary>The document in the file.</summary>
public sealed record StateDocument(int Version, HostState State);

/// <summary>What a document of any version has.</summary>
internal sealed record StateVersion(int Version);

[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true,
    RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(StateDocument))]
[JsonSerializable(typeof(StateVersion))]
internal sealed partial class StateJsonContext : JsonSerializerContext;

/// <summary>The state file could not be read. The daemon does not start: guessing would undo what somebody wanted.</summary>
public sealed class StateFileException(string path, string reason) : Exception($"{path}: {reason}");

/// <summary>Reads and writes <c>STATE_DIR/state.json</c>; <paramref name="syncDirectory"/> as <see cref="DurableFile"/> takes it.</summary>
public sealed class StateFile(string directory, Action<string> syncDirectory)
{
    private const int Version = 1;

    private readonly DurableFile _file = new(directory, "state.json", syncDirectory);

    /// <summary>Full name of the file.</summary>
    public string Path => _file.Path;

    /// <summary>Reads the state; a host without the file wants nothing.</summary>
    /// <exception cref="StateFileException">The file is damaged or of another version.</exception>
    public HostState Load()
    {
        if (!File.Exists(Path))
            return HostState.Empty;
        try
        {
            byte[] text = File.ReadAllBytes(Path);
            // The version first: a state of another version may look different.
            StateVersion version = JsonSerializer.Deserialize(text, StateJsonContext.Default.StateVersion)
                ?? throw new StateFileException(Path, "the file holds null");
            if (version.Version != Version)
                throw new StateFileException(Path, $"version {version.Version}; this program reads version {Version}");
            HostState state = JsonSerializer.Deserialize(text, StateJsonContext.Default.StateDocument)!.State.Whole();
            CheckUuids(state);
            CheckReferences(state);
            return state;
        }
        catch (JsonException e)
        {
            throw new StateFileException(Path, e.Message + " Mend the file, or move it away to start with nothing.");
        }
    }

    /// <summary>Writes the state so that after a crash at any moment the file is either the old one or the new one.</summary>
    public void Save(HostState state) => _file.Write(stream =>
        JsonSerializer.Serialize(stream, new StateDocument(Version, state), StateJsonContext.Default.StateDocument));

    /// <summary>People edit the file: an object that was copied needs a uuid of its own.</summary>
    private void CheckUuids(HostState state)
    {
        IEnumerable<(Guid Uuid, string Name)> all =
        [
            .. state.Networks.Select(n => (n.Uuid, $"network {n.Label}")), .. state.Pifs.Select(p => (p.Uuid, $"pif {p.Device}")),
            .. state.Bonds.Select(b => (b.Uuid, $"bond {b.Device}")), .. state.Vlans.Select(v => (v.Uuid, $"vlan {v.Device}")),
            .. state.Vifs.Select(v => (v.Uuid, $"vif {v.Device}")),
        ];
        if (all.GroupBy(o => o.Uuid, o => o.Name).FirstOrDefault(g => g.Count() > 1) is { } same)
            throw new StateFileException(Path, $"{string.Join(" and ", same)} have the same uuid {same.Key}. Give each its own, or remove all but one.");
    }

    /// <summary>Each PIF and VIF must name a Network that is there.</summary>
    private void CheckReferences(HostState state)
    {
        HashSet<Guid> networks = [.. state.Networks.Select(n => n.Uuid)];
        foreach ((string device, Guid? network) in state.Pifs.Select(p => (p.Device, p.Network)).Concat(state.Vifs.Select(v => (v.Device, (Guid?)v.Network))))
        {
            if (network is { } uuid && !networks.Contains(uuid))
                throw new StateFileException(Path, $"{device} is of network {uuid}, which is not in the file.");
        }
    }
}
