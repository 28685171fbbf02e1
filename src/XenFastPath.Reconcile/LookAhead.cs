// The dumps of a first look, read while the rest of the daemon is being made.
using System.Diagnostics;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

/// <summary>What the kernel tells of everything in one answer each.</summary>
internal sealed record Dumps(List<LinkInfo> Links, List<AddressInfo> Addresses, FactFinder Facts)
{
    /// <summary>The filters of all bridges, if they were looked for.</summary>
    public Task<IReadOnlyDictionary<string, IReadOnlyList<string>>>? Filters { get; init; }

    public static Dumps Read(Rtnl rtnl, GenericNetlink generic, bool withCounters) =>
        new(rtnl.GetLinks(withCounters), rtnl.GetAddresses(), new FactFinder(generic));
}

/// <summary>
/// Reads on another thread: to load programs and to take thousands of hooks over takes a daemon that starts as long. Who makes one
/// must listen for changes already, so that what changes between this and the look brings another look.
/// </summary>
public sealed class LookAhead(Rtnl rtnl, GenericNetlink generic, Bypass bypass)
{
    /// <summary>A look that comes later, for a forwarder had to be started, is a look of its own.</summary>
    private static readonly TimeSpan s_ageMax = TimeSpan.FromMilliseconds(500);

    private readonly long _begun = Stopwatch.GetTimestamp();
    private readonly Task<Dumps> _reading = Task.Run(() =>
    {
        Dumps dumps = Dumps.Read(rtnl, generic, withCounters: false);
        dumps.Facts.Read();
        return dumps with { Filters = Task.Run(() => bypass.Find(dumps.Links.FindAll(l => l.Bridge is not null), dumps.Links)) };
    });

    /// <summary>What was read; null if that is too long ago.</summary>
    /// <exception cref="NetlinkException">It could not be read.</exception>
    internal Dumps? Take() => Stopwatch.GetElapsedTime(_begun) < s_ageMax ? _reading.GetAwaiter().GetResult() : null;
}
