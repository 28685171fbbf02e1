// A document made into a desired state: objects that are there already keep their identity, others are made, the rest goes.
using System.Collections.Immutable;

namespace XenFastPath.Model;

/// <summary>What the making of objects needs to know of the machine. Each method refuses what a single request would refuse.</summary>
public interface IDocumentHost
{
    /// <summary>A new Network, as <c>network create</c> makes it.</summary>
    Network NewNetwork(HostState state, string label, string? bridge, int? mtu, Datapath datapath);

    /// <summary>May a Network become so, with the ports it has in <paramref name="state"/>?</summary>
    void CheckChange(HostState state, Network changed);

    /// <summary>May a Network of <paramref name="state"/> go?</summary>
    void CheckDestroy(HostState state, Network network);

    /// <summary>May a bond of <paramref name="state"/> go with all that it carries? Its Network may have another uplink then.</summary>
    void CheckLeftOut(HostState state, Bond bond, bool hasOtherUplink);

    /// <summary>The device as a PIF without a Network, as <c>pif introduce</c> makes it: by MAC and bus path if given, else by name.</summary>
    Pif NewPif(string device, string? mac, string? busPath);

    /// <summary>May a PIF become the uplink of a Network, coming from <paramref name="from"/>? Null for a bond that is still to be made.</summary>
    (bool WasInBridge, bool HadLinkLocal, bool HadAddresses) CheckUplink(Pif pif, Network network, Network? from);

    /// <summary>May a PIF that is to be so have these addresses of this host?</summary>
    void CheckIp(Pif pif, IpConfiguration ip);

    /// <summary>May a PIF become a member of a bond that serves <paramref name="network"/>?</summary>
    void CheckMember(HostState state, Pif member, Network? network);

    /// <summary>A new VLAN, as <c>vlan create</c> makes it.</summary>
    Vlan NewVlan(HostState state, Pif pif, int tag, Network network, string? device);

    /// <summary>A new VIF, as <c>vif plug</c> makes it.</summary>
    Vif NewVif(string device, Network network, string? mac);

    /// <summary>May a VIF move?</summary>
    void CheckMove(Vif vif, Network from, Network to);

    /// <summary>Can the device of a VIF of <paramref name="state"/> have its trunks?</summary>
    void CheckTrunks(HostState state, Vif vif);
}

/// <summary>One application of a document to a state; pure but for what <paramref name="host"/> looks at.</summary>
public sealed class DocumentApply(HostDocument document, HostState before, IDocumentHost host)
{
    private readonly Dictionary<string, Pif> _pifs = [];
    private readonly Dictionary<string, Vif> _vifsBefore = [];
    private readonly HashSet<Guid> _networksBefore = [.. before.Networks.Select(n => n.Uuid)];
    private readonly List<Vif> _vifs = [];
    private readonly HashSet<string> _vifDevices = [];
    private readonly HashSet<DeviceBinding> _vifBindings = [];
    private HostState _state = HostState.Empty with
    {
        Doomed = before.Doomed, DoomedLinks = before.DoomedLinks, TagsKept = before.TagsKept,
    };

    /// <summary>What is wanted then.</summary>
    /// <exception cref="RefusalException">The document contradicts itself, a rule, or the machine; names the element and its line.</exception>
    public HostState Wanted()
    {
        Each("networks", document.Networks, AddNetwork);
        Each("pifs", document.Pifs, AddPif);
        Each("bonds", document.Bonds, AddBond);
        Each("pifs", document.Pifs, Connect);
        Each("vlans", document.Vlans, AddVlan);
        foreach (Vif vif in before.Vifs)
            _vifsBefore.TryAdd(vif.Device, vif);
        if (document.Vifs is { IsDefault: false } vifs)
            Each("vifs", vifs, AddVif);
        else
            KeepVifs();
        _state = WithVifs();
        foreach (Network gone in before.Networks.Where(n => _state.Networks.All(s => s.Uuid != n.Uuid)))
            CheckDestroy(gone);
        foreach (Pif gone in before.Pifs.Where(p => p.Bond is null && _state.Pifs.All(s => s.Uuid != p.Uuid)))
            CheckLeftOut(gone);
        foreach (Bond gone in before.Bonds.Where(b => _state.Bonds.All(s => s.Uuid != b.Uuid)))
            host.CheckLeftOut(before, gone, HasUplink(before.MasterOf(gone).Network));
        _state = _state.After(before);
        // What stays keeps its place, so that a document without news changes not even the order in the file.
        return _state with
        {
            Networks = InOrder(before.Networks, _state.Networks, n => n.Uuid),
            Pifs = InOrder(before.Pifs, _state.Pifs, p => p.Uuid),
            Vlans = InOrder(before.Vlans, _state.Vlans, v => v.Uuid),
            Bonds = InOrder(before.Bonds, _state.Bonds, b => b.Uuid),
            Vifs = InOrder(before.Vifs, _state.Vifs, v => v.Uuid),
        };
    }

    /// <summary>
    /// The step between <paramref name="before"/> and <paramref name="wanted"/>: PIFs that go are disconnected, not forgotten yet. What
    /// is known of a PIF (was it in its bridge before us?) says how it leaves.
    /// </summary>
    public static HostState Disconnected(HostState before, HostState wanted)
    {
        IEnumerable<Pif> leaving = before.Pifs.Where(p => p is { Network: not null, Bond: null }
            && wanted.Pifs.All(w => w.Uuid != p.Uuid && w.Device != p.Device));
        return wanted with { Pifs = [.. wanted.Pifs, .. leaving.Select(p => Freed(p, wanted))] };
    }

    private void AddNetwork(DocumentNetwork wanted)
    {
        Datapath? datapath = wanted.Datapath is { } word ? Rules.ParseDatapath(wanted.Label, word) : null;
        Network? known = before.Networks.FirstOrDefault(n => n.Label == wanted.Label);
        if (known is null)
        {
            // Neither numbers nor names of those that go are free yet.
            HostState all = before with { Networks = before.Networks.AddRange(_state.Networks.Where(n => !_networksBefore.Contains(n.Uuid))) };
            _state = _state.Add(host.NewNetwork(all, wanted.Label, wanted.Bridge, wanted.Mtu, datapath ?? Datapath.Auto));
            return;
        }

        if (wanted.Bridge is { } bridge && bridge != known.Bridge)
            throw new RefusalException(wanted.Label, $"its bridge is {known.Bridge}, and a network keeps its bridge; another label makes another network");
        Network changed = known with { Mtu = wanted.Mtu ?? known.Mtu, Datapath = datapath ?? known.Datapath };
        _state = _state.Add(changed);
        if (changed != known)
            host.CheckChange(before, changed);
    }

    private void AddPif(DocumentPif wanted)
    {
        if (_pifs.ContainsKey(wanted.Device))
            throw new RefusalException(wanted.Device, "there is a pif of this name in the document already");
        if (document.Bonds.Any(b => b.Device == wanted.Device))
            return;     // comes with its bond
        if (wanted.Mac is { } mac)
            Rules.CheckMac(wanted.Device, mac);
        if (wanted.Plugged is not null && wanted.Network is null)
            throw new RefusalException(wanted.Device, "\"plugged\" says nothing without \"network\"");
        string? key = wanted.Mac?.ToLowerInvariant();
        Pif? known = before.Pifs.FirstOrDefault(p => p.Bond is null && (key is null && wanted.BusPath is null
            ? p.Device == wanted.Device
            : p.Binding is null && (key ?? p.Mac) == p.Mac && (wanted.BusPath ?? p.BusPath) == p.BusPath));
        Pif pif = WithIp(known is null ? host.NewPif(wanted.Device, key, wanted.BusPath) : Freed(known, _state), wanted);
        _state = _state.Add(pif);
        _pifs.Add(wanted.Device, pif);
    }

    private Pif WithIp(Pif pif, DocumentPif? wanted)
    {
        if (wanted?.Ip is not { } given)
            return pif;
        IpConfiguration? ip = given.Configuration(pif.Device);
        if (ip is not null && ip != pif.Ip)
            host.CheckIp(pif with { Network = UuidOf(wanted), IsPlugged = wanted.Network is not null && wanted.Plugged != false }, ip);
        return pif with { Ip = ip };
    }

    private void AddBond(DocumentBond wanted)
    {
        BondProperties properties = (wanted.Properties ?? ImmutableDictionary<string, string>.Empty)
            .Aggregate(new BondProperties(), (p, given) => BondWords.With(p, wanted.Device, given.Key, given.Value));
        Rules.CheckDeviceName(wanted.Device);
        if (wanted.Members.IsDefault || wanted.Members.Length < 2)
            throw new RefusalException(wanted.Device, "a bond has at least two members");
        if (wanted.Members.Distinct().Count() != wanted.Members.Length)
            throw new RefusalException(wanted.Device, "a pif is named twice");
        Pif[] members = [.. wanted.Members.Select(m => PifOf(wanted.Device, m))];
        foreach (Pif member in members)
        {
            if (member.Bond is not null)
                throw new RefusalException(wanted.Device, $"member {member.Device} is a bond itself");
            if (_state.BondOfMember(member) is { } other)
                throw new RefusalException(wanted.Device, $"member {member.Device} is a member of bond {other.Device} already");
        }

        Bond? known = before.Bonds.FirstOrDefault(b => b.Device == wanted.Device);
        DocumentPif? element = document.Pifs.FirstOrDefault(p => p.Device == wanted.Device);
        Network? served = before.Networks.FirstOrDefault(n => n.Label == element?.Network);
        foreach (Pif member in members.Where(m => known?.Members.Contains(m.Uuid) != true))
            host.CheckMember(before, member, served);
        if (members.FirstOrDefault(m => m.Ip is not null) is { } configured)
            throw new RefusalException(configured.Device, "has addresses, and a member of a bond has none; give them to the bond, and the member \"ip\": {}");
        ImmutableArray<Guid> uuids = [.. members.Select(m => m.Uuid)];
        Bond bond = new(known?.Uuid ?? Guid.NewGuid(), wanted.Device, uuids,
            BondWords.ParseMode(wanted.Device, wanted.Mode), wanted.Mac?.ToLowerInvariant(), properties);
        Rules.CheckBond(bond);
        string mac = bond == known ? before.MasterOf(known).Mac : bond.Mac ?? members[0].Mac;
        Pif master = known is not null ? Freed(before.MasterOf(known), _state) with { Mac = mac }
            : new Pif(Guid.NewGuid(), wanted.Device, mac, null, null, false, false) { Bond = bond.Uuid };
        master = WithIp(master, element);
        if (_pifs.ContainsKey(wanted.Device))
            throw new RefusalException(wanted.Device, "there is a bond of this name in the document already");
        _state = _state.Add(master) with { Bonds = _state.Bonds.Add(bond == known ? known : bond) };
        _pifs.Add(wanted.Device, master);
    }

    private void Connect(DocumentPif wanted)
    {
        if (wanted.Network is null)
            return;
        Network network = NetworkOf(wanted.Device, wanted.Network);
        Pif pif = _state.Pifs.First(p => p.Uuid == _pifs[wanted.Device].Uuid);
        Pif? was = before.Pifs.FirstOrDefault(p => p.Uuid == pif.Uuid);
        bool isPlugged = wanted.Plugged ?? true, stays = was?.Network == network.Uuid;
        Network? from = stays ? network : was?.Network is { } uuid ? before.NetworkOf(uuid) : null;
        (bool wasInBridge, bool hadLinkLocal) = (was?.WasInBridge == true, was?.HadLinkLocal == true);
        if (!stays || (isPlugged && !was!.IsPlugged))
        {
            (bool isInBridge, bool hasLinkLocal, bool hasAddresses) = host.CheckUplink(pif, network, from);
            // One that comes from another of our Networks was in that one's bridge because of us.
            wasInBridge = stays ? wasInBridge : from is null && isInBridge;
            hadLinkLocal |= from is null && hasLinkLocal;
            Pif admitted = pif with { HadAddresses = hasAddresses || (from is not null && pif.HadAddresses) };
            _state = _state.Change(admitted);
            pif = admitted;
        }

        _state = _state.Connect(pif, network, wasInBridge, hadLinkLocal);
        if (!isPlugged)
            _state = _state.Change(_state.Pifs.First(p => p.Uuid == pif.Uuid) with { IsPlugged = false });
    }

    private void AddVlan(DocumentVlan wanted)
    {
        Pif pif = PifOf($"{wanted.Pif}.{wanted.Tag}", wanted.Pif);
        Network network = NetworkOf($"{wanted.Pif}.{wanted.Tag}", wanted.Network);
        Vlan? known = before.Vlans.FirstOrDefault(v => v.Pif == pif.Uuid && v.Tag == wanted.Tag);
        _state = _state.Add(known is null ? host.NewVlan(_state, pif, wanted.Tag, network, wanted.Device) : known with { Network = network.Uuid });
    }

    private void AddVif(DocumentVif wanted)
    {
        Network network = NetworkOf(wanted.Device, wanted.Network);
        string? mac = wanted.Mac?.ToLowerInvariant();
        Vif? known = _vifsBefore.GetValueOrDefault(wanted.Device);
        if (known is not null && known.Network != network.Uuid)
            host.CheckMove(known, before.NetworkOf(known.Network), network);
        TagSet? trunks = wanted.Trunks is { IsDefault: false } tags ? Rules.Trunks(wanted.Device, tags) : null;
        Vif vif = (known is null ? host.NewVif(wanted.Device, network, mac) : known with { Network = network.Uuid, Mac = mac }) with { Trunks = trunks };
        Add(vif);
        _state.CheckTrunks(vif, before);
        if (trunks is not null && vif != known)
            host.CheckTrunks(_state, vif);
    }

    private void KeepVifs()
    {
        foreach (Vif vif in before.Vifs.Where(v => _state.Networks.Any(n => n.Uuid == v.Network)))
            Add(vif);
        WithVifs().CheckTrunks(before);
    }

    /// <summary>
    /// Thousands of them are not each compared with each, nor is the state made anew with each; the one that is there already is refused
    /// with its words.
    /// </summary>
    private void Add(Vif vif)
    {
        bool isNew = _vifDevices.Add(vif.Device) & _vifBindings.Add(vif.Binding);
        _ = isNew ? _state.AddUnique(vif) : WithVifs().Add(vif);
        _vifs.Add(vif);
    }

    private HostState WithVifs() => _state with { Vifs = [.. _vifs] };

    /// <summary>A guest is cut off by intent only: by a list of VIFs that leaves it out, not by a label that was mistyped or forgotten.</summary>
    private void CheckDestroy(Network network)
    {
        string[] cut = [.. before.VifsOf(network).Where(v => _state.Vifs.All(s => s.Uuid != v.Uuid)).Select(v => v.Device)];
        if (cut.Length > 0)
        {
            string some = string.Join(", ", cut.Take(8)), are = cut.Length == 1 ? "is" : "are";
            throw new RefusalException(network.Label, $"is not in the document, but {some} {are} plugged into it; name the network, or unplug first");
        }

        if (_state.Pifs.FirstOrDefault(p => p.Uuid == before.PifOf(network)?.Uuid) is { Network: null } uplink)
            HostState.RefuseIfStranded(uplink, network);
        host.CheckDestroy(before, network);
    }

    /// <summary>This host's own address is not taken away by leaving something out.</summary>
    private static void CheckLeftOut(Pif pif)
    {
        if (pif.Ip is { IsNone: false })
            throw new RefusalException(pif.Device, "is not in the document, but has addresses of this host; name it, with \"ip\": {} to take them away");
    }

    /// <summary>Has the Network, if it is one that stays, an uplink?</summary>
    private bool HasUplink(Guid? network) =>
        _state.Networks.FirstOrDefault(n => n.Uuid == network) is { } kept && (_state.PifOf(kept) is { IsPlugged: true } || _state.VlanOf(kept) is not null);

    /// <summary>A PIF without its Network: one whose Network goes stays in a bridge that it was in before us, others leave it.</summary>
    private static Pif Freed(Pif pif, HostState wanted) => pif with
    {
        Network = null,
        IsPlugged = false,
        WasInBridge = pif.WasInBridge && (pif.Network is null || wanted.Networks.All(n => n.Uuid != pif.Network)),
    };

    private Guid? UuidOf(DocumentPif pif) => pif.Network is null ? null : NetworkOf(pif.Device, pif.Network).Uuid;

    private Network NetworkOf(string subject, string label) =>
        _state.Networks.FirstOrDefault(n => n.Label == label) ?? throw new RefusalException(subject, $"network \"{label}\" is not in the document");

    private Pif PifOf(string subject, string device) => _pifs.TryGetValue(device, out Pif? pif)
        ? _state.Pifs.First(p => p.Uuid == pif.Uuid)
        : throw new RefusalException(subject, $"pif \"{device}\" is not in the document");

    private void Each<T>(string list, ImmutableArray<T> elements, Action<T> add)
    {
        for (int i = 0; i < elements.Length; i++)
        {
            try
            {
                add(elements[i] ?? throw new RefusalException(HostDocument.Subject, "null is no element"));
            }
            catch (RefusalException e)
            {
                throw new RefusalException(e.Subject, $"{document.Lines.Of(list, i)}: {e.Reason}");
            }
        }
    }

    private static ImmutableArray<T> InOrder<T>(ImmutableArray<T> known, ImmutableArray<T> wanted, Func<T, Guid> uuidOf)
    {
        Dictionary<Guid, int> places = [];
        foreach (T element in known)
            places[uuidOf(element)] = places.Count;
        return [.. wanted.OrderBy(w => places.GetValueOrDefault(uuidOf(w), int.MaxValue))];
    }
}
