// Which ports of path redirect get the XDP program, and when: the plan, round by round.
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Tests.Reconcile;

public sealed class RedirectPlanTests
{
    private readonly Host _host = new();

    [Fact]
    public void Ports_whose_frames_are_skbs_need_nothing_but_the_hook_that_they_have()
    {
        Network lan = Plug(Datapath.Redirect, "vif1.0", "vif2.0");
        Assert.Equal((PortPath.Redirect, true, false, false), Of("vif1.0"));
        Assert.Equal((PortPath.Redirect, true, false, false), Of("vif2.0"));
        _host.State = _host.State.Change(lan with { Datapath = Datapath.Bridge });
        _host.Converge();
        Assert.Equal((PortPath.Bridge, false, false, false), Of("vif1.0"));
    }

    [Fact]
    public void One_port_that_takes_xdp_frames_has_nobody_to_exchange_them_with()
    {
        Plug(Datapath.Redirect, "vif1.0", "vif2.0", "vif3.0");
        TakeXdp("vif1.0");
        Assert.DoesNotContain("XDP", _host.Converge());
        TakeXdp("vif2.0");
        string text = _host.Converge();
        Assert.Contains("port vif1.0 of network lan: redirect with XDP", text);
        Assert.Equal((PortPath.Redirect, true, true, true), Of("vif1.0"));
        Assert.Equal((PortPath.Redirect, true, true, true), Of("vif2.0"));
        Assert.Equal((PortPath.Redirect, true, false, false), Of("vif3.0"));
        _host.TakingXdp.Clear();
        _host.Converge();
        Assert.Equal((PortPath.Redirect, true, false, false), Of("vif1.0"));
    }

    [Fact]
    public void Auto_stays_at_tc_where_redirect_would_use_xdp()
    {
        Network lan = Plug(Datapath.Auto, "vif1.0", "vif2.0");
        TakeXdp("vif1.0");
        TakeXdp("vif2.0");
        Assert.DoesNotContain("XDP", _host.Converge());
        Assert.Equal((PortPath.Redirect, true, false, false), Of("vif1.0"));
        _host.State = _host.State.Change(lan with { Datapath = Datapath.Redirect });
        _host.Converge();
        Assert.Equal((PortPath.Redirect, true, true, true), Of("vif1.0"));
    }

    [Fact]
    public void A_card_takes_xdp_frames_once_it_has_the_program_which_comes_when_tags_stay_in_its_frames()
    {
        LinkInfo eth0 = _host.AddNic("eth0", 1);
        _host.Kernel.StrippingTags.Add(eth0.Index);
        Network lan = Plug(Datapath.Redirect, "vif1.0");
        _host.Connect("eth0", lan);
        _host.Converge();
        Assert.Equal((PortPath.Redirect, true, false, false), Of("eth0"));
        Assert.Contains(eth0.Index, _host.Kernel.StrippingTags);        // tc has no need of it
        TakeXdp("vif1.0");
        _host.Converge();
        Assert.DoesNotContain(eth0.Index, _host.Kernel.StrippingTags);
        Assert.Equal((PortPath.Redirect, true, true, false), Of("eth0"));
        TakeXdp("eth0");
        _host.Converge();
        Assert.Equal((PortPath.Redirect, true, true, true), Of("eth0"));
        _host.TakingXdp.Clear();
        _host.Converge();
        Assert.Equal((PortPath.Redirect, true, false, false), Of("eth0"));
        Assert.Contains(eth0.Index, _host.Kernel.StrippingTags);
    }

    [Fact]
    public void A_port_that_refuses_the_program_stays_at_tc()
    {
        Plug(Datapath.Redirect, "vif1.0", "vif2.0");
        _host.FastPath.Unfit.Add(TakeXdp("vif1.0"));
        TakeXdp("vif2.0");
        _host.Converge();
        Assert.Equal((PortPath.Redirect, true, false, false), Of("vif1.0"));
        Assert.Equal((PortPath.Redirect, true, false, false), Of("vif2.0"));
    }

    [Fact]
    public void A_trunk_has_the_program_for_its_vlans()
    {
        _host.AddNic("eth0", 1);
        Network prod = Plug(Datapath.Redirect, "vif1.0");
        _host.Tag("eth0", 100, prod);
        TakeXdp("vif1.0");
        TakeXdp("eth0");
        _host.Converge();
        Assert.Equal((PortPath.Bridge, false, true, true), Of("eth0"));
        Assert.Equal((PortPath.Redirect, true, false, true), Of("eth0.100"));
        Assert.Equal((PortPath.Redirect, true, true, true), Of("vif1.0"));
    }

    /// <summary>Its sockets are for the VLAN; its own frames do not see them.</summary>
    [Fact]
    public void A_trunk_can_redirect_while_its_vlan_is_on_afxdp()
    {
        _host.AddNic("eth0", 1);
        Network lan = Plug(Datapath.Redirect, "vif1.0"), prod = _host.Create("prod", datapath: Datapath.Afxdp);
        _host.Connect("eth0", lan);
        _host.Tag("eth0", 100, prod);
        _host.Converge();
        Assert.Equal((PortPath.Afxdp, true, false, false), Of("eth0"));
        Assert.Equal((PortPath.Afxdp, false, false, false), Of("eth0.100"));
        _host.State = _host.State.Change(prod with { Datapath = Datapath.Bridge });
        _host.Converge();
        Assert.Equal((PortPath.Redirect, true, false, false), Of("eth0"));
    }

    private Network Plug(Datapath datapath, params string[] devices)
    {
        Network network = _host.Create("lan", datapath: datapath);
        foreach (string device in devices)
        {
            _host.AddVeth(device);
            _host.Plug(device, network);
        }

        _host.Converge();
        return network;
    }

    private int TakeXdp(string device)
    {
        int ifindex = _host.Kernel.Find(device)!.Index;
        _host.TakingXdp.Add(ifindex);
        return ifindex;
    }

    private (PortPath Path, bool Redirects, bool HasXdpHook, bool TakesXdpFrames) Of(string device)
    {
        PortSettings settings = _host.FastPath.Ports[_host.Kernel.Find(device)!.Index];
        return (settings.Path, settings.Redirects, settings.HasXdpHook, settings.TakesXdpFrames);
    }
}
