// An ApiServer on a socket of its own in a temporary folder, and a client that sees the bytes.
using System.Buffers;
using System.Collections.Concurrent;
using System.IO.Pipelines;
using System.Net.Sockets;
using System.Text;
using XenFastPath.Api;

namespace XenFastPath.Tests.Api;

internal sealed class TestServer : IAsyncDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly ApiServer _server;

    public TestServer(FakeDaemon? daemon = null, Func<Socket, PeerCredentials>? readPeer = null, int? allowedGid = null)
    {
        Daemon = daemon ?? new FakeDaemon();
        SocketPath = Path.Combine(_folder.Path, "api.sock");
        var options = new ApiServerOptions(SocketPath)
        {
            AllowedGid = allowedGid,
            SecureSocketFile = path => SecuredMode = File.GetUnixFileMode(path),
            ReadPeer = readPeer ?? PeerCredentials.Read,
        };
        _server = new ApiServer(options, Daemon, Log.Enqueue);
        _server.Start();
    }

    public FakeDaemon Daemon { get; }

    public string SocketPath { get; }

    public UnixFileMode SecuredMode { get; private set; }

    public ConcurrentQueue<string> Log { get; } = [];

    public RawClient Connect() => new(SocketPath);

    public async ValueTask DisposeAsync()
    {
        await _server.DisposeAsync();
        _folder.Dispose();
    }
}

/// <summary>Sends bytes and reads lines, as a script with a socket would.</summary>
internal sealed class RawClient : IDisposable
{
    private readonly CancellationTokenSource _deadline = new(TimeSpan.FromSeconds(30));  // a test that hangs says where
    private readonly NetworkStream _stream;
    private readonly PipeReader _reader;

    public RawClient(string path)
    {
        Socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        Socket.Connect(new UnixDomainSocketEndPoint(path));
        _stream = new NetworkStream(Socket, ownsSocket: true);
        _reader = PipeReader.Create(_stream);
    }

    public Socket Socket { get; }

    public Task SendAsync(string text) => SendAsync(Encoding.UTF8.GetBytes(text));

    public async Task SendAsync(ReadOnlyMemory<byte> bytes) => await _stream.WriteAsync(bytes, _deadline.Token);

    public async Task<string> AskAsync(string line)
    {
        await SendAsync(line + "\n");
        return await ReadLineAsync() ?? throw new EndOfStreamException();
    }

    /// <summary>The next line; null when the server closed the connection.</summary>
    public async Task<string?> ReadLineAsync()
    {
        while (true)
        {
            ReadResult read;
            try
            {
                read = await _reader.ReadAsync(_deadline.Token);
            }
            catch (IOException)
            {
                return null;  // closed while we were still writing
            }
            if (read.Buffer.PositionOf((byte)'\n') is { } end)
            {
                string line = Encoding.UTF8.GetString(read.Buffer.Slice(0, end));
                _reader.AdvanceTo(read.Buffer.GetPosition(1, end));
                return line;
            }
            if (read.IsCompleted)
            {
                return null;
            }
            _reader.AdvanceTo(read.Buffer.Start, read.Buffer.End);
        }
    }

    public void Dispose()
    {
        _stream.Dispose();
        _deadline.Dispose();
    }
}

internal sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("xfp-test-").FullName;

    public void Dispose() => Directory.Delete(Path, recursive: true);
}

/// <summary>A forwarding database whose entries are made when they are asked for, and counted.</summary>
internal sealed class LazyFdb(int count) : IReadOnlyList<FdbEntryInfo>
{
    private long _produced;

    public long Produced => Interlocked.Read(ref _produced);

    public Action<int> OnEntry { get; set; } = _ => { };

    public int Count => count;

    public FdbEntryInfo this[int index] => FakeData.Fdb[0];

    public IEnumerator<FdbEntryInfo> GetEnumerator()
    {
        for (int i = 0; i < count; i++)
        {
            Interlocked.Increment(ref _produced);
            OnEntry(i);
            yield return FakeData.Fdb[0];
        }
    }

    System.Collections.IEnumerator System.Collections.IEnumerable.GetEnumerator() => GetEnumerator();
}
