using System.Text.Json;
using XenFastPath.Api;

namespace XenFastPath.Tests.Api;

public sealed class EventTests
{
    private const string Subscribe = """{"jsonrpc":"2.0","id":1,"method":"events"}""";

    [Fact]
    public async Task Subscribers_get_what_follows_in_order_and_can_still_ask()
    {
        await using var server = new TestServer();
        using RawClient client = server.Connect();
        server.Daemon.Events.Publish(Event(-1));
        Assert.Equal("""{"jsonrpc":"2.0","id":1,"result":{}}""", await client.AskAsync(Subscribe));
        server.Daemon.Events.Publish(Event(0));
        const string notification = """{"jsonrpc":"2.0","method":"event","params":""" +
            """{"time":"2026-11-22T20:00:00+00:00","kind":"vif.plugged","object":"vif1.0","message":"0"}}""";
        Assert.Equal(notification, await client.ReadLineAsync());
        Assert.Equal("""{"jsonrpc":"2.0","id":1,"result":{}}""", await client.AskAsync(Subscribe));
        server.Daemon.Events.Publish(Event(1));
        Assert.Contains("\"message\":\"1\"", await client.ReadLineAsync(), StringComparison.Ordinal);
        // It came once, though subscribed to twice: the next line is the answer to the next question.
        string answer = await client.AskAsync("""{"jsonrpc":"2.0","id":2,"method":"fdb.sync"}""");
        Assert.Contains("\"entries\":3", answer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Events_during_a_large_answer_stand_beside_it_and_not_in_it()
    {
        var fdb = new LazyFdb(20_000);
        await using var server = new TestServer(new FakeDaemon { Fdb = fdb });
        using RawClient client = server.Connect();
        await client.AskAsync(Subscribe);
        fdb.OnEntry = i =>
        {
            if (i % 100 == 0)
            {
                server.Daemon.Events.Publish(Event(i));
            }
        };
        await client.SendAsync(Subscribe.Replace("events", "fdb.list", StringComparison.Ordinal) + "\n");
        for (int events = 0, answers = 0; events < 200 || answers < 1;)
        {
            using JsonDocument line = JsonDocument.Parse((await client.ReadLineAsync())!);
            bool isAnswer = line.RootElement.TryGetProperty("result", out JsonElement result);
            Assert.Equal(isAnswer ? 20_000 : 0, isAnswer ? result.GetArrayLength() : 0);
            events += isAnswer ? 0 : 1;
            answers += isAnswer ? 1 : 0;
        }
    }

    [Fact]
    public async Task A_slow_reader_loses_the_oldest_and_is_told_how_many()
    {
        const int published = 50_000;
        await using var server = new TestServer();
        using RawClient client = server.Connect();
        await client.AskAsync(Subscribe);
        for (int i = 0; i < published; i++)
        {
            server.Daemon.Events.Publish(Event(i));
        }
        int next = 0, received = 0;
        while (next < published)
        {
            using JsonDocument line = JsonDocument.Parse((await client.ReadLineAsync())!);
            EventInfo change = line.RootElement.GetProperty("params").Deserialize(ApiJsonContext.Default.EventInfo)!;
            if (change.Kind == "events.lost")
            {
                next += int.Parse(change.Message.Split(' ')[0]);
                continue;
            }
            Assert.Equal(next, int.Parse(change.Message));
            next++;
            received++;
        }
        Assert.InRange(received, 1, 10_000);  // the queue and what the socket's buffers held
    }

    [Fact]
    public async Task Lost_and_received_add_up()
    {
        var hub = new EventHub();
        using EventSubscription subscription = hub.Subscribe();
        for (int i = 0; i < ApiLimits.EventsPendingMax + 44; i++)
        {
            hub.Publish(Event(i));
        }
        subscription.Dispose();
        hub.Publish(Event(999));
        var read = new List<EventInfo>();
        await foreach (EventInfo change in subscription.ReadAllAsync())
        {
            read.Add(change);
        }
        Assert.Equal("events.lost", read[0].Kind);
        Assert.Equal("44 events were dropped because this client reads too slowly", read[0].Message);
        Assert.Equal(Enumerable.Range(44, ApiLimits.EventsPendingMax), read.Skip(1).Select(e => int.Parse(e.Message)));
    }

    [Fact]
    public async Task A_subscriber_that_left_is_forgotten()
    {
        await using var server = new TestServer();
        using RawClient other = server.Connect();
        using (RawClient client = server.Connect())
        {
            await client.AskAsync(Subscribe);
            await client.AskAsync(Subscribe);
            Assert.Equal(1, server.Daemon.Events.SubscriberCount);
        }
        while (server.Daemon.Events.SubscriberCount > 0)
        {
            await other.AskAsync(Subscribe.Replace("events", "fdb.sync", StringComparison.Ordinal));
        }
        server.Daemon.Events.Publish(Event(1));
        Assert.Empty(server.Log);
    }

    private static EventInfo Event(int i) =>
        new(new DateTimeOffset(2026, 11, 22, 20, 0, 0, TimeSpan.Zero), "vif.plugged", "vif1.0", $"{i}");
}
