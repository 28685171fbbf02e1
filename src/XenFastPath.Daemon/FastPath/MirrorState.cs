// What the FDB mirror knows, without any thread, socket or map: events in, changes of the fast path's tables out.
using System.Buffers.Binary;
using XenFastPath.Dataplane;
using XenFastPath.Netlink;

namespace XenFastPath.Daemon.FastPath;

/// <summary>A port as the mirror sees it.</summary>
internal sealed record MirrorPort(int Ifindex, string Device, int BridgeIfindex, ushort NetworkId, ushort PortId, uint Generation, bool IsFast, bool IsPhysical)
{
    /// <summary>The value of its addresses in both tables.</summary>
    public ulong Word => FdbWord.Make(Generation, PortId);
}

/// <summary>The two tables, written in the order that keeps a frame from being redirected to where nobody knows it.</summary>
internal interface IMirrorTables
{
    /// <summary>Enters or changes: forwarder's table first, then the program's. False: no room, and the key is in neither.</summary>
    bool TrySet(ulong key, ulong word);

    /// <summary>Removes from the program's table now, from the forwarder's later.</summary>
    void Remove(ulong key);
}

/// <summary>
/// Follows the kernel's FDB for the bridges of our Networks. Events are collected per key and applied together, so that of a
/// MAC that moved twice only the last place is entered. Not thread-safe.
/// </summary>
internal sealed class MirrorState(IMirrorTables tables)
{
    /// <summary>New addresses per second and at once, and the most that are mirrored, for a guest's port and for an uplink.</summary>
    public const int VifLearnsPerSecond = 1000, VifLearnBurst = 4096, VifMacsMax = 8192;
    public const int PifLearnsPerSecond = 10_000, PifLearnBurst = 65_536, PifMacsMax = 131_072;

    /// <summary>How long the fast path of a flooded Network rests; doubled each time it happens again, up to the maximum.</summary>
    public const ulong MuteNsMin = 10_000_000_000, MuteNsMax = 300_000_000_000;

    private sealed class PortState(MirrorPort port)
    {
        public MirrorPort Port = port;
        public LearnBudget Budget = port.IsPhysical ? new(PifLearnsPerSecond, PifLearnBurst) : new(VifLearnsPerSecond, VifLearnBurst);
        public int Macs;

        public int MacsMax => Port.IsPhysical ? PifMacsMax : VifMacsMax;
    }

    private sealed class NetworkState(ushort id)
    {
        public readonly ushort Id = id;

        /// <summary>Key to the port its MAC lives on: what is in the tables.</summary>
        public readonly Dictionary<ulong, int> Entries = [];
        public int MutedIfindex;
        public ulong MutedUntilNs;
        public ulong MuteNs = MuteNsMin;

        /// <summary>Ports that it has.</summary>
        public int Ports;

        public bool IsMuted => MutedIfindex != 0;
    }

    private sealed class BridgeState(ushort networkId)
    {
        public ushort NetworkId = networkId;

        /// <summary>Ports that it has; counted, for there may be thousands of ports, each of which comes and goes by itself.</summary>
        public int Ports;
    }

    private readonly Dictionary<int, PortState> _ports = [];
    private readonly Dictionary<int, BridgeState> _bridges = [];
    private readonly Dictionary<ushort, NetworkState> _networks = [];
    private readonly Dictionary<ulong, int> _pending = [];

    /// <summary>Entries in the tables.</summary>
    public int EntryCount { get; private set; }

    public long Events { get; private set; }

    public long Moves { get; private set; }

    public long TableFull { get; private set; }

    public long Mutes { get; private set; }

    /// <summary>Raised when the set of muted ports has changed; the reader clears it.</summary>
    public bool MutedChanged { get; set; }

    /// <summary>Raised when a rest has ended: <see cref="BridgesToDump"/> must be read anew. The reader clears it.</summary>
    public bool ResyncDue { get; set; }

    /// <summary>The ports whose notifications are of no use for now.</summary>
    public int[] MutedPorts => [.. _networks.Values.Where(n => n.IsMuted).Select(n => n.MutedIfindex)];

    /// <summary>By Network id: the device that floods it.</summary>
    public IReadOnlyDictionary<ushort, string> Muted =>
        _networks.Where(n => n.Value.IsMuted).ToDictionary(n => n.Key, n => _ports.GetValueOrDefault(n.Value.MutedIfindex)?.Port.Device ?? "a port");

    /// <summary>The bridges to dump for a resynchronisation.</summary>
    public int[] BridgesToDump => [.. _bridges.Where(b => NetworkOf(b.Key) is { IsMuted: false }).Select(b => b.Key)];

    /// <summary>Is this key in the tables?</summary>
    public bool Contains(ulong key) => _networks.TryGetValue(FdbKey.NetworkOf(key), out NetworkState? network) && network.Entries.ContainsKey(key);

    /// <summary>All keys in the tables.</summary>
    public IEnumerable<ulong> Keys => _networks.Values.SelectMany(n => n.Entries.Keys);

    /// <summary>The key of a MAC in a Network, in the tables' byte order.</summary>
    public static ulong KeyOf(ushort network, MacAddress mac) => FdbKey.Make(network, BinaryPrimitives.ReverseEndianness(mac.Value) >> 16);

    /// <summary>The key of an entry, if its bridge is one of ours; otherwise 0.</summary>
    public ulong KeyOf(in FdbEntry entry) => _bridges.TryGetValue(entry.MasterIndex, out BridgeState? bridge) ? KeyOf(bridge.NetworkId, entry.Mac) : 0;

    /// <summary>Takes a port in or changes it. What lies on it must be read from the kernel again: true if that is so.</summary>
    public bool SetPort(MirrorPort port)
    {
        if (_ports.TryGetValue(port.Ifindex, out PortState? state) && state.Port == port)
            return false;
        // In before out: a Network or bridge that it stays in is not forgotten for a moment.
        Enter(port);
        if (state is null)
            _ports[port.Ifindex] = new PortState(port);
        else
            Change(state, port);
        return port.BridgeIfindex != 0 && port.IsFast;      // without: the bridge is still to be made; the port comes again with its number
    }

    /// <summary>Lets a port go with all that lies on it.</summary>
    public void RemovePort(int ifindex)
    {
        RemoveEntriesOf(ifindex);
        if (!_ports.Remove(ifindex, out PortState? state))
            return;
        Leave(state.Port);
    }

    /// <summary>One entry of the kernel's FDB, from a notification or a dump. Takes effect with <see cref="Apply"/>.</summary>
    public void Take(in FdbEntry entry, ulong nowNs, bool isDumped = false)
    {
        // A bridge that filters VLANs has a VLAN in its entries: nothing of it is on the fast path.
        if (entry.IsSelf || entry.Vlan != 0 || NetworkOf(entry.MasterIndex) is not { } state)
            return;
        ushort network = state.Id;
        Events++;
        if (state.IsMuted)
            return;
        ulong key = KeyOf(network, entry.Mac);
        bool isUsable = !entry.IsDeleted && !entry.IsPermanent && !entry.IsLocked;
        if (!isUsable || !_ports.TryGetValue(entry.Ifindex, out PortState? port) || port.Port.NetworkId != network)
        {
            _pending[key] = 0;
            return;
        }

        bool isNew = !state.Entries.TryGetValue(key, out int known) && !_pending.ContainsKey(key);
        // What a dump shows was learned long ago; whether it is too much for one port Set finds out.
        if (isNew && !isDumped && !port.Budget.TryTake(nowNs))
        {
            Mute(network, state, port, nowNs);
            return;
        }

        if (!isNew && known != 0 && known != entry.Ifindex)
            Moves++;
        _pending[key] = port.Port.IsFast ? entry.Ifindex : 0;
    }

    /// <summary>Enters what was taken since the last call.</summary>
    public void Apply(ulong nowNs)
    {
        foreach ((ulong key, int ifindex) in _pending)
        {
            if (!_networks.TryGetValue(FdbKey.NetworkOf(key), out NetworkState? network) || network.IsMuted)
                continue;
            if (ifindex == 0 || !_ports.TryGetValue(ifindex, out PortState? port))
                Remove(network, key);
            else
                Set(network, key, port, nowNs);
        }

        _pending.Clear();
    }

    /// <summary>
    /// Begins a resynchronisation of these bridges: what their dumps do not name is removed by <see cref="EndResync"/>. Events
    /// that came in before are answered by the dump.
    /// </summary>
    public HashSet<ulong> BeginResync(IEnumerable<int> bridges)
    {
        HashSet<ulong> unseen = [];
        foreach (int bridge in bridges)
        {
            if (NetworkOf(bridge) is { } network)
                unseen.UnionWith(network.Entries.Keys);
        }

        return unseen;
    }

    /// <summary>Removes what the dumps did not name.</summary>
    public void EndResync(HashSet<ulong> unseen)
    {
        foreach (ulong key in unseen)
        {
            if (_networks.TryGetValue(FdbKey.NetworkOf(key), out NetworkState? network))
                Remove(network, key);
        }
    }

    /// <summary>Ends the rest of Networks whose time is over.</summary>
    public void UnmuteDue(ulong nowNs)
    {
        foreach (NetworkState network in _networks.Values.Where(n => n.IsMuted && nowNs >= n.MutedUntilNs))
            Unmute(network);
    }

    private void Change(PortState state, MirrorPort port)
    {
        MirrorPort old = state.Port;
        if (old.IsFast && (old.NetworkId != port.NetworkId || old.Word != port.Word || !port.IsFast))
            RemoveEntriesOf(port.Ifindex);
        state.Port = port;
        bool isElsewhere = old.NetworkId != port.NetworkId || old.BridgeIfindex != port.BridgeIfindex;
        Leave(old, isElsewhere);
    }

    /// <summary>The Network whose port came into the bridge last, if it has ports still.</summary>
    private NetworkState? NetworkOf(int bridge) => _bridges.TryGetValue(bridge, out BridgeState? state) ? _networks.GetValueOrDefault(state.NetworkId) : null;

    private void Enter(MirrorPort port)
    {
        if (!_networks.TryGetValue(port.NetworkId, out NetworkState? network))
            _networks[port.NetworkId] = network = new NetworkState(port.NetworkId);
        network.Ports++;
        if (port.BridgeIfindex == 0)
            return;
        if (!_bridges.TryGetValue(port.BridgeIfindex, out BridgeState? bridge))
            _bridges[port.BridgeIfindex] = bridge = new BridgeState(port.NetworkId);
        bridge.NetworkId = port.NetworkId;
        bridge.Ports++;
    }

    /// <summary>
    /// After a port has left a Network or a bridge: what has no port any more is forgotten, for to dump a bridge that is gone
    /// fails; and if it was the port that flooded, the rest is over.
    /// </summary>
    private void Leave(MirrorPort port, bool isElsewhere = true)
    {
        NetworkState network = _networks[port.NetworkId];
        if (isElsewhere && network.MutedIfindex == port.Ifindex)
            Unmute(network);
        if (--network.Ports == 0)
            _networks.Remove(port.NetworkId);
        if (_bridges.TryGetValue(port.BridgeIfindex, out BridgeState? bridge) && --bridge.Ports == 0)
            _bridges.Remove(port.BridgeIfindex);
    }

    private void Set(NetworkState network, ulong key, PortState port, ulong nowNs)
    {
        bool isKnown = network.Entries.TryGetValue(key, out int old);
        if (isKnown && old == port.Port.Ifindex)
            return;
        if (!isKnown && port.Macs >= port.MacsMax)
        {
            Mute(port.Port.NetworkId, network, port, nowNs);
            return;
        }

        if (!tables.TrySet(key, port.Port.Word))
        {
            TableFull++;
            Forget(network, key);
            return;
        }

        if (isKnown && _ports.TryGetValue(old, out PortState? previous))
            previous.Macs--;
        if (!isKnown)
            EntryCount++;
        network.Entries[key] = port.Port.Ifindex;
        port.Macs++;
    }

    private void Remove(NetworkState network, ulong key)
    {
        if (Forget(network, key))
            tables.Remove(key);
    }

    private bool Forget(NetworkState network, ulong key)
    {
        if (!network.Entries.Remove(key, out int ifindex))
            return false;
        EntryCount--;
        if (_ports.TryGetValue(ifindex, out PortState? port))
            port.Macs--;
        return true;
    }

    private void RemoveEntriesOf(int ifindex)
    {
        if (!_ports.TryGetValue(ifindex, out PortState? port) || !_networks.TryGetValue(port.Port.NetworkId, out NetworkState? network))
            return;
        foreach (ulong key in network.Entries.Where(e => e.Value == ifindex).Select(e => e.Key).ToList())
            Remove(network, key);
        foreach (ulong key in _pending.Where(p => p.Value == ifindex).Select(p => p.Key).ToList())
            _pending.Remove(key);
    }

    /// <summary>A port shows more addresses than it may: its Network has no fast path for a while, and nobody listens to the port.</summary>
    private void Mute(ushort id, NetworkState network, PortState port, ulong nowNs)
    {
        foreach (ulong key in network.Entries.Keys.ToList())
            Remove(network, key);
        network.MutedIfindex = port.Port.Ifindex;
        // Again soon after the last rest, if there was one: a longer one.
        network.MuteNs = network.MutedUntilNs != 0 && nowNs < network.MutedUntilNs + network.MuteNs ? Math.Min(network.MuteNs * 2, MuteNsMax) : MuteNsMin;
        network.MutedUntilNs = nowNs + network.MuteNs;
        Mutes++;
        MutedChanged = true;
        Log.Warning($"{port.Port.Device}: floods source addresses; the fast path of network id {id} rests for {network.MuteNs / 1_000_000_000} s");
    }

    private void Unmute(NetworkState network)
    {
        if (_ports.TryGetValue(network.MutedIfindex, out PortState? port))
            port.Budget = port.Port.IsPhysical ? new(PifLearnsPerSecond, PifLearnBurst) : new(VifLearnsPerSecond, VifLearnBurst);
        network.MutedIfindex = 0;
        MutedChanged = true;
        ResyncDue = true;
    }
}
