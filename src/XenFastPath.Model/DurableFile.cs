// A small file that is there as a whole or not at all, whatever happens to the machine meanwhile.
namespace XenFastPath.Model;

/// <summary>
/// Replaces and removes one file in a folder. <paramref name="syncDirectory"/> makes a rename in a folder durable (fsync on the
/// folder, which the framework does not offer).
/// </summary>
internal sealed class DurableFile(string directory, string name, Action<string> syncDirectory)
{
    /// <summary>Full name of the file.</summary>
    public string Path { get; } = System.IO.Path.Combine(directory, name);

    /// <summary>
    /// Writes the file so that after a crash at any moment it is either the old one or the new one: a temporary file, fsync,
    /// rename, fsync of the folder.
    /// </summary>
    public void Write(Action<Stream> write)
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
            write(stream);
            stream.Flush(flushToDisk: true);
        }

        File.Move(temporary, Path, overwrite: true);
        syncDirectory(directory);
    }

    /// <summary>Removes the file; after a crash it does not come back.</summary>
    public void Delete()
    {
        File.Delete(Path);
        syncDirectory(directory);
    }
}
