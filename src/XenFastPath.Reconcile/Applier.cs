// Carries a plan out, step by step. A step that fails is reported with its object; the steps of other objects go on.
using System.Net;
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

/// <summary>A step that failed, and why.</summary>
public sealed record StepFailure(PlanAction Step, RefusalException Reason);

/// <summary>Turns actions into requests. Not thread-safe.</summary>
public sealed partial class Applier(
    Rtnl rtnl, GenericNetlink generic, IFastPath fastPath, Action<int, MacAddress, IEnumerable<IPAddress>>? announce = null)
{
    private readonly HostMover _host = new(rtnl, announce ?? ((_, _, _) => { }));

    /// <summary>Bridges that this plan has made or put ports into, with their ifindexes: each is asked for once.</summary>
    private readonly Dictionary<string, int> _bridges = [];

    /// <summary>
    /// Learned addresses that a bridge of ours holds at most (kernel 6.7): a guest that floods source addresses must not fill
    /// dom0's memory.
    /// </summary>
    public const int FdbLearnedMax = 65536;

    /// <summary>
    /// Does the plan's steps, except those of <paramref name="held"/>, which failed before and wait for another try, and those that
    /// come after a failed one of the same object. <paramref name="starts"/> is told of each before it is done, and a refusal of it
    /// counts as the step's; <paramref name="done"/> is told of each that succeeded. Returns the failures, with the hint of what to
    /// load where a kernel feature is missing.
    /// </summary>
    public IReadOnlyList<StepFailure> Apply(Plan plan, IReadOnlySet<PlanAction> held, Action<PlanAction> starts, Action<PlanAction> done)
    {
        List<StepFailure> failures = [];
        HashSet<string> broken = [];
        _bridges.Clear();
        using IDisposable batch = fastPath.Begin();
        foreach (PlanAction action in plan.Actions)
        {
            // A port cannot join a bridge that could not be made; the bridge's failure says it all. A bridge that still has addresses stays.
            if (broken.Contains(action.Subject) || (Into(action) is { } master && broken.Contains(master)))
            {
                if (action is MoveHostAddresses blocked)
                    broken.Add(blocked.From);
                continue;
            }

            if (held.Contains(action))
            {
                Break(action);
                continue;
            }

            try
            {
                starts(action);
                Do(action);
                done(action);
            }
            catch (NetlinkException e)
            {
                Break(action);
                failures.Add(new StepFailure(action, new RefusalException(action.Subject, Explain(action, e))));
            }
            catch (RefusalException e)
            {
                Break(action);
                failures.Add(new StepFailure(action, e));
            }
        }

        return failures;

        void Break(PlanAction action)
        {
            if (IsIndependent(action))
                return;
            broken.Add(action.Subject);
            if (action is MoveHostAddresses move)
                broken.Add(move.From);      // what is still there must not be deleted with its bridge
        }
    }

    /// <summary>An address or a route that cannot be had keeps no other away: a host without IPv6 is still reached by IPv4.</summary>
    private static bool IsIndependent(PlanAction action) =>
        action is SpeakIpv6 or AddHostAddress or AddHostRoute or RemoveHostAddress or RemoveHostRoute;

    /// <summary>Gives a device that was to join a Network, and may not after all, back as it was.</summary>
    public void GiveBack(LinkInfo was, LinkInfo now)
    {
        if (now.Mtu != was.Mtu)
            rtnl.SetMtu(now.Index, was.Mtu);
        if (was.Ipv6LinkLocal == true)
            SetIpv6LinkLocal(now, true);
        // A bond sets down what leaves it.
        if (now.IsUp != was.IsUp)
            rtnl.SetUp(now.Index, was.IsUp);
    }

    private void Do(PlanAction action)
    {
        switch (action)
        {
            case CreateBridge create:
                Create(create);
                break;
            case DeleteBridge delete:
                Delete(delete);
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
            case CreateVlan or CreateTag or CreateBond or ChangeBond or Enslave or Release or SetDown or DeleteDevice:
                DoUplink(action);
                break;
            case ConfigureSlb slb:
                fastPath.Slb.Configure(slb.Ifindex, slb.Device, slb.Settings);
                break;
            case RemoveSlb slb:
                fastPath.Slb.Remove(slb.Ifindex, slb.Device);
                break;
            case TellMember tell:
                fastPath.TellMember(tell.Ifindex, tell.Device, tell.Member, tell.Uplinks);
                break;
            case PinAddress pin:
                rtnl.SetAddress(pin.Ifindex, pin.Address);
                break;
            case KeepTags tags:
                generic.SetFeatures(tags.Ifindex, (EthtoolFeature.RxVlan, false));
                break;
            case RestoreTags tags:
                generic.SetFeatures(tags.Ifindex, (EthtoolFeature.RxVlan, true));
                break;
            case ConfigurePort port:
                fastPath.Configure(port.Ifindex, port.Device, port.Settings);
                break;
            case RemovePort port:
                fastPath.Remove(port.Ifindex, port.Device);
                break;
            default:
                _host.Do(action);
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
        LinkSettings link = new() { Mtu = create.Network.Mtu, Address = create.Address };
        _bridges[create.Network.Bridge] = Make(create.Network.Bridge, create.Network.Uuid, bridge, link).Index;
        Ipv6Sysctl.IgnoreAdvertisements(create.Network.Bridge);
    }

    /// <summary>
    /// What was to move away has moved by now. Whatever the plan knew or did not know: a bridge is not deleted with addresses by which
    /// this host is reached. Those that we gave are given again where they are wanted.
    /// </summary>
    private void Delete(DeleteBridge delete)
    {
        string[] own = [.. rtnl.GetAddresses().Where(a => a.Ifindex == delete.Ifindex && !a.Local.IsIPv6LinkLocal && a.Protocol != HostMover.Maker)
            .Select(a => a.ToString())];
        if (own.Length > 0)
        {
            throw new RefusalException(delete.Bridge, $"is not deleted: this host still has {string.Join(", ", own)} on it; "
                + $"take that away first (ip address del {own[0]} dev {delete.Bridge})");
        }

        rtnl.DeleteLink(delete.Ifindex);
    }

    /// <summary>
    /// A device that bears its owner's mark, up unless told otherwise. It makes no address by itself: a switch is not a host, guests must
    /// not find dom0 on it unasked.
    /// </summary>
    private LinkInfo Make(string name, Guid owner, LinkKindSettings kind, LinkSettings link, bool isUp = true)
    {
        LinkSettings marked = link with { Alias = Plan.MarkOf(owner) };
        try
        {
            rtnl.CreateLink(name, kind, marked with { Ipv6LinkLocal = false });
        }
        catch (NetlinkException e) when (e.Errno == Interop.Errno.EAFNOSUPPORT)
        {
            rtnl.CreateLink(name, kind, marked);    // it has no IPv6, and so makes no address either
        }

        LinkInfo made = rtnl.GetLink(name) ?? throw new RefusalException(name, "the device vanished as it was made");
        if (isUp)
            rtnl.SetUp(made.Index, true);
        return made;
    }

    private void Attach(AttachPort attach)
    {
        if (!_bridges.TryGetValue(attach.Bridge, out int bridge))
        {
            bridge = rtnl.GetLink(attach.Bridge)?.Index ?? throw new RefusalException(attach.Bridge, "the bridge is missing");
            _bridges[attach.Bridge] = bridge;
        }

        rtnl.SettleCarrier(attach.Ifindex);
        if (rtnl.TryEnslaveWithoutLinkLocal(attach.Ifindex, bridge))
            return;
        // It may have no IPv6. Whatever else is wrong, the single steps say.
        LinkInfo port = rtnl.GetLink(attach.Ifindex) ?? throw new RefusalException(attach.Device, "the device is gone");
        SetIpv6LinkLocal(port, false);
        rtnl.SetMaster(attach.Ifindex, bridge);
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
        string? kind = action switch
        {
            CreateBridge => "bridge",
            CreateVlan or CreateTag => "vlan",
            CreateBond => "bond",
            _ => null,
        };
        return kind is not null && e.ModuleHint(kind) is { } hint ? $"{e.Message}; the kernel has no {kind} support loaded: {hint}" : e.Message;
    }
}
