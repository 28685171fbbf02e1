// A request's change of the desired state: made real, or undone.
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.Control;

internal sealed partial class Controller
{
    /// <summary>
    /// Makes a new desired state real. If a step of what the request is about fails, everything goes back and the request is
    /// refused; what fails of other objects is tried again later and is not this request's fault.
    /// </summary>
    /// <exception cref="RefusalException">What failed.</exception>
    public void Commit(HostState wanted, string why) => Commit(wanted, Observer.Look(State), why);

    /// <summary>The same, if the machine has just been looked at: <paramref name="earlier"/> is what devices are given back as.</summary>
    /// <exception cref="RefusalException">What failed.</exception>
    private void Commit(HostState wanted, Observed earlier, string why)
    {
        HostState before = State;
        wanted = wanted with { TagsKept = before.TagsKept };       // an earlier step may have changed it
        RefuseWhilePending(before, wanted);
        wanted.CheckTrunks(before);
        HashSet<string> failing = [.. _failing.Keys];
        // Written first: after a crash from here on, the next daemon finishes what was asked.
        Save(wanted, before);
        State = wanted;
        if (Try(why, Subjects(before, wanted), failing) is not { } failure)
            return;
        Undo(before, wanted, earlier, why);
        throw failure;
    }

    /// <summary>The failure of what the request is about; null if there is none.</summary>
    private RefusalException? Try(string why, HashSet<string> subjects, HashSet<string> failing)
    {
        _stuck.Clear();     // somebody asks: everything is tried
        _undoing = null;
        try
        {
            RefusalException? failure = Reconcile(why).FirstOrDefault(f => subjects.Contains(f.Subject) || !failing.Contains(f.Subject));
            return failure ?? Problems.FirstOrDefault(p => subjects.Contains(p.Subject));
        }
        catch (NetlinkException e)
        {
            return new RefusalException(e.ObjectName ?? "xenfastpathd", e.Message);
        }
        catch (Exception e) when (IsExpected(e))
        {
            return new RefusalException("xenfastpathd", e.Message);
        }
    }

    /// <summary>Back to <paramref name="before"/>: bridges made meanwhile go, devices that were to join become what they were.</summary>
    private void Undo(HostState before, HostState wanted, Observed earlier, string why)
    {
        before = before with { TagsKept = State.TagsKept };
        State = before.After(wanted);
        try
        {
            Save(State, before);
            List<LinkInfo> joining = Joining(before, wanted, earlier);
            GoBack(joining, joining.Where(d => HostAddresses.AreOn(d, earlier)).Select(d => d.Index).ToHashSet(), $"undo {why}");
        }
        catch (Exception e) when (IsExpected(e) || e is RefusalException)
        {
            Log.Error($"undo {why}: {e.Message}");
            ScheduleRetry();
        }
    }

    /// <summary>Devices that <paramref name="wanted"/> takes into Networks, as they are before.</summary>
    private static List<LinkInfo> Joining(HostState before, HostState wanted, Observed earlier) =>
        [.. DevicesOf(wanted, earlier).ExceptBy(DevicesOf(before, earlier).Select(d => d.Index), d => d.Index)];

    /// <summary>
    /// Makes the state real in which <paramref name="joining"/> devices are not ours any more: they become what they were. Those of
    /// <paramref name="hadAddresses"/>, ifindexes, carried addresses of this host. Returns what failed.
    /// </summary>
    private IReadOnlyList<RefusalException> GoBack(IReadOnlyList<LinkInfo> joining, IReadOnlySet<int> hadAddresses, string why)
    {
        HashSet<int> stay = joining.Where(d => d.MasterIndex != 0).Select(d => d.Index).ToHashSet();
        IReadOnlyList<RefusalException> failures = Reconcile(why, new Undoing(stay, hadAddresses));
        foreach (LinkInfo was in joining)
        {
            if (Rtnl.GetLink(was.Index) is { } now)
                _applier.GiveBack(was, now);
        }

        return failures;
    }

    private void Save(HostState state, HostState before)
    {
        try
        {
            _file.Save(state);
        }
        catch (Exception e) when (IsExpected(e))
        {
            try
            {
                // It may be in the file already, only not safe on the disk yet: the file must not hold what was refused.
                _file.Save(before);
            }
            catch (Exception again) when (IsExpected(again))
            {
                Log.Error($"{_file.Path}: {again.Message}");
            }

            throw new RefusalException(_file.Path, e.Message);
        }
    }

    /// <summary>Devices and bridges of the objects that a request changes.</summary>
    private static HashSet<string> Subjects(HostState before, HostState wanted) =>
    [
        .. before.Networks.Except(wanted.Networks).Concat(wanted.Networks.Except(before.Networks)).SelectMany(n => (string[])[n.Bridge, n.Label]),
        .. before.Pifs.Except(wanted.Pifs).Concat(wanted.Pifs.Except(before.Pifs)).Select(p => p.Device),
        .. before.Vlans.Except(wanted.Vlans).Concat(wanted.Vlans.Except(before.Vlans)).Select(v => v.Device),
        .. before.Bonds.Except(wanted.Bonds).Concat(wanted.Bonds.Except(before.Bonds)).Select(b => b.Device),
        .. before.Vifs.Except(wanted.Vifs).Concat(wanted.Vifs.Except(before.Vifs)).Select(v => v.Device),
    ];

    private static IEnumerable<LinkInfo> DevicesOf(HostState state, Observed observed) =>
        state.Networks.SelectMany(n => Views.PortsOf(n, state, observed)).Select(p => p.Device)
            .Concat(state.Bonds.SelectMany(b => b.Members).Concat(state.Vlans.Select(v => v.Pif))
                .Select(p => observed.DeviceOf(state.PifOf(p))).OfType<LinkInfo>())
            .DistinctBy(d => d.Index);
}
