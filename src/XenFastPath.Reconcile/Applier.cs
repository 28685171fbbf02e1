// Carries a plan out, step by step. A step that fails is reported with its object; the steps of other objects go on.
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

/// <summary>A step that failed, and why.</summary>
public sealed record StepFailure(PlanAction Step, RefusalException Reason);

/// <summary>Turns actions into requests. Not thread-safe.</summary>
public sealed class Applier(Rtnl rtnl, GenericNetlink generic, IFastPath fastPath)
{
    /// <summary>
    /// Learned addresses that a bridge of ours holds at most (kernel 6.7): a guest that floods source addresses must not fill
    /// dom0's memory.
    /// </summary>
    public const int FdbLearnedMax = 65536;

    /// <summary>
    /// Does the plan's steps, except those of <paramref name="held"/>, which failed before and wait for another try, and those that
    /// come after a failed one of the same object. <paramref name="done"/> is told of each that succeeded. Returns the failures,
    /// with the hint of what to load where a kernel feature is missing.
    /// </summary>
    public IReadOnlyList<StepFailure> Apply(Plan plan, IReadOnlySet<PlanAction> held, Action<PlanAction> done)
    {
        List<StepFailure> failures = [];
        HashSet<string> broken = [];
        foreach (PlanAction action in plan.Actions)
        {
            // A port cannot join a bridge that could not be made; the bridge's failure says it all.
            if (broken.Contains(action.Subject) || (action is AttachPort attach && broken.Contains(attach.Bridge)))
                continue;
            if (held.Contains(action))
            {
                broken.Add(action.Subject);
                continue;
            }

            try
            {
                Do(action);
                done(action);
            }
            catch (NetlinkException e)
            {
                broken.Add(action.Subject);
                failures.Add(new StepFailure(action, new RefusalException(action.Subject, Explain(action, e))));
            }
            catch (RefusalException e)
            {
                broken.Add(action.Subject);
                failures.Add(new StepFailure(action, e));
            }
        }

        return failures;
    }

    /// <summary>Gives a device that was to join a Network, and may not after all, back as it was.</summary>
    public void GiveBack(LinkInfo was, LinkInfo now)
    {
        if (now.Mtu != was.Mtu)
            rtnl.SetMtu(now.Index, was.Mtu);
        if (was.Ipv6LinkLocal == true)
            SetIpv6LinkLocal(now, true);
        if (now.IsUp && !was.IsUp)
            rtnl.SetUp(now.Index, false);
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
                Detach(detach);
                break;
            case PinAddress pin:
                rtnl.SetAddress(pin.Ifindex, pin.Address);
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
        };
        rtnl.CreateLink(create.Network.Bridge, bridge, link);
        LinkInfo made = rtnl.GetLink(create.Network.Bridge) ?? throw new RefusalException(create.Network.Bridge, "the bridge vanished as it was made");
        SetIpv6LinkLocal(made, false);      // a switch is not a host: guests must not find dom0 on it unasked
        rtnl.SetUp(made.Index, true);
    }

    private void Attach(AttachPort attach)
    {
        LinkInfo bridge = rtnl.GetLink(attach.Bridge) ?? throw new RefusalException(attach.Bridge, "the bridge is missing");
        LinkInfo port = rtnl.GetLink(attach.Ifindex) ?? throw new RefusalException(attach.Device, "the device is gone");
        SetIpv6LinkLocal(port, false);
        rtnl.SetMaster(attach.Ifindex, bridge.Index);
    }

    private void Detach(DetachPort detach)
    {
        rtnl.SetMaster(detach.Ifindex, 0);
        if (detach.RestoresLinkLocal && rtnl.GetLink(detach.Ifindex) is { } port)
            SetIpv6LinkLocal(port, true);
    }

    /// <summary>A device without IPv6 (MTU under 1280, ipv6.disable=1) makes no such address anyway.</summary>
    private void SetIpv6LinkLocal(LinkInfo link, bool isOn)
    {
        if (link.Ipv6LinkLocal is { } isOnNow && isOnNow != isOn)
            rtnl.SetIpv6LinkLocal(link.Index, isOn);
    }

    private static string Explain(PlanAction action, NetlinkException e)
    {
        string? hint = action is CreateBridge ? e.ModuleHint("bridge") : null;
        return hint is null ? e.Message : $"{e.Message}; the kernel has no bridge support loaded: {hint}";
    }
}
