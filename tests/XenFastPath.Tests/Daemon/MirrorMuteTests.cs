// A port that floods source addresses: its Network's fast path rests, others' does not, and it comes back.
using XenFastPath.Daemon.FastPath;

namespace XenFastPath.Tests.Daemon;

public sealed class MirrorMuteTests
{
    private const ulong SecondNs = 1_000_000_000;

    private readonly MirrorFixture _mirror = new();
    private readonly MirrorPort _flooder = MirrorFixture.Port(1), _victim = MirrorFixture.Port(2), _neighbour = MirrorFixture.Port(3, network: 2);

    public MirrorMuteTests()
    {
        foreach (MirrorPort port in new[] { _flooder, _victim, _neighbour })
            _mirror.State.SetPort(port);
        _mirror.Learn(_victim, 1, 3);
        _mirror.Learn(_neighbour, 11, 4);
        _mirror.Apply();
        Assert.Equal(7, _mirror.State.EntryCount);
    }

    [Fact]
    public void A_flood_costs_only_its_own_network_the_fast_path()
    {
        Flood();
        Assert.Equal(4, _mirror.State.EntryCount);
        Assert.All(_mirror.Tables.Words, e => Assert.Equal(_neighbour.Word, e.Value));
        Assert.Equal([_flooder.Ifindex], _mirror.State.MutedPorts);
        Assert.Equal(_flooder.Device, Assert.Single(_mirror.State.Muted, m => m.Key == _flooder.NetworkId).Value);
        Assert.Equal([_neighbour.BridgeIfindex], _mirror.State.BridgesToDump);
        Assert.True(_mirror.State.MutedChanged);
        // While it rests nothing is entered, whoever shows it.
        _mirror.Learn(_victim, 1, 3);
        _mirror.Apply();
        Assert.Equal(4, _mirror.State.EntryCount);
        _mirror.Learn(_neighbour, 20, 1);
        _mirror.Apply();
        Assert.Equal(5, _mirror.State.EntryCount);
    }

    [Fact]
    public void Addresses_that_are_known_already_cost_nothing()
    {
        for (int i = 0; i < 3 * MirrorState.VifLearnBurst; i++)
            _mirror.Learn(_victim, 1, 3);
        _mirror.Apply();
        Assert.Equal(0, _mirror.State.Mutes);
    }

    [Fact]
    public void An_uplink_may_show_more_than_a_guest()
    {
        MirrorPort uplink = MirrorFixture.Port(9, isPhysical: true);
        _mirror.State.SetPort(uplink);
        _mirror.Learn(uplink, 1000, MirrorState.PifLearnBurst);
        _mirror.Apply();
        Assert.Equal(0, _mirror.State.Mutes);
        Assert.Equal(7 + MirrorState.PifLearnBurst, _mirror.State.EntryCount);
        _mirror.Learn(uplink, 500_000, 1);
        Assert.Equal(1, _mirror.State.Mutes);
    }

    [Fact]
    public void A_guest_that_learns_slowly_is_stopped_at_its_maximum()
    {
        int learned = 0;
        while (_mirror.State.Mutes == 0 && learned <= MirrorState.VifMacsMax)
        {
            _mirror.Learn(_flooder, 1000 + learned, 100);
            learned += 100;
            _mirror.Now += SecondNs;
            _mirror.Apply();
        }

        Assert.Equal(1, _mirror.State.Mutes);
        Assert.True(learned > MirrorState.VifMacsMax - 100, $"muted after {learned} addresses");
    }

    [Fact]
    public void The_rest_ends_in_time_and_the_bridge_is_read_again()
    {
        Flood();
        ulong muted = _mirror.Now;
        _mirror.State.MutedChanged = false;
        _mirror.State.UnmuteDue(muted + MirrorState.MuteNsMin - 1);
        Assert.Single(_mirror.State.Muted);
        Assert.False(_mirror.State.ResyncDue);
        _mirror.State.UnmuteDue(muted + MirrorState.MuteNsMin);
        Assert.Empty(_mirror.State.Muted);
        Assert.True(_mirror.State.ResyncDue);
        Assert.True(_mirror.State.MutedChanged);
        Assert.Equal(2, _mirror.State.BridgesToDump.Length);
        _mirror.Now = muted + MirrorState.MuteNsMin;
        _mirror.Learn(_victim, 1, 3);
        _mirror.Apply();
        Assert.Equal(7, _mirror.State.EntryCount);
    }

    [Fact]
    public void Who_floods_again_soon_rests_twice_as_long_up_to_five_minutes()
    {
        foreach (ulong seconds in new ulong[] { 10, 20, 40, 80, 160, 300, 300 })
        {
            Flood();
            Assert.Equal(seconds, RestSeconds());
        }
    }

    [Fact]
    public void After_a_quiet_time_as_long_as_the_last_rest_the_first_rest_is_short_again()
    {
        Flood();
        RestSeconds();
        Flood();
        Assert.Equal(20ul, RestSeconds());
        _mirror.Now += 20 * SecondNs;
        Flood();
        Assert.Equal(10ul, RestSeconds());
    }

    [Fact]
    public void The_first_rest_is_short_also_right_after_boot()
    {
        _mirror.Now = 3 * SecondNs;
        Flood();
        Assert.Equal(10ul, RestSeconds());
    }

    /// <summary>Nobody would learn of what the kernel knows already: it does not notify it again.</summary>
    [Fact]
    public void When_the_flooder_leaves_the_rest_ends_and_the_bridge_is_read_again()
    {
        Flood();
        _mirror.State.RemovePort(_flooder.Ifindex);
        Assert.Empty(_mirror.State.MutedPorts);
        Assert.True(_mirror.State.ResyncDue);
        Assert.Contains(_victim.BridgeIfindex, _mirror.State.BridgesToDump);
    }

    /// <summary>The notifications of a muted port are filtered out: in its new Network they would be missed.</summary>
    [Fact]
    public void A_flooder_that_moves_is_heard_in_its_new_network()
    {
        Flood();
        MirrorPort moved = MirrorFixture.Port(_flooder.Ifindex, network: 2, generation: 2);
        Assert.True(_mirror.State.SetPort(moved));
        Assert.Empty(_mirror.State.MutedPorts);
        Assert.True(_mirror.State.ResyncDue);
        _mirror.Learn(moved, 30, 1);
        _mirror.Apply();
        Assert.Equal(moved.Word, _mirror.Tables.Words[MirrorFixture.Key(2, Fdb.Mac(30))]);
    }

    private void Flood()
    {
        long mutes = _mirror.State.Mutes;
        for (int i = 0; _mirror.State.Mutes == mutes && i <= MirrorState.VifLearnBurst; i++)
            _mirror.Learn(_flooder, 0x10_0000 + i, 1);
        _mirror.Apply();
        Assert.Equal(mutes + 1, _mirror.State.Mutes);
    }

    /// <summary>Waits, on the test's clock, until the rest is over.</summary>
    private ulong RestSeconds()
    {
        for (ulong seconds = 0; ; seconds++, _mirror.Now += SecondNs)
        {
            Assert.True(seconds < 1000, "the rest does not end");
            _mirror.State.UnmuteDue(_mirror.Now);
            if (_mirror.State.Muted.Count == 0)
                return seconds;
        }
    }
}
