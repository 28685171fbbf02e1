// A state's lookups: as good as looking at everything, and never those of the state that it was made from.
using System.Reflection;
using XenFastPath.Model;

namespace XenFastPath.Tests.Model;

public sealed class LookupsTests
{
    private static readonly Network s_lan = Make.Network(1, "lan", "xenbr0"), s_dmz = Make.Network(2, "dmz", "xapi0");

    [Fact]
    public void They_follow_each_change()
    {
        HostState state = HostState.Empty.Add(s_lan).Add(s_dmz);
        Assert.Empty(state.VifsOf(s_lan));
        HostState plugged = state.Add(Make.Vif(20, "vif1.0", s_lan));
        Assert.Equal("vif1.0", Assert.Single(plugged.VifsOf(s_lan)).Device);
        HostState moved = plugged.Change(plugged.Vifs[0] with { Network = s_dmz.Uuid });
        Assert.Empty(moved.VifsOf(s_lan));
        Assert.Single(moved.VifsOf(s_dmz));
        Assert.Single(plugged.VifsOf(s_lan));
        Assert.Empty(state.VifsOf(s_lan));
    }

    [Fact]
    public void With_copies_everything()
    {
        HostState state = new([s_lan], [Make.Pif(10, "eth0")], [Make.Vif(20, "vif1.0", s_lan)], [new DoomedBridge(s_dmz.Uuid, "xapi0")])
        {
            Vlans = [new Vlan(Make.Uuid(30), Make.Uuid(10), 7, s_lan.Uuid, "eth0.7")],
            DoomedLinks = [new DoomedLink(Make.Uuid(31), "eth0.8")],
        };
        HostState copy = state with { Vlans = state.Vlans };
        Assert.NotSame(state, copy);
        PropertyInfo[] properties = typeof(HostState).GetProperties(BindingFlags.Public | BindingFlags.Instance);
        Assert.NotEmpty(properties);
        Assert.All(properties, p => Assert.Equal(p.GetValue(state), p.GetValue(copy)));
    }

    [Fact]
    public void A_state_is_equal_to_its_copy_whatever_either_was_asked()
    {
        HostState state = HostState.Empty.Add(s_lan).Add(Make.Vif(20, "vif1.0", s_lan));
        HostState copy = state with { };
        Assert.Single(state.VifsOf(s_lan));
        Assert.Equal(state, copy);
        Assert.Equal(state.GetHashCode(), copy.GetHashCode());
    }
}
