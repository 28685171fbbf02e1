// Events from the daemon to whoever listens. Publishing never waits; a slow listener loses the oldest.
using System.Runtime.CompilerServices;
using System.Threading.Channels;

namespace XenFastPath.Api;

/// <summary>Broadcasts events to any number of subscribers.</summary>
public sealed class EventHub
{
    private readonly Lock _gate = new();
    private readonly List<EventSubscription> _subscriptions = [];

    /// <summary>How many listen.</summary>
    public int SubscriberCount
    {
        get
        {
            lock (_gate)
            {
                return _subscriptions.Count;
            }
        }
    }

    /// <summary>Gives an event to every subscriber. Safe from any thread; all subscribers see the same order.</summary>
    public void Publish(EventInfo change)
    {
        lock (_gate)
        {
            foreach (EventSubscription subscription in _subscriptions)
            {
                subscription.Offer(change);
            }
        }
    }

    /// <summary>Starts listening; dispose to stop.</summary>
    public EventSubscription Subscribe()
    {
        var subscription = new EventSubscription(this);
        lock (_gate)
        {
            _subscriptions.Add(subscription);
        }
        return subscription;
    }

    internal void Remove(EventSubscription subscription)
    {
        lock (_gate)
        {
            _subscriptions.Remove(subscription);
        }
    }
}

/// <summary>One listener's queue.</summary>
public sealed class EventSubscription : IDisposable
{
    private readonly EventHub _hub;
    private readonly Lock _gate = new();  // what was lost and what follows it are taken together
    private readonly Channel<EventInfo> _pending;
    private long _lost;

    internal EventSubscription(EventHub hub)
    {
        _hub = hub;
        var options = new BoundedChannelOptions(ApiLimits.EventsPendingMax)
        {
            FullMode = BoundedChannelFullMode.DropOldest,
            SingleReader = true,
        };
        _pending = Channel.CreateBounded<EventInfo>(options, _ => _lost++);
    }

    /// <summary>
    /// The events since the subscription, until it is disposed. Where some were dropped, an event of kind
    /// <c>events.lost</c> stands in their place and says how many.
    /// </summary>
    public async IAsyncEnumerable<EventInfo> ReadAllAsync(
        [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        while (await _pending.Reader.WaitToReadAsync(cancellationToken).ConfigureAwait(false))
        {
            (long lost, EventInfo? change) = Take();
            if (lost > 0)
            {
                yield return new EventInfo(DateTimeOffset.UtcNow, "events.lost", "events",
                    $"{lost} events were dropped because this client reads too slowly");
            }
            if (change is not null)
            {
                yield return change;
            }
        }
    }

    /// <summary>Stops listening and ends <see cref="ReadAllAsync"/> after what is queued.</summary>
    public void Dispose()
    {
        _hub.Remove(this);
        _pending.Writer.TryComplete();
    }

    internal void Offer(EventInfo change)
    {
        lock (_gate)
        {
            _pending.Writer.TryWrite(change);
        }
    }

    private (long Lost, EventInfo? Next) Take()
    {
        lock (_gate)
        {
            long lost = _lost;
            _lost = 0;
            _pending.Reader.TryRead(out EventInfo? change);
            return (lost, change);
        }
    }
}
