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

/// <summary>
/// Reads and writes <c>STATE_DIR/state.json</c>. <paramref name="syncDirectory"/> makes a rename in a folder durable (fsync on the
/// folder, which the framework does not offer).
/// </summary>
public sealed class StateFile(string directory, Action<string> syncDirectory)
{
    private const int Version = 1;

    /// <summary>Full name of the file.</summary>
    public string Path { get; } = System.IO.Path.Combine(directory, "state.json");

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
            HostState state = JsonSerializer.Deserialize(text, StateJsonContext.Default.StateDocument)!.State;
            CheckReferences(state);
            return state;
        }
        catch (JsonException e)
        {
            throw new StateFileException(Path, e.Message + " Mend the file, or move it away to start with nothing.");
        }
    }

    /// <summary>
    /// Writes the state so that after a crash at any moment the file is either the old one or the new one: a temporary file,
    /// fsync, rename, fsync of the folder.
    /// </summary>
    public void Save(HostState state)
    {
        Directory.CreateDirectory(directory);
        string temporary = Path + ".new";
        FileStreamOptions options = new()
        {
            Mode = FileMode.Create,
            Access = FileAccess.Write,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead,
        };
        using (FileStream stream = new(temporary, options))
        {
            JsonSerializer.Serialize(stream, new StateDocument(Version, state), StateJsonContext.Default.StateDocument);
            stream.Flush(flushToDisk: true);
        }

        File.Move(temporary, Path, overwrite: true);
        syncDirectory(directory);
    }

    /// <summary>People edit the file: each PIF and VIF must name a Network that is there.</summary>
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
