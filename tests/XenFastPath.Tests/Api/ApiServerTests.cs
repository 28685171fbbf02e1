// The server over a real socket: who gets in, what a broken or slow client can do, and that it does it only to itself.
using System.Net.Sockets;
using XenFastPath.Api;

namespace XenFastPath.Tests.Api;

public sealed class ApiServerTests
{
    private const string Sync = """{"jsonrpc":"2.0","id":1,"method":"fdb.sync"}""";
    private const string Synced = """{"jsonrpc":"2.0","id":1,"result":{"entries":3,"fastPathEntries":2}}""";

    [Fact]
    public async Task Requests_are_answered_in_order_however_they_are_cut_or_merged()
    {
        await using var server = new TestServer();
        using RawClient client = server.Connect();
        string merged = "\n" + Sync + "\r\n \r\n" + Sync.Replace("1,", "2,", StringComparison.Ordinal) + "\n";
        for (int cut = 0; cut <= merged.Length; cut++)
        {
            await client.SendAsync(merged[..cut]);
            await client.SendAsync(merged[cut..]);
            Assert.Equal(Synced, await client.ReadLineAsync());
            Assert.Equal(Synced.Replace("1,", "2,", StringComparison.Ordinal), await client.ReadLineAsync());
        }
    }

    [Fact]
    public async Task Notifications_are_executed_and_not_answered()
    {
        await using var server = new TestServer();
        using RawClient client = server.Connect();
        await client.SendAsync("""{"jsonrpc":"2.0","method":"network.destroy","params":{"network":"LAN"}}""" + "\n");
        await client.SendAsync("""{"jsonrpc":"2.0","method":"network.destroy","params":{"network":"nope"}}""" + "\n");
        await client.SendAsync("""{"jsonrpc":"2.0","method":"no.such.method"}""" + "\n");
        Assert.Equal(Synced, await client.AskAsync(Sync));
        Assert.Equal("NetworkDestroy NetworkParams { Network = nope }", server.Daemon.LastCall);
    }

    [Fact]
    public async Task An_endless_line_is_refused_before_more_than_the_limit_is_read()
    {
        await using var server = new TestServer();
        using RawClient client = server.Connect();
        byte[] piece = new byte[16 << 10];
        Array.Fill(piece, (byte)' ');
        int sent = 0;
        try
        {
            while (sent < 10 << 20)
            {
                await client.SendAsync(piece);
                sent += piece.Length;
            }
        }
        catch (IOException)
        {
            // The server closed the connection.
        }
        // What was sent beyond the limit is in the socket's buffers, not in the server's.
        Assert.InRange(sent, ApiLimits.RequestBytesMax - piece.Length, 2 * ApiLimits.RequestBytesMax);
        Assert.Equal(Error(-32600, "request longer than 3145728 bytes"), await client.ReadLineAsync());
        Assert.Null(await client.ReadLineAsync());
    }

    [Fact]
    public async Task A_line_of_just_the_limit_is_served()
    {
        await using var server = new TestServer();
        using RawClient client = server.Connect();
        Assert.Equal(Synced, await client.AskAsync(Sync.PadRight(ApiLimits.RequestBytesMax)));
    }

    [Fact]
    public async Task Garbage_leaves_the_connection_usable()
    {
        await using var server = new TestServer();
        using RawClient client = server.Connect();
        var random = new Random(7);
        byte[] garbage = new byte[64];
        for (int round = 0; round < 200; round++)
        {
            random.NextBytes(garbage);
            garbage.AsSpan().Replace((byte)'\n', (byte)'{');
            garbage[^1] = (byte)'\n';
            await client.SendAsync(garbage);
            Assert.Contains("\"code\":-32700", await client.ReadLineAsync(), StringComparison.Ordinal);
        }
        Assert.Equal(Synced, await client.AskAsync(Sync));
    }

    [Fact]
    public async Task A_client_that_vanishes_harms_nobody()
    {
        var called = new TaskCompletionSource();
        var gone = new TaskCompletionSource();
        var server = new TestServer(new FakeDaemon
        {
            BeforePlan = async _ =>
            {
                called.SetResult();
                await gone.Task;
            },
        });
        using RawClient other = server.Connect();
        using (RawClient halfway = server.Connect())
        {
            await halfway.SendAsync(Sync[..20]);
        }
        using (RawClient waiting = server.Connect())
        {
            await waiting.SendAsync("""{"jsonrpc":"2.0","id":1,"method":"plan"}""" + "\n");
            await called.Task;
        }
        gone.SetResult();
        Assert.Equal(Synced, await other.AskAsync(Sync));
        await server.DisposeAsync();
        Assert.Empty(server.Log);
    }

    [Fact]
    public async Task A_handler_that_fails_is_logged_and_answered()
    {
        await using var server = new TestServer();
        using RawClient client = server.Connect();
        const string request = """{"jsonrpc":"2.0","id":1,"method":"pif.forget","params":{"pif":"explode"}}""";
        string answer = await client.AskAsync(request);
        Assert.Contains("\"code\":-32603", answer, StringComparison.Ordinal);
        const string logged = "api: pif.forget failed: System.InvalidOperationException: the fuse was lit";
        Assert.StartsWith(logged, Assert.Single(server.Log), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_client_too_many_is_turned_away_until_one_leaves()
    {
        await using var server = new TestServer();
        var clients = new List<RawClient>();
        for (int i = 0; i < ApiLimits.ClientsMax; i++)
        {
            clients.Add(server.Connect());
        }
        Assert.Equal(Synced, await clients[^1].AskAsync(Sync));
        using (RawClient extra = server.Connect())
        {
            Assert.Contains("-32002", await extra.ReadLineAsync(), StringComparison.Ordinal);
            Assert.Null(await extra.ReadLineAsync());
        }
        clients[0].Dispose();
        while (await TryAskAsync(server) != Synced)
        {
            // until the server has noticed that one left
        }
        clients.ForEach(client => client.Dispose());
    }

    [Theory]
    [InlineData(0u, 0u, new uint[0], null, true)]
    [InlineData(1000u, 1000u, new uint[] { 27 }, null, false)]
    [InlineData(1000u, 990u, new uint[0], 990, true)]
    [InlineData(1000u, 1000u, new uint[] { 27, 990 }, 990, true)]
    [InlineData(1000u, 1000u, new uint[] { 27 }, 990, false)]
    public async Task Only_root_and_the_group_get_in(uint uid, uint gid, uint[] groups, int? allowedGid, bool allowed)
    {
        var peer = new PeerCredentials(4711, uid, gid, groups);
        await using var server = new TestServer(readPeer: _ => peer, allowedGid: allowedGid);
        using RawClient client = server.Connect();
        if (allowed)
        {
            Assert.Equal(Synced, await client.AskAsync(Sync));
            return;
        }
        const string refusal = "permission denied: uid 1000 (process 4711) is neither root nor in group xenfastpath";
        Assert.Equal(Error(-32001, refusal), await client.ReadLineAsync());
        Assert.Null(await client.ReadLineAsync());
        Assert.Single(server.Log);
    }

    [Fact]
    public async Task The_kernel_says_who_the_peer_is()
    {
        PeerCredentials? peer = null;
        await using var server = new TestServer(readPeer: socket => peer = PeerCredentials.Read(socket));
        using RawClient client = server.Connect();
        await client.AskAsync(Sync);
        Assert.Equal(Environment.ProcessId, peer!.Pid);
        Assert.Equal(Environment.IsPrivilegedProcess, peer.Uid == 0);
    }

    [Fact]
    public async Task The_socket_file_is_for_its_owner_and_group_and_goes_with_the_server()
    {
        var server = new TestServer();
        Assert.Equal(0b110_110_000, (int)server.SecuredMode);
        await server.DisposeAsync();
        Assert.False(File.Exists(server.SocketPath));
    }

    [Fact]
    public async Task A_stale_socket_file_is_replaced_and_a_live_one_is_not()
    {
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "api.sock");
        using (var crashed = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            crashed.Bind(new UnixDomainSocketEndPoint(path));  // never listens: as a socket whose process died
            await using var server = new ApiServer(new ApiServerOptions(path), new FakeDaemon(), _ => { });
            server.Start();
            await using var second = new ApiServer(new ApiServerOptions(path), new FakeDaemon(), _ => { });
            Assert.Equal($"another daemon already serves {path}", Assert.Throws<IOException>(second.Start).Message);
            using var client = new RawClient(path);
            Assert.Equal(Synced, await client.AskAsync(Sync));
        }
    }

    [Fact]
    public async Task A_file_that_is_no_socket_is_left_alone()
    {
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "api.sock");
        await File.WriteAllTextAsync(path, "precious");
        await using var server = new ApiServer(new ApiServerOptions(path), new FakeDaemon(), _ => { });
        Assert.Contains("is not a socket", Assert.Throws<IOException>(server.Start).Message, StringComparison.Ordinal);
        Assert.Equal("precious", await File.ReadAllTextAsync(path));
    }

    [Fact]
    public async Task Stopping_ends_idle_and_busy_connections()
    {
        var called = new TaskCompletionSource();
        var server = new TestServer(new FakeDaemon
        {
            BeforePlan = async stop =>
            {
                called.SetResult();
                await Task.Delay(Timeout.Infinite, stop);
            },
        });
        using RawClient idle = server.Connect();
        using RawClient busy = server.Connect();
        Assert.Equal(Synced, await idle.AskAsync(Sync));
        await busy.SendAsync("""{"jsonrpc":"2.0","id":1,"method":"plan"}""" + "\n");
        await called.Task;
        await server.DisposeAsync();
        Assert.Null(await idle.ReadLineAsync());
        Assert.Null(await busy.ReadLineAsync());
        Assert.Empty(server.Log);
    }

    [Fact]
    public async Task A_client_that_does_not_read_a_large_answer_stalls_it()
    {
        var endless = new LazyFdb(int.MaxValue);
        await using var server = new TestServer(new FakeDaemon { Fdb = endless });
        using (RawClient client = server.Connect())
        {
            await client.SendAsync("""{"jsonrpc":"2.0","id":1,"method":"fdb.list"}""" + "\n");
            byte[] buffer = new byte[64 << 10];
            for (long read = 0; read < 8 << 20;)
            {
                read += await client.Socket.ReceiveAsync(buffer);
                // Each entry is more than 100 bytes: what the server has produced beyond what was read sits in buffers.
                Assert.InRange((endless.Produced * 100) - read, long.MinValue, 1 << 20);
            }
            using RawClient other = server.Connect();
            Assert.Equal(Synced, await other.AskAsync(Sync));
        }
        Assert.Empty(server.Log);
    }

    private static async Task<string?> TryAskAsync(TestServer server)
    {
        using RawClient client = server.Connect();
        try
        {
            return await client.AskAsync(Sync);
        }
        catch (IOException)
        {
            return null;  // turned away before it could ask
        }
    }

    private static string Error(int code, string message) =>
        $$$"""{"jsonrpc":"2.0","id":null,"error":{"code":{{{code}}},"message":"{{{message}}}"}}""";
}
