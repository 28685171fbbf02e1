// The desired state on disk: one file that a person can read, replaced as a whole or not at all.
using System.Text.Json;
using System.Text.Json.Serialization;

namespace XenFastPath.Model;

/// <summary>The document in the file.</summary>
public sealed record StateDocument(int Version, HostState State);

[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true,
    RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(StateDocument))]
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
            using FileStream stream = File.OpenRead(Path);
            StateDocument document = JsonSerializer.Deserialize(stream, StateJsonContext.Default.StateDocument)
                ?? throw new StateFileException(Path, "the file holds null");
            return document.Version == Version
                ? document.State
                : throw new StateFileException(Path, $"version {document.Version}; this program reads version {Version}");
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
}
