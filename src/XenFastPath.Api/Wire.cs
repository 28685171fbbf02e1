// How the types of Contracts.cs become bytes. Both instances share the generated metadata; nothing here reflects.
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace XenFastPath.Api;

internal static class Wire
{
    // The lines never reach HTML, so nothing needs escaping beyond what JSON asks for: 'é' and quotes stay readable.
    public static readonly JavaScriptEncoder Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping;

    /// <summary>What the daemon reads and writes: an unknown parameter is an error, it may be a misspelt one.</summary>
    public static readonly ApiJsonContext Strict = new(new JsonSerializerOptions(ApiJsonContext.Default.Options)
    {
        Encoder = Encoder,
    });

    /// <summary>What a client reads: a newer daemon may have added fields.</summary>
    public static readonly ApiJsonContext Lenient = new(new JsonSerializerOptions(ApiJsonContext.Default.Options)
    {
        Encoder = Encoder,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Skip,
    });
}
