// Carries a plan out, step by step. A step that fails is reported with its object; the steps of other objects go on.
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

/// <summary>Turns actions into requests. Not thread-safe.</summary>
public sealed class Applier(Rtnl rtnl, GenericNetlink generic, IFastPath fastPath)
{
    /// <summary>
    /// Learned addresses that a bridge of ours holds at most (kernel 6.7): a guest that floods source addresses must not fill
    /// dom0's memory.
    /// </summary>
    public const int FdbLearnedMax = 65536;

    /// <summary>
    /// Does one step. <paramref name="done"/> is told of each that succeeded. Returns the failures, with the hint of what to load
    /// where a kernel feature is missing.
    /// </summary>
    public IReadOnlyList<RefusalException> Apply(Plan plan, Action<PlanAction> done)
    {
        List<RefusalException> failures = [];
        HashSet<string> broken = [];
        foreach (PlanAction action in plan.Actions)
        {
            // A port cannot join a bridge that could not be made; the bridge's failure says it all.
            if (broken.Contains(action.Subject) || (action is AttachPort attach && broken.Contains(attach.Bridge)))
                continue;
            try
            {
                Do(action);
                done(action);
            }
            catch (NetlinkException e)
            {
                broken.Add(action.Subject);
                failures.Add(new RefusalException(action.Subject, Explain(action, e)));
            }
            catch (RefusalException e)
            {
                broken.Add(action.Subject);
                failures.Add(e);
            }
        }

        return failures;
    }

    private void Do(PlanAction action)
    {
        switch (action)
        {
            case CreateBridge create:
                Create(create);
                break;
            case DeleteBridge delete:
                rtnl.DeleteLink(delete.Ifindex);
                break;
            case SetMtu mtu:
                rtnl.SetMtu(mtu.Ifindex, mtu.Mtu);
                break;
            case SetUp up:
                rtnl.SetUp(up.Ifindex, true);
                break;
            case AttachPort attach:
                Attach(attach);
                break;
            case DetachPort detach:
                rtnl.SetMaster(detach.Ifindex, 0);
                break;
            case KeepTags tags:
                generic.SetFeatures(tags.Ifindex, (EthtoolFeature.RxVlan, false));
                break;
            case ConfigurePort port:
                fastPath.Configure(port.Ifindex, port.Device, port.Settings);
                break;
            case RemovePort port:
                fastPath.Remove(port.Ifindex, port.Device);
                break;
        }
    }

    private void Create(CreateBridge create)
    {
        BridgeSettings bridge = new()
        {
            ForwardDelay = TimeSpan.Zero,
            Stp = false,
            MulticastSnooping = false,      // as XAPI sets it: guests' multicast must not depend on a querier
            FdbLearnedMax = FdbLearnedMax,
        };
        LinkSettings link = new()
        {
            Mtu = create.Network.Mtu,
            Address = create.Address,
            Alias = Plan.MarkOf(create.Network.Uuid),
            Ipv6LinkLocal = false,          // a switch is not a host: guests must not find dom0 on it unasked
        };
        rtnl.CreateLink(create.Network.Bridge, bridge, link);
        LinkInfo made = rtnl.GetLink(create.Network.Bridge) ?? throw new RefusalException(create.Network.Bridge, "the bridge vanished as it was made");
        rtnl.SetUp(made.Index, true);
    }

    private void Attach(AttachPort attach)
    {
        LinkInfo bridge = rtnl.GetLink(attach.Bridge) ?? throw new RefusalException(attach.Bridge, "the bridge is missing");
        rtnl.ChangeLink(attach.Ifindex, new LinkSettings { Ipv6LinkLocal = false });
        rtnl.SetMaster(attach.Ifindex, bridge.Index);
    }

    private static string Explain(PlanAction action, NetlinkException e)
    {
        string? hint = action is CreateBridge ? e.ModuleHint("bridge") : null;
        return hint is null ? e.Message : $"{e.Message}; the kernel has no bridge support loaded: {hint}";
    }
}
