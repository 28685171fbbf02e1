// Every bound of the API in one place: nothing a client does can make the daemon hold more than this.
namespace XenFastPath.Api;

/// <summary>The bounds of the API.</summary>
public static class ApiLimits
{
    /// <summary>The longest request line: it holds the longest document, escaped.</summary>
    public const int RequestBytesMax = 3 << 20;

    /// <summary>The longest document of a desired state, UTF-8; that of 1000 Networks and 4000 VIFs, as it is exported, has half of it.</summary>
    public const int DocumentBytesMax = 1 << 20;

    /// <summary>The longest line a client takes: a forwarding database of a million entries fits.</summary>
    public const int ResponseBytesMax = 256 << 20;

    /// <summary>Clients served at once.</summary>
    public const int ClientsMax = 64;

    /// <summary>Of these, only root's: a member of the group who never hangs up must not lock the administrator out.</summary>
    public const int ClientsForRoot = 8;

    /// <summary>Events kept for a subscriber that does not read; beyond it the oldest are dropped.</summary>
    public const int EventsPendingMax = 256;

    /// <summary>One read from a client's socket; also how far a line can get beyond its limit.</summary>
    internal const int ServerReadBytes = 4096;

    /// <summary>One read from the daemon's socket.</summary>
    internal const int ClientReadBytes = 64 << 10;

    /// <summary>The longest path that fits sockaddr_un.sun_path with its terminating NUL.</summary>
    internal const int SocketPathBytesMax = 107;
}
