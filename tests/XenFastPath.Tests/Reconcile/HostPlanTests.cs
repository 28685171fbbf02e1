// This host's own addresses: they move with their NIC, also when somebody is killed half way, and follow requests.
using System.Net;
using System.Text;
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;
using XenFastPath.Tests.Api;

namespace XenFastPath.Tests.Reconcile;

public sealed class HostPlanTests
{
    private readonly StringBuilder _text = new();
    private Host _host = new();

    private Network Lan => _host.State.NetworkOf("lan");

    private static IPAddress Ip(string text) => IPAddress.Parse(text);

    [Fact]
    public void Addresses_move_with_their_nic()
    {
        ManagedHost();
        Step("create lan with eth0", () => _host.Connect("eth0", _host.Create("lan", "xenbr0")));
        Assert.Equal(Expected("xenbr0"), Everything());
        Step("pif unplug", () => _host.State = _host.State.Change(_host.State.PifOf("eth0") with { IsPlugged = false }));
        Assert.Equal(Expected("eth0"), Everything());
        Step("pif plug", () => _host.State = _host.State.Change(_host.State.PifOf("eth0") with { IsPlugged = true }));
        Step("somebody gives eth0 an address: a port receives nothing", () =>
            _host.Kernel.Addresses.Add(new AddressInfo(Index("eth0"), Ip("10.9.9.9"), 24)));
        Assert.DoesNotContain(_host.Kernel.Addresses, a => a.Ifindex == Index("eth0"));
        Step("no pif", () => _host.State = _host.State.Disconnect(Lan));
        Step("eth0 again, and destroy lan", () =>
        {
            _host.Connect("eth0", Lan);
            _host.Converge();
            _host.State = _host.State.Remove(Lan);
        });
        Assert.Equal(["eth0", "eth1"], _host.Kernel.Links.Select(l => l.Name));
        Check("host-moves");
    }

    [Fact]
    public void An_adopted_bridge_keeps_its_own_addresses()
    {
        ManagedHost();
        LinkInfo bridge = _host.AddBridge("xenbr0");
        Step("adopt xenbr0", () => _host.Connect("eth0", _host.Create("lan", "xenbr0")));
        Step("destroy lan", () => _host.State = _host.State.Remove(Lan));
        Assert.Equal(Expected("eth0"), Everything());
        Assert.NotNull(_host.Kernel.Find("xenbr0"));
        // One that was the host's place all along stays so.
        _host.Kernel.Addresses.RemoveAll(a => a.Ifindex == Index("eth0"));
        _host.Kernel.Addresses.Add(new AddressInfo(bridge.Index, Ip("10.5.5.5"), 24));
        Step("adopt xenbr0 that has the address, and let it go", () =>
        {
            _host.Connect("eth0", _host.Create("lan", "xenbr0"));
            _host.Converge();
            _host.State = _host.State.Remove(Lan);
        });
        Assert.Equal(bridge.Index, _host.Kernel.Addresses.Single(a => a.Local.Equals(Ip("10.5.5.5"))).Ifindex);
        Check("host-adopted-bridge");
    }

    [Fact]
    public void Whoever_is_killed_half_way_the_next_one_finishes()
    {
        int kills = 0;
        for (int n = 1; ; n++)
        {
            _host = new Host();
            ManagedHost();
            _host.Connect("eth0", _host.Create("lan", "xenbr0"));
            bool isDone = !Killed(n);
            _host.Converge();
            Assert.Equal(Expected("xenbr0"), Everything());
            _host.State = _host.State.Remove(Lan);
            isDone &= !Killed(n);
            _host.Converge();
            Assert.Equal(Expected("eth0"), Everything());
            if (isDone)
                break;
            kills++;
        }

        Assert.InRange(kills, 12, 100);
    }

    [Fact]
    public void The_address_is_somewhere_at_every_moment_and_a_way_out_too()
    {
        ManagedHost();
        int seen = 0;
        _host.Kernel.HostRequest = _ =>
        {
            seen++;
            Assert.Contains(_host.Kernel.Addresses, a => a.Local.Equals(Ip("192.0.2.10")));
            Assert.Contains(_host.Kernel.Routes, r => r is { PrefixLength: 0, Table: 254 });
        };
        _host.Connect("eth0", _host.Create("lan", "xenbr0"));
        _host.Converge();
        _host.State = _host.State.Remove(Lan);
        _host.Converge();
        Assert.InRange(seen, 20, 100);
    }

    [Fact]
    public void A_bridge_that_could_not_give_its_addresses_away_is_not_deleted()
    {
        ManagedHost();
        _host.Connect("eth0", _host.Create("lan", "xenbr0"));
        _host.Converge();
        _host.State = _host.State.Remove(Lan);
        _host.Kernel.Fault = device => device == "eth0" ? 12 : 0;
        Assert.NotEmpty(_host.Round().Failures);
        Assert.Equal(Expected("xenbr0"), Everything());
        _host.Kernel.Fault = _ => 0;
        _host.Converge();
        Assert.Equal(Expected("eth0"), Everything());
    }

    [Fact]
    public void A_bridge_from_which_nobody_takes_the_addresses_is_not_deleted()
    {
        ManagedHost();
        _host.Connect("eth0", _host.Create("lan", "xenbr0"));
        _host.Converge();
        // Half known: nobody says any more that this port is the NIC.
        _host.FastPath.Configure(Index("eth0"), "eth0", _host.FastPath.Ports[Index("eth0")] with { IsPhysical = false });
        _host.State = _host.State.Remove(Lan);
        RefusalException failure = Assert.Single(_host.Round().Failures);
        Assert.Equal("xenbr0: is not deleted: this host still has 192.0.2.10/24, 192.0.2.11/24, 2001:db8::10/64 on it; "
            + "take that away first (ip address del 192.0.2.10/24 dev xenbr0)", failure.Message);
        Assert.Equal(Expected("xenbr0"), Everything());
        _host.Kernel.Addresses.RemoveAll(a => a.Ifindex == Index("xenbr0"));
        _host.Converge();
        Assert.Null(_host.Kernel.Find("xenbr0"));
    }

    [Fact]
    public void A_request_that_is_undone_takes_them_back_to_the_nic_that_brought_them()
    {
        ManagedHost();
        _host.AddBridge("xenbr0");
        HostState before = _host.State;
        _host.Connect("eth0", _host.Create("lan", "xenbr0"));
        _host.Converge();
        // eth0 was no pif before, so that nothing but the undoing knows what it had.
        Observed now = _host.Look();
        Undoing undoing = new(new HashSet<int>(), new HashSet<int> { Index("eth0") });
        Assert.Contains("from xenbr0 to eth0", Plan.Diff(before, now, undoing).Actions[0].Text);
        Assert.Equal("detach eth0 from xenbr0", Plan.Diff(before, now).Actions[0].Text);
    }

    [Fact]
    public void Requested_addresses()
    {
        _host.AddNic("eth0", 1);
        _host.Kernel.Addresses.Add(new AddressInfo(Index("eth0"), Ip("10.5.5.5"), 24));
        Step("introduce eth0, static", () =>
        {
            Observed observed = _host.Look();
            _host.State = _host.State.Add(observed.NewPif(_host.NextUuid(), observed.Link("eth0")!));
            Configure(Static("192.0.2.10/24", "192.0.2.1", new IpRoute("10.8.0.0/16", "192.0.2.8")));
        });
        Step("nothing more", () => { });
        Step("create lan with eth0", () => _host.Connect("eth0", _host.Create("lan", "xenbr0")));
        Step("eth0 vanishes for a moment", () => _host.Kernel.Vanish(Index("eth0")));
        Assert.Contains(_host.Kernel.Addresses, a => a.Ifindex == Index("xenbr0") && a.Local.Equals(Ip("192.0.2.10")));
        Step("and is back", () => _host.AddNic("eth0", 1));
        Step("another address", () => Configure(Static("192.0.2.11/25", "192.0.2.1")));
        Step("somebody takes it away", () => _host.Kernel.Addresses.RemoveAll(a => a.Local.Equals(Ip("192.0.2.11"))));
        Step("destroy lan", () => _host.State = _host.State.Remove(Lan));
        Step("mode none", () => Configure(null));
        Assert.Equal("10.5.5.5/24", Assert.Single(_host.Kernel.Addresses).ToString());
        Check("host-requested");
    }

    [Fact]
    public void Without_ipv6_this_host_is_still_reached_by_ipv4()
    {
        // The machine that runs the tests has no such device, so IPv6 cannot be switched on there.
        LinkInfo nic = _host.AddNic("nosuchnic0", 7);
        _host.State = _host.State.Add(_host.Look().NewPif(_host.NextUuid(), nic) with
        {
            Ip = Static("192.0.2.10/24", "192.0.2.1") with { Ipv6 = new IpFamily(IpMode.Autoconf, null, null) },
        });
        RefusalException failure = Assert.Single(_host.Round().Failures);
        Assert.StartsWith("nosuchnic0: IPv6 cannot be switched on", failure.Message);
        Assert.Equal("192.0.2.10/24", Assert.Single(_host.Kernel.Addresses).ToString());
        Assert.Equal(Ip("192.0.2.1"), Assert.Single(_host.Kernel.Routes, r => r.PrefixLength == 0).Gateway);
    }

    private void Configure(IpConfiguration? ip) => _host.State = _host.State.Change(_host.State.PifOf("eth0") with { Ip = ip });

    private static IpConfiguration Static(string address, string gateway, params IpRoute[] routes) =>
        IpConfiguration.None with { Ipv4 = new IpFamily(IpMode.Static, address, gateway), Routes = [.. routes] };

    /// <summary>A dom0 that is reached through eth0; eth1 has a host of its own behind it.</summary>
    private void ManagedHost()
    {
        int eth0 = _host.AddNic("eth0", 1).Index, eth1 = _host.AddNic("eth1", 2).Index;
        _host.Kernel.Addresses.AddRange(
        [
            new AddressInfo(eth0, Ip("192.0.2.10"), 24) { Label = "eth0", Flags = AddressFlags.Permanent },
            new AddressInfo(eth0, Ip("192.0.2.11"), 24) { Label = "eth0:1", Flags = AddressFlags.Permanent | AddressFlags.Secondary },
            new AddressInfo(eth0, Ip("2001:db8::10"), 64),
            new AddressInfo(eth0, Ip("fe80::1"), 64) { Scope = AddressScope.Link },
            new AddressInfo(eth1, Ip("198.51.100.1"), 24),
        ]);
        _host.Kernel.Routes.AddRange(
        [
            RouteInfo.To(false, null, 0, Ip("192.0.2.1"), eth0, 4),
            RouteInfo.To(false, Ip("203.0.113.0"), 24, null, eth0, 4, metric: 9),
            RouteInfo.To(true, null, 0, Ip("2001:db8::1"), eth0, 4),
            RouteInfo.To(false, Ip("198.51.100.0"), 24, null, eth1, 4),
        ]);
        _host.Kernel.Rules.AddRange([KernelModel.Rule(100, "eth0", 100), KernelModel.Rule(101, "eth1", 100)]);
    }

    private int Index(string device) => _host.Kernel.Find(device)!.Index;

    private string Everything() => string.Join('\n', (string[])
    [
        .. _host.Kernel.Addresses.Select(a => $"{a} {_host.Kernel.Find(a.Ifindex)!.Name}").Order(StringComparer.Ordinal),
        .. _host.Kernel.Routes.Select(r => $"{r} {_host.Kernel.Find(r.Ifindex)!.Name}").Order(StringComparer.Ordinal),
        .. _host.Kernel.Rules.Select(r => $"{r}").Order(StringComparer.Ordinal),
    ]);

    private static string Expected(string on) => $"""
        192.0.2.10/24 {on}
        192.0.2.11/24 {on}
        198.51.100.1/24 eth1
        2001:db8::10/64 {on}
        fe80::1/64 {on}
        198.51.100.0/24 eth1
        203.0.113.0/24 metric 9 {on}
        ::/0 via 2001:db8::1 {on}
        default via 192.0.2.1 {on}
        100: iif {on} lookup 100
        101: iif eth1 lookup 100
        """;

    /// <summary>Converges until the n-th request of the host's, at which the process is killed; false if there are fewer.</summary>
    private bool Killed(int n)
    {
        int seen = 0;
        _host.Kernel.HostRequest = _ =>
        {
            if (++seen == n)
                throw new KilledException();
        };
        try
        {
            _host.Converge();
            return false;
        }
        catch (KilledException)
        {
            return true;
        }
        finally
        {
            _host.Kernel.HostRequest = _ => { };
        }
    }

    private void Step(string what, Action change)
    {
        change();
        _text.Append($"{what}\n").Append(_host.Converge());
    }

    private void Check(string name) => Golden.Check(Golden.File($"{name}.txt"), _text.ToString());

    private sealed class KilledException : Exception;
}
