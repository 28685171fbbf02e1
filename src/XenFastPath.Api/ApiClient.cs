// The client's side of the API: one connection, one call at a time.
using System.Buffers;
using System.IO.Pipelines;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace XenFastPath.Api;

/// <summary>Calls the daemon. Not for concurrent use: a second connection for a second call is cheap.</summary>
public sealed class ApiClient : IAsyncDisposable
{
    /// <summary>Where the daemon listens unless it was told otherwise.</summary>
    public const string DefaultSocketPath = "/run/xenfastpath/xenfastpath.sock";

    private readonly string _socketPath;
    private readonly NetworkStream _stream;
    private readonly LineReader _lines;
    private int _lastId;

    private ApiClient(string socketPath, Socket socket)
    {
        _socketPath = socketPath;
        _stream = new NetworkStream(socket, ownsSocket: true);
        var input = PipeReader.Create(_stream, new StreamPipeReaderOptions(bufferSize: ApiLimits.ClientReadBytes));
        _lines = new LineReader(input, ApiLimits.ResponseBytesMax);
    }

    /// <summary>Connects to the daemon.</summary>
    /// <exception cref="DaemonUnreachableException">Nobody answers on that path, or the caller may not ask.</exception>
    public static async Task<ApiClient> ConnectAsync(string socketPath, CancellationToken cancellationToken = default)
    {
        if (Encoding.UTF8.GetByteCount(socketPath) is 0 or > ApiLimits.SocketPathBytesMax)
        {
            string limit = $"a socket path has 1 to {ApiLimits.SocketPathBytesMax} bytes";
            throw new DaemonUnreachableException(socketPath, limit);
        }
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            var endPoint = new UnixDomainSocketEndPoint(socketPath);
            await socket.ConnectAsync(endPoint, cancellationToken).ConfigureAwait(false);
            return new ApiClient(socketPath, socket);
        }
        catch (SocketException e)
        {
            socket.Dispose();
            throw new DaemonUnreachableException(socketPath, Reason(socketPath, e), e)
            {
                IsPermission = e.SocketErrorCode == SocketError.AccessDenied,
            };
        }
    }

    /// <summary>Calls a method.</summary>
    /// <exception cref="ApiErrorException">The daemon answered with an error.</exception>
    /// <exception cref="DaemonUnreachableException">The daemon went away without an answer.</exception>
    public async Task<TResult> CallAsync<TParams, TResult>(
        ApiMethod<TParams, TResult> method, TParams parameters, CancellationToken cancellationToken = default)
    {
        RpcReply reply = await ExchangeAsync(method, parameters, cancellationToken).ConfigureAwait(false);
        TResult result = Read(reply.Payload, method.ResultType);
        _lines.Release();
        return result;
    }

    /// <summary>Calls a method and returns the result as the daemon wrote it: JSON in UTF-8.</summary>
    public async Task<byte[]> CallRawAsync<TParams, TResult>(
        ApiMethod<TParams, TResult> method, TParams parameters, CancellationToken cancellationToken = default)
    {
        RpcReply reply = await ExchangeAsync(method, parameters, cancellationToken).ConfigureAwait(false);
        byte[] result = reply.Payload.ToArray();
        _lines.Release();
        return result;
    }

    /// <summary>Subscribes and reads events until the daemon goes, which throws. Call nothing else then.</summary>
    public async IAsyncEnumerable<EventInfo> EventsAsync(
        [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        await foreach (byte[] change in EventsRawAsync(cancellationToken).ConfigureAwait(false))
        {
            yield return Read(new ReadOnlySequence<byte>(change), Wire.Lenient.EventInfo);
        }
    }

    /// <summary>As <see cref="EventsAsync"/>, each event as the daemon wrote it: JSON in UTF-8.</summary>
    public async IAsyncEnumerable<byte[]> EventsRawAsync(
        [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        await CallRawAsync(ApiMethods.Events, new Empty(), cancellationToken).ConfigureAwait(false);
        while (true)
        {
            RpcReply reply = await ReadAsync(cancellationToken).ConfigureAwait(false);
            byte[]? change = reply.Kind == RpcReplyKind.Event ? reply.Payload.ToArray() : null;
            _lines.Release();
            if (change is not null)
            {
                yield return change;
            }
        }
    }

    /// <summary>Closes the connection.</summary>
    public ValueTask DisposeAsync() => _stream.DisposeAsync();

    // Leaves the line of the result in the reader: the caller takes what it needs and releases it.
    private async Task<RpcReply> ExchangeAsync<TParams, TResult>(
        ApiMethod<TParams, TResult> method, TParams parameters, CancellationToken cancellationToken)
    {
        await SendAsync(method, parameters, cancellationToken).ConfigureAwait(false);
        while (true)
        {
            RpcReply reply = await ReadAsync(cancellationToken).ConfigureAwait(false);
            switch (reply.Kind)
            {
                case RpcReplyKind.Result:
                    return reply;
                case RpcReplyKind.Error:
                    _lines.Release();
                    throw reply.Error!;
                default:
                    _lines.Release();
                    break;
            }
        }
    }

    private async Task SendAsync<TParams, TResult>(
        ApiMethod<TParams, TResult> method, TParams parameters, CancellationToken cancellationToken)
    {
        var line = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(line, new JsonWriterOptions { Encoder = Wire.Encoder }))
        {
            json.WriteStartObject();
            json.WriteString("jsonrpc"u8, "2.0"u8);
            json.WriteNumber("id"u8, ++_lastId);
            json.WriteString("method"u8, method.Name);
            json.WritePropertyName("params"u8);
            JsonSerializer.Serialize(json, parameters, method.ParamsType);
            json.WriteEndObject();
        }
        line.Write("\n"u8);
        try
        {
            await _stream.WriteAsync(line.WrittenMemory, cancellationToken).ConfigureAwait(false);
        }
        catch (IOException)
        {
            // The daemon closed the connection. It may have said why (too many clients, no permission): reading tells.
        }
    }

    private async Task<RpcReply> ReadAsync(CancellationToken cancellationToken)
    {
        try
        {
            ReadOnlySequence<byte> line = await _lines.ReadAsync(cancellationToken).ConfigureAwait(false)
                ?? throw new DaemonUnreachableException(_socketPath, "the daemon closed the connection");
            return RpcReply.Parse(line);
        }
        catch (IOException e)
        {
            throw new DaemonUnreachableException(_socketPath, "the daemon closed the connection", e);
        }
        catch (Exception e) when (e is LineTooLongException or JsonException or KeyNotFoundException
            or InvalidOperationException)  // the latter two are JsonElement's for a value that is not as asked for
        {
            throw Incompatible(e);
        }
    }

    private T Read<T>(ReadOnlySequence<byte> json, JsonTypeInfo<T> type)
    {
        try
        {
            var reader = new Utf8JsonReader(json);
            return JsonSerializer.Deserialize(ref reader, type)!;
        }
        catch (JsonException e)
        {
            throw Incompatible(e);
        }
    }

    private DaemonUnreachableException Incompatible(Exception e) =>
        new(_socketPath, $"what answers there does not speak this version of the API: {e.Message}", e);

    private static string Reason(string socketPath, SocketException e) => e.SocketErrorCode switch
    {
        SocketError.AccessDenied => "permission denied",
        SocketError.ConnectionRefused => "nobody listens on it",
        _ when !File.Exists(socketPath) => "no such socket",
        _ => e.Message,
    };
}
