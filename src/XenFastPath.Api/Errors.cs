// What can go wrong between a client and the daemon, and the JSON-RPC numbers for it.
namespace XenFastPath.Api;

/// <summary>The error codes on the wire: those of JSON-RPC 2.0, and ours.</summary>
public static class ApiErrorCode
{
    public const int ParseError = -32700;
    public const int InvalidRequest = -32600;
    public const int MethodNotFound = -32601;
    public const int InvalidParams = -32602;
    public const int InternalError = -32603;

    /// <summary>The peer may not use this socket.</summary>
    public const int PermissionDenied = -32001;

    /// <summary>As many clients are connected as the daemon serves.</summary>
    public const int TooManyClients = -32002;

    /// <summary>The model refused; <see cref="ErrorData"/> says what and why.</summary>
    public const int Refused = 1;
}

/// <summary>Thrown by a handler that refuses a request: no fault of the daemon, the caller reads the reason.</summary>
public sealed class RefusedException(string? @object, string reason)
    : Exception(@object is null ? reason : $"{@object}: {reason}")
{
    /// <summary>The label or device the refusal is about.</summary>
    public string? Object { get; } = @object;

    /// <summary>Why, one sentence.</summary>
    public string Reason { get; } = reason;
}

/// <summary>Thrown by <see cref="ApiClient"/> for an error response.</summary>
public sealed class ApiErrorException(int code, string? @object, string reason)
    : Exception(@object is null ? reason : $"{@object}: {reason}")
{
    /// <summary>One of <see cref="ApiErrorCode"/>.</summary>
    public int Code { get; } = code;

    /// <summary>The label or device the error is about.</summary>
    public string? Object { get; } = @object;

    /// <summary>Why, one sentence.</summary>
    public string Reason { get; } = reason;
}

/// <summary>Nobody answers on the daemon's socket, or it stopped answering.</summary>
public sealed class DaemonUnreachableException(string socketPath, string reason, Exception? inner = null)
    : Exception($"cannot reach xenfastpathd at {socketPath}: {reason}", inner)
{
    /// <summary>The socket that was tried.</summary>
    public string SocketPath { get; } = socketPath;

    /// <summary>The socket is there and its file mode keeps this user out.</summary>
    public bool IsPermission { get; init; }
}

/// <summary>A request that gets an error response instead of a result.</summary>
internal sealed class RpcFault(int code, string message, ErrorData? data = null) : Exception(message)
{
    public int Code { get; } = code;

    public ErrorData? Details { get; } = data;
}
