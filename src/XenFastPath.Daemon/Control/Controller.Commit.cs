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
    public void Commit(HostState wanted, string why)
    {
        HostState before = State;
        Observed earlier = Observer.Look(before);
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
        IEnumerable<DoomedBridge> made = wanted.Networks.Where(n => before.Networks.All(b => b.Uuid != n.Uuid)).Select(n => new DoomedBridge(n.Uuid, n.Bridge));
        List<LinkInfo> joining = [.. DevicesOf(wanted, earlier).Where(d => DevicesOf(before, earlier).All(b => b.Index != d.Index))];
        State = before with { Doomed = [.. before.Doomed, .. made] };
        try
        {
            Save(State, before);
            Reconcile($"undo {why}", stay: joining.Where(d => d.MasterIndex != 0).Select(d => d.Index).ToHashSet());
            foreach (LinkInfo was in joining)
            {
                if (Rtnl.GetLink(was.Index) is { } now)
                    _applier.GiveBack(was, now);
            }
        }
        catch (Exception e) when (IsExpected(e) || e is RefusalException)
        {
            Log.Error($"undo {why}: {e.Message}");
            ScheduleRetry();
        }
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
        .. before.Vifs.Except(wanted.Vifs).Concat(wanted.Vifs.Except(before.Vifs)).Select(v => v.Device),
    ];

    private static IEnumerable<LinkInfo> DevicesOf(HostState state, Observed observed) =>
        state.Networks.SelectMany(n => Views.PortsOf(n, state, observed)).Select(p => p.Device);
}
