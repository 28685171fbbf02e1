// Random wishes and random disturbances from outside, the same for the same seed, with a log of what was done.
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Tests.Reconcile;

internal sealed class RandomHost
{
    private static readonly string[] s_labels = ["lan", "dmz", "wan", "san"];

    private readonly Random _random;
    private int _cards;

    public RandomHost(int seed)
    {
        _random = new Random(seed);
        for (int i = 0; i < 2; i++)
            Host.AddNic($"eth{i}", ++_cards);
        for (int i = 0; i < 5; i++)
            Host.AddVeth($"vif{i}.0");
        Host.AddBridge("virbr0");
        LinkInfo foreign = Host.AddVeth("foreign");
        Host.Kernel.Edit(foreign.Index, l => l with { MasterIndex = Host.Kernel.Find("virbr0")!.Index });
    }

    public Host Host { get; } = new();

    public List<string> Log { get; } = [];

    private KernelModel Kernel => Host.Kernel;

    /// <summary>Somebody asks for something; what is refused changes nothing.</summary>
    public void Wish()
    {
        try
        {
            WishFor(_random.Next(10));
        }
        catch (RefusalException e)
        {
            Log.Add($"refused: {e.Message}");
        }
    }

    /// <summary>Something happens that nobody asked us about.</summary>
    public void Disturb()
    {
        LinkInfo link = Pick(Kernel.Links), port = Pick(Kernel.Links.Where(l => l.Bridge is null));
        List<LinkInfo> bridges = [.. Kernel.Links.Where(l => l.Bridge is not null)];
        int what = _random.Next(14);
        Log.Add($"disturbance {what}: {link.Name} or {port.Name}");
        switch (what)
        {
            case 0 when Kernel.Links.Count() > 4: Kernel.Vanish(link.Index); break;
            case 1: Host.AddVeth(FreeName($"vif{_random.Next(8)}.0")); break;
            case 2: Kernel.Edit(link.Index, l => l with { Name = FreeName($"name{_random.Next(100)}") }); break;
            case 3: Kernel.Edit(port.Index, l => l with { MasterIndex = 0, BridgePort = null }); break;
            case 4 when bridges.Count > 0: Kernel.Edit(port.Index, l => l with { MasterIndex = Pick(bridges).Index, BridgePort = null }); break;
            case 5: Kernel.Edit(link.Index, l => l with { Mtu = _random.Next(68, 9000) }); break;
            case 6: Kernel.Edit(link.Index, l => l with { Flags = l.Flags ^ LinkFlags.Up }); break;
            case 7 when !Kernel.WithoutCarrier.Add(link.Index): Kernel.WithoutCarrier.Remove(link.Index); break;
            case 8:
                BridgePortData attributes = new() { Isolated = _random.Next(2) == 0, Learning = _random.Next(3) > 0 };
                Kernel.Edit(port.Index, l => l with { BridgePort = attributes });
                break;
            case 9 when link.Bridge is { } data: Kernel.Edit(link.Index, l => l with { Bridge = data with { VlanFiltering = !data.VlanFiltering } }); break;
            case 10 when port.Kind is null:
                Kernel.StrippingTags.Add(port.Index);
                Kernel.TagsSwitchedOff.Remove(port.Index);
                break;
            case 11: Host.AddNic(FreeName($"eth{_random.Next(9)}"), ++_cards); break;
            case 13 when !Host.TakingXdp.Add(port.Index): Host.TakingXdp.Remove(port.Index); break;
            case 12: Host.FastPath.Unfit.Add(port.Index); break;
        }

        // Whoever deletes a bridge may leave its name to something else; whoever has a guest's name next is another guest.
        if (what == 0 && _random.Next(3) == 0 && Kernel.Find(link.Name) is null)
            Host.AddVeth(link.Name);
    }

    /// <summary>Requests fail now and then, as the real ones do.</summary>
    public void SetFaults(bool on) => Kernel.Fault = _ => on && _random.Next(6) == 0 ? _random.Next(2) == 0 ? 16 : 12 : 0;     // EBUSY, ENOMEM

    private void WishFor(int what)
    {
        Log.Add($"wish {what}");
        string label = s_labels[_random.Next(s_labels.Length)];
        Network? network = Host.State.Networks.FirstOrDefault(n => n.Label == label);
        if (network is null)
        {
            Host.Create(label, label + "br", _random.Next(1000, 2000), Path());
            return;
        }

        string device = Pick(Kernel.Links.Where(l => l.Bridge is null)).Name;
        switch (what)
        {
            case 0: Host.State = Host.State.Remove(network); break;
            case 1: Host.State = Host.State.Change(network with { Mtu = _random.Next(68, 9000) }); break;
            case 2: Host.State = Host.State.Change(network with { Datapath = Path() }); break;
            case 3 when Kernel.Find(device)!.ParentDeviceName is not null: Host.Connect(device, network); break;
            case 4: Host.State = Host.State.Disconnect(network); break;
            case 5 when Host.State.PifOf(network) is { } pif: Host.State = Host.State.Change(pif with { IsPlugged = !pif.IsPlugged }); break;
            case 6 when Host.State.Vifs.Length > 0: Host.State = Host.State.Remove(Pick(Host.State.Vifs)); break;
            case 7 when Host.State.Vifs.Length > 0: Host.State = Host.State.Change(Pick(Host.State.Vifs) with { Network = network.Uuid }); break;
            default: Host.Plug(device, network); break;
        }
    }

    private Datapath Path() => _random.Next(4) switch { 0 => Datapath.Bridge, 1 => Datapath.Redirect, _ => Datapath.Afxdp };

    private string FreeName(string name) => Kernel.Find(name) is null ? name : FreeName(name + "x");

    private T Pick<T>(IEnumerable<T> from)
    {
        List<T> all = [.. from];
        return all[_random.Next(all.Count)];
    }
}
