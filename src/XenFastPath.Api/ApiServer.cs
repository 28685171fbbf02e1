// The daemon's socket: who may connect, and how many.
using System.Buffers;
using System.Net.Sockets;

namespace XenFastPath.Api;

/// <summary>Where and for whom the API is served.</summary>
public sealed record ApiServerOptions(string SocketPath)
{
    /// <summary>The gid of the group xenfastpath, whose members may connect beside root; null: there is none.</summary>
    public int? AllowedGid { get; init; }

    /// <summary>Gives the socket file, of mode 0660 by then, to the group; called before anybody can connect.</summary>
    public Action<string> SecureSocketFile { get; init; } = static _ => { };

    /// <summary>How a peer's identity is found out; tests have their own.</summary>
    public Func<Socket, PeerCredentials> ReadPeer { get; init; } = PeerCredentials.Read;
}

/// <summary>Serves the API on a Unix socket from <see cref="Start"/> on; disposing removes the socket file.</summary>
public sealed class ApiServer(ApiServerOptions options, IApiHandler handler, Action<string> log) : IAsyncDisposable
{
    private static readonly TimeSpan AcceptRetryDelay = TimeSpan.FromMilliseconds(100);

    private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly CancellationTokenSource _stop = new();
    private readonly Lock _gate = new();
    private readonly HashSet<Task> _serving = [];
    private Task _accepting = Task.CompletedTask;

    /// <summary>Binds the socket and begins to accept.</summary>
    /// <exception cref="IOException">Another daemon answers on the socket, or the path cannot be used.</exception>
    public void Start()
    {
        RemoveStaleSocket(options.SocketPath);
        try
        {
            _listener.Bind(new UnixDomainSocketEndPoint(options.SocketPath));
        }
        catch (SocketException e)
        {
            throw new IOException($"cannot create the socket {options.SocketPath}: {e.Message}", e);
        }
        // Before Listen every connect is refused, so nobody slips in while the file still has the umask's mode.
        File.SetUnixFileMode(options.SocketPath,
            UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.GroupWrite);
        options.SecureSocketFile(options.SocketPath);
        _listener.Listen();
        _accepting = AcceptAsync();
    }

    /// <summary>Stops accepting, ends every connection and waits for the calls in progress.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _accepting.ConfigureAwait(false);
        _listener.Dispose();
        Task[] serving;
        lock (_gate)
        {
            serving = [.. _serving];
        }
        await Task.WhenAll(serving).ConfigureAwait(false);
        _stop.Dispose();
    }

    private static void RemoveStaleSocket(string path)
    {
        if (!File.Exists(path))
        {
            return;
        }
        if (new FileInfo(path).Length > 0)
        {
            throw new IOException($"{path} exists and is not a socket");
        }
        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            probe.Connect(new UnixDomainSocketEndPoint(path));
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionRefused)
        {
            File.Delete(path);
            return;
        }
        catch (SocketException e)
        {
            throw new IOException($"cannot tell whether a daemon serves {path}: {e.Message}", e);
        }
        throw new IOException($"another daemon already serves {path}");
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                try
                {
                    Admit(await _listener.AcceptAsync(_stop.Token).ConfigureAwait(false));
                }
                catch (SocketException e)
                {
                    // Out of file descriptors, or the client went before it was accepted: the next one may fare better.
                    log($"api: accept: {e.Message}");
                    await Task.Delay(AcceptRetryDelay, _stop.Token).ConfigureAwait(false);
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The server stops.
        }
    }

    private void Admit(Socket client)
    {
        PeerCredentials peer = options.ReadPeer(client);
        if (peer.Refusal(options.AllowedGid) is { } refusal)
        {
            log($"api: {refusal}");
            TurnAway(client, new RpcFault(ApiErrorCode.PermissionDenied, refusal));
            return;
        }
        int clientsMax = peer.Uid == 0 ? ApiLimits.ClientsMax : ApiLimits.ClientsMax - ApiLimits.ClientsForRoot;
        lock (_gate)
        {
            if (_serving.Count < clientsMax)
            {
                Task served = Task.Run(() => ServeAsync(client));
                _serving.Add(served);
                _ = served.ContinueWith(Forget, TaskScheduler.Default);
                return;
            }
        }
        string full = $"too many clients: {clientsMax} are connected";
        TurnAway(client, new RpcFault(ApiErrorCode.TooManyClients, full));
    }

    private async Task ServeAsync(Socket client)
    {
        await using var connection = new ServerConnection(client, handler, log);
        await connection.RunAsync(_stop.Token).ConfigureAwait(false);
    }

    private void Forget(Task served)
    {
        lock (_gate)
        {
            _serving.Remove(served);
        }
    }

    // The line fits the empty socket buffer, so a peer that does not read cannot hold up the accept loop.
    private static void TurnAway(Socket client, RpcFault fault)
    {
        var line = new ArrayBufferWriter<byte>();
        RpcResponse.WriteFault(line, null, fault);
        try
        {
            client.Send(line.WrittenSpan);
        }
        catch (SocketException)
        {
            // It is gone already.
        }
        client.Dispose();
    }
}
