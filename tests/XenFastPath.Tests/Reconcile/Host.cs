// A host: desired state, kernel and fast path, brought together by the real Follow, Plan.Diff and Applier.
using System.Text;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;
using XenFastPath.Tests.Model;

namespace XenFastPath.Tests.Reconcile;

internal sealed class Host
{
    /// <summary>As many as the controller allows.</summary>
    public const int RoundsMax = 10;

    private readonly Applier _applier;
    private int _uuids;

    public Host()
    {
        Kernel = new KernelModel();
        FastPath = new ModelFastPath(Kernel);
        _applier = new Applier(Kernel.Rtnl, Kernel.Generic, FastPath);
    }

    public KernelModel Kernel { get; }

    public ModelFastPath FastPath { get; }

    /// <summary>Devices that take XDP frames.</summary>
    public HashSet<int> TakingXdp { get; } = [];

    public HostState State { get; set; } = HostState.Empty;

    public List<Happening> Happenings { get; } = [];

    public IReadOnlyList<RefusalException> Problems { get; private set; } = [];

    public Guid NextUuid() => new(++_uuids, 0, 0x4000, new byte[8]);

    public Observed Look() => new(Kernel.Links, Make.BootId, Make.Netns, Facts(), new Dictionary<string, IReadOnlyList<string>>(), FastPath)
    {
        Addresses = [.. Kernel.Addresses],
        Routes = [.. Kernel.Routes],
        Rules = [.. Kernel.Rules],
    };

    public LinkInfo AddVeth(string name, int mtu = 1500) =>
        Kernel.Add(new LinkInfo { Name = name, Kind = "veth", Mtu = mtu, MinMtu = 68, MaxMtu = 65535, Address = new MacAddress(0xfeffffffffff) });

    public LinkInfo AddNic(string name, int number, int mtu = 1500) => Kernel.Add(new LinkInfo
    {
        Name = name,
        Mtu = mtu,
        MinMtu = 68,
        MaxMtu = 9216,
        Address = new MacAddress(0x525400000000UL + (uint)number),
        PermanentAddress = new MacAddress(0x525400000000UL + (uint)number),
        ParentBusName = "pci",
        ParentDeviceName = $"0000:{number:x2}:00.0",
    });

    public LinkInfo AddBridge(string name, string? alias = null) => Kernel.Add(new LinkInfo
    {
        Name = name,
        Kind = "bridge",
        Mtu = 1500,
        MinMtu = 68,
        MaxMtu = 65535,
        Flags = LinkFlags.Up,
        Alias = alias,
        Address = new MacAddress(0x0200000000fe),
        Bridge = new BridgeData { AgeingTime = TimeSpan.FromSeconds(300) },
    });

    public Network Create(string label, string? bridge = null, int mtu = 1500, Datapath datapath = Datapath.Bridge)
    {
        Admission.Bridge(bridge ?? label, Look());
        Network network = new(NextUuid(), State.NextNetworkId(), label, bridge ?? label, mtu, datapath);
        State = State.Add(network);
        return network;
    }

    public void Plug(string device, Network network, string? mac = null)
    {
        Observed observed = Look();
        LinkInfo link = Admission.Vif(device, network, observed);
        State = State.Add(new Vif(NextUuid(), device, network.Uuid, mac, new DeviceBinding(observed.BootId, observed.NetnsInode, link.Index)));
    }

    public void Connect(string device, Network network)
    {
        Observed observed = Look();
        Pif? pif = State.Pifs.FirstOrDefault(p => p.Device == device);
        LinkInfo link = Admission.Pif(device, observed);
        HostState state = pif is null ? State.Add(pif = observed.NewPif(NextUuid(), link)) : State;
        Admission.Uplink(link, network.Bridge, network.Mtu, observed);
        if (HostAddresses.AreOn(link, observed))
            Admission.Host(link, network.Bridge, observed, Kernel.Routes);
        Pif admitted = pif with { HadAddresses = HostAddresses.AreOn(link, observed) };
        State = state.Change(admitted).Connect(admitted, network, wasInBridge: link.MasterIndex != 0, hadLinkLocal: link.Ipv6LinkLocal == true);
    }

    public void Tag(string device, int tag, Network network)
    {
        Pif pif = Introduce(device);
        string name = Rules.VlanDeviceFor(device, tag, n => Kernel.Find(n) is not null);
        LinkInfo? existing = Admission.Vlan(pif, tag, network, Look());
        State = State.Add(new Vlan(NextUuid(), pif.Uuid, tag, network.Uuid, existing?.Name ?? name) { WasThere = existing is not null });
    }

    public void Bond(string name, BondingMode mode, Network network, params string[] devices)
    {
        Pif[] members = [.. devices.Select(Introduce)];
        foreach (Pif member in members)
            Admission.Member(member, network, State, Look());
        State = State.Add(new Bond(NextUuid(), name, [.. members.Select(m => m.Uuid)], mode, null, new BondProperties()), NextUuid(), network);
    }

    private Pif Introduce(string device)
    {
        if (State.Pifs.FirstOrDefault(p => p.Device == device) is { } known)
            return known;
        Observed observed = Look();
        Pif pif = observed.NewPif(NextUuid(), Admission.Pif(device, observed));
        State = State.Add(pif);
        return pif;
    }

    /// <summary>One round, as the controller does it.</summary>
    public (Plan Plan, IReadOnlyList<RefusalException> Failures) Round()
    {
        Observed observed = Look();
        (State, IReadOnlyList<Happening> happenings) = Follow.Devices(State, observed);
        Happenings.AddRange(happenings);
        Plan plan = Plan.Diff(State, observed);
        Problems = plan.Problems;
        bool isStillKnown = plan.Actions.All(a => Follow.LeavesLinks(a, observed));
        IReadOnlyList<StepFailure> failures = _applier.Apply(plan, new HashSet<PlanAction>(),
            step => State = Follow.Before(State, step, observed), step => State = Follow.After(State, step, observed));
        // The controller does not look again then.
        if (isStillKnown)
            Assert.Equal(Plan.Diff(State, Look()).Actions.Select(a => a.Text), Plan.Diff(State, observed).Actions.Select(a => a.Text));
        return (plan, [.. failures.Select(f => f.Reason)]);
    }

    /// <summary>Rounds until there is nothing to do; their text.</summary>
    public string Converge()
    {
        StringBuilder text = new();
        for (int round = 1; round <= RoundsMax + 1; round++)
        {
            Happenings.Clear();
            (Plan plan, IReadOnlyList<RefusalException> failures) = Round();
            foreach (Happening happening in Happenings)
                text.Append($"  ~ {happening.Kind} {happening.Subject}: {happening.Message}\n");
            if (!plan.IsEmpty)
                text.Append($"  round {round}\n");
            foreach (PlanAction action in plan.Actions)
                text.Append($"    {action}\n");
            foreach (RefusalException failure in failures)
                text.Append($"    failed: {failure.Message}\n");
            if (plan.IsEmpty)
            {
                foreach (RefusalException problem in plan.Problems)
                    text.Append($"  problem: {problem.Message}\n");
                return text.ToString();
            }
        }

        Assert.Fail($"does not converge:\n{text}");
        return "";
    }

    private Dictionary<int, PortFacts> Facts()
    {
        NetdevInfo native = new(0, XdpFeatures.Basic | XdpFeatures.Redirect, 0, null, null);
        NetdevInfo transmits = native with { Features = native.Features | XdpFeatures.Transmit };
        return Kernel.Links.Where(l => l.Bridge is null).ToDictionary(l => l.Index, l => new PortFacts(TakingXdp.Contains(l.Index) ? transmits : native, 1,
            HidesTags: Kernel.HidingTags.Contains(l.Index) && Kernel.TagsSwitchedOff.Contains(l.Index), Kernel.StrippingTags.Contains(l.Index)));
    }
}
