// The mirror against a slow, obvious model: a kernel whose FDB is a dictionary, and tables that are worked out from it anew.
using XenFastPath.Daemon.FastPath;
using XenFastPath.Interop;
using XenFastPath.Netlink;

namespace XenFastPath.Tests.Daemon;

public sealed class MirrorStateTests
{
    private const int Steps = 4000, Ports = 8, Networks = 3, Macs = 24, ForeignIfindex = 99;

    /// <summary>A kernel with bridges, and the mirror that follows it as FdbMirror does.</summary>
    private sealed class Model(int seed)
    {
        private readonly Random _random = new(seed);
        private readonly MirrorFixture _mirror = new();

        // What the kernel knows: (Network, MAC) -> entry; and which ports the mirror was told of.
        private readonly Dictionary<(int Network, string Mac), FdbEntry> _kernel = [];
        private readonly Dictionary<int, MirrorPort> _ports = [];

        public int LargestTable { get; private set; }

        public string Step()
        {
            _mirror.Now += 20_000_000;
            string what = _random.Next(20) switch
            {
                < 10 => Learn(),
                < 13 => Delete(),
                13 => Noise(),
                14 => SetPort(),
                15 => RemovePort(),
                16 => Overrun(),
                _ => "apply",
            };
            if (what == "apply")
                _mirror.Apply();
            return what;
        }

        public void Compare(string context)
        {
            _mirror.Apply();
            Dictionary<ulong, ulong> expected = [];
            foreach (((int network, string mac), FdbEntry entry) in _kernel)
            {
                bool isUsable = !entry.IsPermanent && !entry.IsLocked;
                if (isUsable && _ports.TryGetValue(entry.Ifindex, out MirrorPort? port) && port.IsFast && port.NetworkId == network)
                    expected.Add(MirrorFixture.Key(network, mac), (ulong)port.Generation << 32 | port.PortId);
            }

            Assert.True(expected.OrderBy(e => e.Key).SequenceEqual(_mirror.Tables.Words.OrderBy(e => e.Key)), $"{context}: {Describe(expected)}");
            Assert.Equal(expected.Count, _mirror.State.EntryCount);
            Assert.Equal(expected.Keys.Order(), _mirror.State.Keys.Order());
            // The bridges of ports that are there, and no other: dumping one that is gone fails, and with it every resynchronisation.
            Assert.Equal(_ports.Values.Select(p => p.BridgeIfindex).Distinct().Order(), _mirror.State.BridgesToDump.Order());
            Assert.Equal(0, _mirror.State.Mutes);
            LargestTable = Math.Max(LargestTable, expected.Count);
        }

        private string Describe(Dictionary<ulong, ulong> expected) =>
            $"missing {string.Join(' ', expected.Except(_mirror.Tables.Words).Select(e => $"{e.Key:x16}={e.Value:x}"))}, "
            + $"too many {string.Join(' ', _mirror.Tables.Words.Except(expected).Select(e => $"{e.Key:x16}={e.Value:x}"))}";

        private string Learn()
        {
            int network = 1 + _random.Next(Networks);
            // Also a port that the kernel has in this bridge already, while the mirror still has it in another Network.
            bool isEarly = _random.Next(10) == 0;
            int[] members = [.. _ports.Values.Where(p => p.NetworkId == network || isEarly).Select(p => p.Ifindex), ForeignIfindex];
            int ifindex = members[_random.Next(members.Length)];
            ushort state = _random.Next(10) == 0 ? Neighbour.NUD_PERMANENT : Neighbour.NUD_REACHABLE;
            string mac = Fdb.Mac(_random.Next(Macs));
            FdbEntry entry = Fdb.Entry(ifindex, MirrorFixture.Bridge + network - 1, mac, state: state, locked: _random.Next(10) == 0);
            _kernel[(network, mac)] = entry;
            _mirror.Take(entry);
            return $"learn {mac} on {ifindex} in {network}";
        }

        private string Delete()
        {
            if (_kernel.Count == 0)
                return "apply";
            (int network, string mac) = _kernel.Keys.ElementAt(_random.Next(_kernel.Count));
            Delete(network, mac, isNotified: true);
            return $"delete {mac} in {network}";
        }

        private void Delete(int network, string mac, bool isNotified)
        {
            _kernel.Remove((network, mac), out FdbEntry entry);
            if (isNotified)
                _mirror.Take(Fdb.Entry(entry.Ifindex, entry.MasterIndex, mac, deleted: true));
        }

        /// <summary>What is none of the mirror's business: other bridges, a device's own table, addresses within a VLAN.</summary>
        private string Noise()
        {
            int ifindex = 1 + _random.Next(Ports), bridge = MirrorFixture.Bridge + _random.Next(Networks);
            string mac = Fdb.Mac(_random.Next(Macs));
            bool deleted = _random.Next(2) == 0;
            _mirror.Take(Fdb.Entry(ifindex, 55, mac, deleted));
            _mirror.Take(Fdb.Entry(ifindex, 0, mac, deleted, flags: Neighbour.NTF_SELF));
            _mirror.Take(Fdb.Entry(ifindex, bridge, mac, deleted, flags: Neighbour.NTF_SELF));
            _mirror.Take(Fdb.Entry(ifindex, bridge, mac, deleted, vlan: 5));
            return "noise";
        }

        private string SetPort()
        {
            int ifindex = 1 + _random.Next(Ports);
            bool isKnown = _ports.TryGetValue(ifindex, out MirrorPort? old);
            MirrorPort port = MirrorFixture.Port(ifindex, isKnown && _random.Next(2) == 0 ? old!.NetworkId : 1 + _random.Next(Networks),
                isFast: _random.Next(3) > 0, generation: isKnown ? old!.Generation + (uint)_random.Next(2) : 1);
            if (isKnown && old!.NetworkId != port.NetworkId)
            {
                Flush(ifindex);
                port = port with { Generation = old.Generation + 1 };
            }

            _mirror.Apply();
            _ports[ifindex] = port;
            if (_mirror.State.SetPort(port))
                Resync([port.BridgeIfindex]);
            return $"set {port}";
        }

        private string RemovePort()
        {
            int ifindex = 1 + _random.Next(Ports);
            Flush(ifindex);
            _mirror.Apply();
            _ports.Remove(ifindex);
            _mirror.State.RemovePort(ifindex);
            return $"remove {ifindex}";
        }

        /// <summary>The kernel takes a port out of its bridge.</summary>
        private void Flush(int ifindex)
        {
            foreach ((int network, string mac) in _kernel.Where(e => e.Value.Ifindex == ifindex).Select(e => e.Key).ToList())
                Delete(network, mac, isNotified: true);
        }

        /// <summary>Notifications get lost; the dump of all bridges has the truth.</summary>
        private string Overrun()
        {
            foreach ((int network, string mac) in _kernel.Keys.Where(_ => _random.Next(3) == 0).ToList())
                Delete(network, mac, isNotified: false);
            Resync(_mirror.State.BridgesToDump);
            return "overrun";
        }

        private void Resync(int[] bridges)
        {
            _mirror.Apply();
            HashSet<ulong> unseen = _mirror.State.BeginResync(bridges);
            foreach (FdbEntry entry in _kernel.Values.Where(e => bridges.Contains(e.MasterIndex)))
            {
                _mirror.Take(entry);
                unseen.Remove(_mirror.State.KeyOf(entry));
            }

            _mirror.State.EndResync(unseen);
            _mirror.Apply();
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void The_tables_hold_what_the_kernel_knows_of_fast_ports_and_nothing_else(int seed)
    {
        Model model = new(seed);
        for (int step = 0; step < Steps; step++)
        {
            string what = model.Step();
            if (step % 3 == 0)
                model.Compare($"seed {seed}, step {step}, {what}");
        }

        Assert.True(model.LargestTable >= 10, $"never more than {model.LargestTable} entries: the test tests nothing");
    }

    [Fact]
    public void A_port_that_moves_takes_its_old_bridge_along_if_it_was_the_last()
    {
        MirrorFixture mirror = new();
        mirror.State.SetPort(MirrorFixture.Port(1));
        mirror.State.SetPort(MirrorFixture.Port(1, network: 2, generation: 2));
        Assert.Equal([MirrorFixture.Bridge + 1], mirror.State.BridgesToDump);
    }

    [Fact]
    public void Of_an_address_that_moved_twice_only_the_last_place_is_entered()
    {
        MirrorFixture mirror = new();
        for (int i = 1; i <= 3; i++)
            mirror.State.SetPort(MirrorFixture.Port(i));
        foreach (int port in new[] { 1, 2, 3 })
            mirror.Learn(MirrorFixture.Port(port), 7, 1);
        Assert.Empty(mirror.Tables.Words);
        mirror.Apply();
        Assert.Equal(MirrorFixture.Port(3).Word, Assert.Single(mirror.Tables.Words).Value);
    }

    [Fact]
    public void What_does_not_fit_the_tables_is_counted_and_enters_when_there_is_room()
    {
        MirrorFixture mirror = new(capacity: 10);
        MirrorPort port = MirrorFixture.Port(1);
        mirror.State.SetPort(port);
        mirror.Learn(port, 0, 12);
        mirror.Apply();
        Assert.Equal(10, mirror.State.EntryCount);
        Assert.Equal(2, mirror.State.TableFull);
        Assert.Equal(mirror.Tables.Words.Keys.Order(), mirror.State.Keys.Order());
        mirror.Take(Fdb.Entry(1, MirrorFixture.Bridge, Fdb.Mac(0), deleted: true));
        mirror.Apply();
        mirror.Learn(port, 11, 1);
        mirror.Apply();
        Assert.Contains(MirrorFixture.Key(1, Fdb.Mac(11)), mirror.Tables.Words.Keys);
    }
}
