// What was wanted before a change that waits for its confirmation, and until when it waits: STATE_DIR/rollback.json.
using System.Collections.Immutable;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace XenFastPath.Model;

/// <summary>What a device was before a change that takes it into a Network: a rollback makes it that again.</summary>
/// <param name="Ifindex">Which device; it holds for the boot of the <see cref="Rollback"/>.</param>
/// <param name="WasInBridge">It had a master.</param>
/// <param name="Mtu">Bytes.</param>
/// <param name="WasUp">Somebody wanted it up.</param>
/// <param name="HadLinkLocal">The kernel made IPv6 link-local addresses on it.</param>
/// <param name="HadAddresses">It carried addresses of this host.</param>
public sealed record DeviceBefore(int Ifindex, bool WasInBridge, int Mtu, bool WasUp, bool HadLinkLocal, bool HadAddresses = false);

/// <summary>A change that is undone unless somebody confirms it.</summary>
/// <param name="BootId">/proc/sys/kernel/random/boot_id: a deadline means nothing to another boot.</param>
/// <param name="DeadlineNs">CLOCK_BOOTTIME, which goes on in suspend and is nobody's to set; nanoseconds.</param>
/// <param name="Previous">What was wanted before.</param>
/// <param name="Plugged">The VIFs that the change plugs. Others that came later stay when it is undone: their guests know of nothing.</param>
/// <param name="Devices">Devices that the change takes into Networks, as they were.</param>
public sealed record Rollback(
    string BootId, long DeadlineNs, HostState Previous, ImmutableArray<Guid> Plugged, ImmutableArray<DeviceBefore> Devices)
{
    public const int SecondsMin = 1, SecondsMax = 24 * 60 * 60;

    private const long NsPerSecond = 1_000_000_000;

    /// <summary>The moment that many seconds after another, CLOCK_BOOTTIME ns.</summary>
    /// <exception cref="RefusalException">Too few or too many seconds.</exception>
    public static long Deadline(long nowNs, int seconds) => seconds is >= SecondsMin and <= SecondsMax
        ? nowNs + (seconds * NsPerSecond)
        : throw new RefusalException("confirm", $"{seconds} seconds are out of range {SecondsMin}..{SecondsMax}");

    /// <summary>Is the time over? After a reboot it is: who should have confirmed has lost the machine.</summary>
    public bool IsDue(string bootId, long nowNs) => bootId != BootId || nowNs >= DeadlineNs;

    /// <summary>Seconds until then, rounded up: 0 only when it is due.</summary>
    public int SecondsLeft(string bootId, long nowNs) =>
        IsDue(bootId, nowNs) ? 0 : (int)Math.Min(int.MaxValue, (DeadlineNs - nowNs + NsPerSecond - 1) / NsPerSecond);

    /// <summary>What is wanted when <paramref name="now"/> is undone: the previous state, and the VIFs that came since.</summary>
    public HostState Undone(HostState now)
    {
        IEnumerable<Vif> since = now.Vifs.Where(v => !Plugged.Contains(v.Uuid)
            && Previous.Vifs.All(p => p.Uuid != v.Uuid && p.Binding != v.Binding) && Previous.Networks.Any(n => n.Uuid == v.Network));
        return Previous.After(now) with { Vifs = [.. Previous.Vifs, .. since], TagsKept = now.TagsKept };
    }
}

/// <summary>The document in the file.</summary>
internal sealed record RollbackDocument(int Version, Rollback Rollback);

[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true,
    RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(RollbackDocument))]
internal sealed partial class RollbackJsonContext : JsonSerializerContext;

/// <summary>Reads, writes and removes <c>STATE_DIR/rollback.json</c>; see <see cref="StateFile"/>.</summary>
public sealed class RollbackFile(string directory, Action<string> syncDirectory)
{
    public const string Name = "rollback.json";

    private const int Version = 1;

    private readonly DurableFile _file = new(directory, Name, syncDirectory);

    /// <summary>Full name of the file.</summary>
    public string Path => _file.Path;

    /// <summary>The change that waits; null if none does.</summary>
    /// <exception cref="StateFileException">The file is damaged or of another version.</exception>
    public Rollback? Load()
    {
        try
        {
            byte[] text = File.ReadAllBytes(Path);
            RollbackDocument? document = JsonSerializer.Deserialize(text, RollbackJsonContext.Default.RollbackDocument);
            if (document is not { Version: Version })
                throw new StateFileException(Path, $"version {document?.Version}; this program reads version {Version}");
            return document.Rollback with { Previous = document.Rollback.Previous.Whole() };
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (JsonException e)
        {
            throw new StateFileException(Path, e.Message + " Move it away to keep what is wanted now.");
        }
    }

    /// <summary>Writes the file; it is safe on the disk when this returns.</summary>
    public void Save(Rollback rollback) => _file.Write(stream =>
        JsonSerializer.Serialize(stream, new RollbackDocument(Version, rollback), RollbackJsonContext.Default.RollbackDocument));

    /// <summary>Removes the file: what is wanted now stays.</summary>
    public void Delete() => _file.Delete();
}
