// What happens to objects without our doing: devices vanish, are renamed, bridges are renamed. The desired state follows.
using System.Collections.Immutable;
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

/// <summary>Something that happened to an object; becomes a log line and an event.</summary>
public sealed record Happening(string Kind, string Subject, string Message);

/// <summary>Brings the desired state in line with what cannot be wished otherwise; pure.</summary>
public static class Follow
{
    /// <summary>The state as it must be now, and what happened.</summary>
    public static (HostState State, IReadOnlyList<Happening> Happenings) Devices(HostState state, Observed observed)
    {
        List<Happening> happenings = [];
        foreach (Vif vif in state.Vifs)
        {
            LinkInfo? device = observed.DeviceOf(vif);
            if (device is null)
            {
                // Its ifindex never comes back; a new device of this name may be another guest's.
                state = state.Remove(vif);
                happenings.Add(new Happening("vif.gone", vif.Device, $"the device is gone; unplugged from network {state.NetworkOf(vif.Network).Label}"));
            }
            else if (device.Name != vif.Device)
            {
                state = state.Change(vif with { Device = device.Name });
                happenings.Add(new Happening("vif.renamed", device.Name, $"was {vif.Device}; stays in network {state.NetworkOf(vif.Network).Label}"));
            }
        }

        foreach (Pif pif in state.Pifs)
        {
            if (observed.DeviceOf(pif) is not { } device)
                continue;
            Pif now = pif with { Device = device.Name };
            if (pif.Binding is not null)
                now = now with { Mac = Observed.KeyOf(device).Mac ?? pif.Mac, Binding = observed.BindingOf(device) };
            if (now != pif)
                state = state.Change(now);
            if (state.Bonds.FirstOrDefault(b => b.Uuid == pif.Bond) is { } bond && bond.Device != device.Name)
                state = state with { Bonds = state.Bonds.Replace(bond, bond with { Device = device.Name }) };
            if (device.Name != pif.Device)
                happenings.Add(new Happening("pif.renamed", device.Name, $"was {pif.Device}"));
        }

        foreach (Network network in state.Networks.Where(n => observed.Link(n.Bridge) is null))
        {
            LinkInfo? renamed = observed.BridgeMarkedFor(network.Uuid);
            if (renamed is null || state.Networks.Any(n => n.Bridge == renamed.Name))
                continue;
            state = state.Change(network with { Bridge = renamed.Name });
            happenings.Add(new Happening("network.renamed", network.Label, $"its bridge {network.Bridge} is called {renamed.Name} now"));
        }

        ImmutableArray<DoomedBridge> doomed =
            [.. state.Doomed.Where(d => observed.BridgeMarkedFor(d.Network) is not null)];
        if (doomed.Length != state.Doomed.Length)
            state = state with { Doomed = doomed };
        ImmutableArray<DoomedLink> links = [.. state.DoomedLinks.Where(d => Plan.LeftOvers(d, state, observed).Any())];
        if (links.Length != state.DoomedLinks.Length)
            state = state with { DoomedLinks = links };
        ImmutableArray<DeviceBinding> kept = [.. state.TagsKept.Where(b => observed.DeviceOf(b) is not null)];
        if (kept.Length != state.TagsKept.Length)
            state = state with { TagsKept = kept };
        return (state, happenings);
    }

    /// <summary>
    /// Is a step about the program's tables and hooks at tc alone? Then everything is as it was after it, and need not be looked at
    /// again. With XDP it is not: a driver may change the device, and its peer takes XDP frames from then on or does not any more.
    /// </summary>
    public static bool LeavesLinks(PlanAction step, Observed observed) => step is ConfigurePort port && IsWithoutXdp(port.Settings)
        && (observed.FastPath.Ports.GetValueOrDefault(port.Ifindex) is not { } inForce || IsWithoutXdp(inForce));

    private static bool IsWithoutXdp(PortSettings settings) => settings is { Path: not PortPath.Afxdp, HasXdpHook: false };

    /// <summary>What must be on the disk before a step is taken, so that it can be taken back whatever happens.</summary>
    public static HostState Before(HostState state, PlanAction step, Observed observed) =>
        step is KeepTags keep && observed.BindingOf(observed.Link(keep.Ifindex)!) is { } card && !state.TagsKept.Contains(card)
            ? state with { TagsKept = state.TagsKept.Add(card) } : state;

    /// <summary>What a step that was taken has settled.</summary>
    public static HostState After(HostState state, PlanAction step, Observed observed) =>
        step is RestoreTags restore ? state with { TagsKept = state.TagsKept.RemoveAll(c => observed.DeviceOf(c)?.Index == restore.Ifindex) } : state;
}
