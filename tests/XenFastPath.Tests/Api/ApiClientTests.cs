using System.Net.Sockets;
using System.Text;
using XenFastPath.Api;

namespace XenFastPath.Tests.Api;

public sealed class ApiClientTests
{
    [Fact]
    public async Task Results_come_typed_or_raw()
    {
        await using var server = new TestServer();
        await using ApiClient client = await ApiClient.ConnectAsync(server.SocketPath);
        NetworkInfo network = await client.CallAsync(ApiMethods.NetworkShow, new NetworkParams("LAN"));
        Assert.Equal(("LAN", "vif2.0"), (network.Label, network.Vifs[1].Device));
        byte[] raw = await client.CallRawAsync(ApiMethods.FdbSync, new Empty());
        Assert.Equal("""{"entries":3,"fastPathEntries":2}""", Encoding.UTF8.GetString(raw));
    }

    [Fact]
    public async Task A_refusal_carries_the_object_and_the_reason()
    {
        await using var server = new TestServer();
        await using ApiClient client = await ApiClient.ConnectAsync(server.SocketPath);
        var refusal = await Assert.ThrowsAsync<ApiErrorException>(
            () => client.CallAsync(ApiMethods.PifShow, new PifParams("nope")));
        Assert.Equal((ApiErrorCode.Refused, "nope", "no such object"), (refusal.Code, refusal.Object, refusal.Reason));
        Assert.Equal(3, (await client.CallAsync(ApiMethods.FdbSync, new Empty())).Entries);
    }

    [Fact]
    public async Task An_answer_much_larger_than_a_request_may_be_arrives_whole()
    {
        FdbEntryInfo[] fdb = [.. Enumerable.Range(0, 200_000).Select(i => new FdbEntryInfo(
            "LAN", $"02:00:00:{i >> 16:x2}:{(i >> 8) & 255:x2}:{i & 255:x2}", "vif1.0", false, true, i))];
        await using var server = new TestServer(new FakeDaemon { Fdb = fdb });
        await using ApiClient client = await ApiClient.ConnectAsync(server.SocketPath);
        Assert.Equal(fdb, await client.CallAsync(ApiMethods.FdbList, new FdbListParams()));
        byte[] raw = await client.CallRawAsync(ApiMethods.FdbList, new FdbListParams());
        Assert.InRange(raw.Length, 10 << 20, ApiLimits.ResponseBytesMax);
    }

    [Fact]
    public async Task Events_arrive_until_the_daemon_goes()
    {
        var server = new TestServer();
        await using ApiClient client = await ApiClient.ConnectAsync(server.SocketPath);
        await using IAsyncEnumerator<EventInfo> events = client.EventsAsync().GetAsyncEnumerator();
        ValueTask<bool> first = events.MoveNextAsync();
        await using (ApiClient other = await ApiClient.ConnectAsync(server.SocketPath))
        {
            // Published until the subscription is there to take it.
            for (int i = 0; !first.IsCompleted; i++)
            {
                server.Daemon.Events.Publish(new EventInfo(DateTimeOffset.UnixEpoch, "k", "o", "m"));
                await other.CallAsync(ApiMethods.FdbSync, new Empty());
            }
        }
        Assert.True(await first);
        Assert.Equal(("k", "o", "m"), (events.Current.Kind, events.Current.Object, events.Current.Message));
        await server.DisposeAsync();
        await Assert.ThrowsAsync<DaemonUnreachableException>(async () =>
        {
            while (await events.MoveNextAsync())
            {
            }
        });
    }

    [Fact]
    public async Task Nobody_there()
    {
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "api.sock");
        Assert.Equal($"cannot reach xenfastpathd at {path}: no such socket", await UnreachableAsync(path));
        using var dead = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        dead.Bind(new UnixDomainSocketEndPoint(path));
        Assert.Equal($"cannot reach xenfastpathd at {path}: nobody listens on it", await UnreachableAsync(path));
        foreach (string impossible in (string[])["", new string('x', 108)])
        {
            string message = await UnreachableAsync(impossible);
            Assert.EndsWith(": a socket path has 1 to 107 bytes", message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task The_reason_for_being_turned_away_is_read_though_the_request_could_not_be_sent()
    {
        await using var server = new TestServer(readPeer: _ => new PeerCredentials(1, 1000, 1000, []));
        await using ApiClient client = await ApiClient.ConnectAsync(server.SocketPath);
        var refusal = await Assert.ThrowsAsync<ApiErrorException>(() => client.CallAsync(ApiMethods.Plan, new PlanParams()));
        Assert.Equal(ApiErrorCode.PermissionDenied, refusal.Code);
    }

    [Theory]
    [InlineData("HTTP/1.1 400 Bad Request\n")]
    [InlineData("{}\n")]
    [InlineData("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"entries\":\"many\"}}\n")]
    [InlineData("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{}}\n")]
    [InlineData("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":7}\n")]
    [InlineData("{\"jsonrpc\":\"2.0\",\"id\":1,\"resu")]
    [InlineData("")]
    public async Task Something_else_answers(string answer)
    {
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "api.sock");
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(path));
        listener.Listen();
        await using ApiClient client = await ApiClient.ConnectAsync(path);
        using (Socket peer = await listener.AcceptAsync())
        {
            await peer.SendAsync(Encoding.UTF8.GetBytes(answer));
        }
        await Assert.ThrowsAsync<DaemonUnreachableException>(() => client.CallAsync(ApiMethods.FdbSync, new Empty()));
    }

    [Fact]
    public async Task A_newer_daemon_may_have_more_fields()
    {
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "api.sock");
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(path));
        listener.Listen();
        await using ApiClient client = await ApiClient.ConnectAsync(path);
        using Socket peer = await listener.AcceptAsync();
        const string answer = """{"jsonrpc":"2.0","id":1,"result":{"entries":1,"fastPathEntries":1,"waitedMs":3}}""";
        await peer.SendAsync(Encoding.UTF8.GetBytes(answer + "\n"));
        Assert.Equal(new FdbSyncInfo(1, 1), await client.CallAsync(ApiMethods.FdbSync, new Empty()));
    }

    private static async Task<string> UnreachableAsync(string path) =>
        (await Assert.ThrowsAsync<DaemonUnreachableException>(() => ApiClient.ConnectAsync(path))).Message;
}
