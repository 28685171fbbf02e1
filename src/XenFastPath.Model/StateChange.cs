// What differs between two desired states, object by object, in the words of the commands that would do it.
using System.Collections.Immutable;

namespace XenFastPath.Model;

/// <summary>One object that comes, changes or goes.</summary>
/// <param name="Verb">create, change, destroy; of PIFs introduce, forget; of VIFs plug, move, unplug.</param>
/// <param name="Kind">network, pif, vlan, bond or vif.</param>
/// <param name="Name">Label or device.</param>
/// <param name="Detail">What is said of it besides; may be empty.</param>
public sealed record StateChange(string Verb, string Kind, string Name, string Detail)
{
    /// <summary>"create network lan: bridge xenbr0, mtu 1500, datapath auto".</summary>
    public string Text => $"{Verb} {Kind} {Name}" + (Detail.Length == 0 ? "" : ": " + Detail);

    /// <summary>The event that tells of it once it is done: network.created.</summary>
    public string Event => $"{Kind}.{Past(Verb)}";

    /// <summary>All of them: what comes in the order of making, then what goes.</summary>
    public static IReadOnlyList<StateChange> Between(HostState before, HostState after)
    {
        List<StateChange> changes = [];
        string Label(HostState s, Guid network) => s.NetworkOf(network).Label;
        string Uplink(HostState s, Pif p) => p.Network is { } n ? $"network {Label(s, n)}{(p.IsPlugged ? "" : ", unplugged")}" : "no network";
        Compare(changes, "network", before.Networks, after.Networks, n => n.Uuid, n => n.Label, "create", "destroy",
            (_, n) => $"bridge {n.Bridge}, mtu {n.Mtu}, datapath {Rules.Word(n.Datapath)}", before, after);
        Compare(changes, "pif", before.Pifs, after.Pifs, p => p.Uuid, p => p.Device, "introduce", "forget", Uplink, before, after);
        Compare(changes, "bond", before.Bonds, after.Bonds, b => b.Uuid, b => b.Device, "create", "destroy",
            (s, b) => $"{BondWords.Word(b.Mode)} of {string.Join(", ", b.Members.Select(m => s.PifOf(m).Device))}", before, after);
        Compare(changes, "vlan", before.Vlans, after.Vlans, v => v.Uuid, v => v.Device, "create", "destroy",
            (s, v) => $"tag {v.Tag} of {s.PifOf(v.Pif).Device}, network {Label(s, v.Network)}", before, after);
        Compare(changes, "vif", before.Vifs, after.Vifs, v => v.Uuid, v => v.Device, "plug", "unplug",
            (s, v) => $"network {Label(s, v.Network)}{(v.Trunks is { } trunks ? $", trunks {trunks}" : "")}", before, after);
        return [.. changes.Where(c => !IsGoing(c)), .. changes.Where(IsGoing)];
    }

    private static void Compare<T>(List<StateChange> changes, string kind, ImmutableArray<T> before, ImmutableArray<T> after, Func<T, Guid> uuidOf,
        Func<T, string> nameOf, string made, string gone, Func<HostState, T, string> detail, HostState old, HostState now)
        where T : notnull
    {
        Dictionary<Guid, T> known = before.ToDictionary(uuidOf);
        foreach (T element in after)
        {
            if (!known.Remove(uuidOf(element), out T? was))
                changes.Add(new StateChange(made, kind, nameOf(element), detail(now, element)));
            else if (!was.Equals(element))
                changes.Add(new StateChange("change", kind, nameOf(element), detail(now, element)));
        }

        foreach (T element in before.Where(b => known.ContainsKey(uuidOf(b))))
            changes.Add(new StateChange(gone, kind, nameOf(element), detail(old, element)));
    }

    private static bool IsGoing(StateChange change) => change.Verb is "destroy" or "forget" or "unplug";

    private static string Past(string verb) => verb switch
    {
        "destroy" => "destroyed",
        "forget" => "forgotten",
        "plug" => "plugged",
        "unplug" => "unplugged",
        _ => verb + "d",
    };
}
