// Which bridges the mirror follows: those that have a port of ours, until the last has left.
using XenFastPath.Daemon.FastPath;

namespace XenFastPath.Tests.Daemon;

public sealed class MirrorBridgesTests
{
    private readonly MirrorFixture _mirror = new();

    [Fact]
    public void A_bridge_is_followed_until_its_last_port_has_left()
    {
        _mirror.State.SetPort(Port(1, bridge: 100, network: 1));
        _mirror.State.SetPort(Port(2, bridge: 100, network: 1));
        _mirror.State.SetPort(Port(3, bridge: 200, network: 2));
        Assert.Equal([100, 200], _mirror.State.BridgesToDump.Order());
        _mirror.State.RemovePort(1);
        Assert.Equal([100, 200], _mirror.State.BridgesToDump.Order());
        _mirror.State.RemovePort(2);
        Assert.Equal([200], _mirror.State.BridgesToDump);
    }

    [Fact]
    public void A_port_that_changes_where_it_is_stays_counted_once()
    {
        _mirror.State.SetPort(Port(1, bridge: 100, network: 1));
        for (uint generation = 2; generation < 5; generation++)
            _mirror.State.SetPort(Port(1, bridge: 100, network: 1) with { Generation = generation });
        _mirror.State.SetPort(Port(1, bridge: 200, network: 2));
        Assert.Equal([200], _mirror.State.BridgesToDump);
        _mirror.State.RemovePort(1);
        Assert.Empty(_mirror.State.BridgesToDump);
    }

    [Fact]
    public void A_bridge_whose_network_has_left_is_not_asked()
    {
        _mirror.State.SetPort(Port(1, bridge: 100, network: 1));
        _mirror.State.SetPort(Port(2, bridge: 100, network: 2));      // the Network that adopts the bridge after the first
        _mirror.State.RemovePort(2);
        Assert.Empty(_mirror.State.BridgesToDump);
        _mirror.State.RemovePort(1);
        Assert.Empty(_mirror.State.BridgesToDump);
    }

    private static MirrorPort Port(int ifindex, int bridge, ushort network) =>
        new(ifindex, $"vif{ifindex}.0", bridge, network, (ushort)ifindex, 1, IsFast: true, IsPhysical: false);
}
