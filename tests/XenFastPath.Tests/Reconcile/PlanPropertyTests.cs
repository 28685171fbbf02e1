// Whatever is wished and whatever happens: a few rounds later the host is as wished, and nobody else has lost anything.
using XenFastPath.Model;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.Tests.Reconcile;

public sealed class PlanPropertyTests
{
    private const int Hosts = 60, StepsPerHost = 60;

    [Theory]
    [InlineData(1000, false)]
    [InlineData(2000, false)]
    [InlineData(3000, true)]
    [InlineData(4000, true)]
    public void It_converges_and_hurts_nobody(int firstSeed, bool withFaults)
    {
        int plugged = 0, fast = 0, redirecting = 0, hooks = 0;
        for (int seed = firstSeed; seed < firstSeed + Hosts; seed++)
        {
            RandomHost world = new(seed);
            try
            {
                Watch guard = new(world.Host);
                for (int step = 0; step < StepsPerHost; step++)
                {
                    Run(world, withFaults);
                    guard.Check();
                    fast += world.Host.FastPath.Ports.Values.Count(p => p is { Path: PortPath.Afxdp, IsForwarding: true });
                    redirecting += world.Host.FastPath.Ports.Values.Count(p => p is { Path: PortPath.Redirect, IsForwarding: true });
                    hooks += world.Host.FastPath.Ports.Values.Count(p => p.HasXdpHook);
                }
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"seed {seed}: {e.Message}\n{string.Join('\n', world.Log)}", e);
            }

            plugged += world.Host.State.Vifs.Length;
        }

        Assert.True(plugged > Hosts && fast > 10 * Hosts && redirecting > 5 * Hosts && hooks > Hosts,
            $"{plugged} vifs, {fast} fast, {redirecting} redirecting, {hooks} with XDP: the test tests nothing");
    }

    private static void Run(RandomHost world, bool withFaults)
    {
        for (int i = 0; i < 3; i++)
        {
            world.Wish();
            world.Disturb();
        }

        if (withFaults)
        {
            world.SetFaults(true);
            for (int i = 0; i < 3; i++)
                world.Host.Round();
            world.SetFaults(false);
        }

        string text = world.Host.Converge();
        world.Log.Add(text);
        Assert.DoesNotContain("failed:", text);
        Assert.True(Plan.Diff(world.Host.State, world.Host.Look()).IsEmpty, "the second plan is not empty");
    }

    /// <summary>Looks on at every change that is made, and at what has become of the host in the end.</summary>
    private sealed class Watch
    {
        private readonly Host _host;
        private readonly HashSet<int> _made = [];

        public Watch(Host host)
        {
            _host = host;
            host.Kernel.Changed = OnChange;
        }

        public void Check()
        {
            foreach (Network network in _host.State.Networks)
                CheckNetwork(network);
            HashSet<int> wanted = [.. _host.State.Vifs.Select(v => v.Binding.Ifindex)];
            wanted.UnionWith(_host.State.Pifs.Where(p => p is { Network: not null, IsPlugged: true }).Select(CardOf).OfType<LinkInfo>().Select(l => l.Index));
            Assert.Empty(_host.FastPath.Ports.Keys.Except(wanted));
            Assert.Equal(_host.Kernel.TagsSwitchedOff.Order(), _host.State.TagsKept.Select(c => c.Ifindex).Order());
            Assert.All(_host.Kernel.TagsSwitchedOff, i => Assert.True(_host.FastPath.HasXdp(i) || _host.FastPath.Failures.ContainsKey(i),
                $"{_host.Kernel.Find(i)!.Name} leaves tags in frames for nothing"));
            foreach ((int index, PortSettings port) in _host.FastPath.Ports)
            {
                LinkInfo link = _host.Kernel.Find(index)!;
                bool forwards = link.BridgePort is { State: BridgePortState.Forwarding } && link.MasterIndex == port.BridgeIfindex;
                Assert.True(port.IsForwarding == forwards, $"{link.Name}: forwarding {port.IsForwarding} in the fast path, {forwards} in the kernel");
                Assert.False(port.Path == PortPath.Afxdp && _host.Kernel.StrippingTags.Contains(index), $"{link.Name}: afxdp with tags stripped");
            }
        }

        private void CheckNetwork(Network network)
        {
            LinkInfo? bridge = _host.Kernel.Find(network.Bridge);
            if (bridge?.Bridge is null)
            {
                Assert.Contains(_host.Problems, p => p.Subject == network.Bridge);
                return;
            }

            Assert.True(bridge.IsUp, $"{bridge.Name} is down");
            Assert.Equal(network.Mtu, bridge.Mtu);
            foreach (Vif vif in _host.State.VifsOf(network))
                CheckPort(_host.Kernel.Find(vif.Binding.Ifindex)!, network, bridge);
            if (_host.State.PifOf(network) is { IsPlugged: true } pif && CardOf(pif) is { } card)
                CheckPort(card, network, bridge);
        }

        private void CheckPort(LinkInfo port, Network network, LinkInfo bridge)
        {
            if (_host.Problems.Any(p => p.Subject == port.Name && p.Reason.StartsWith("is in ", StringComparison.Ordinal)))
            {
                Assert.NotEqual(0, port.MasterIndex);
                Assert.NotEqual(bridge.Index, port.MasterIndex);
                return;
            }

            Assert.True(port.MasterIndex == bridge.Index, $"{port.Name} is not in {bridge.Name}");
            Assert.True(port.IsUp, $"{port.Name} is down");
            Assert.Equal(network.Mtu, port.Mtu);
            PortSettings settings = _host.FastPath.Ports[port.Index];
            Assert.Equal((network.Id, bridge.Index, network.Mtu + 14), (settings.NetworkId, settings.BridgeIfindex, settings.FrameBytesMax));
            Assert.Equal(port.BridgePort!.Isolated, settings.IsIsolated);
            bool maySuit = settings.Path == PortPath.Afxdp ? network is { Datapath: Datapath.Afxdp, Mtu: <= 1774 } : network.Datapath == Datapath.Redirect;
            Assert.True(settings.Path == PortPath.Bridge || (maySuit && port.BridgePort.Learning));
            Assert.Equal(settings.Path == PortPath.Redirect, settings.Redirects);
            Assert.True(!settings.HasXdpHook || settings.Redirects, $"{port.Name} has XDP on path {settings.Path}");
        }

        private void OnChange(LinkInfo? before, LinkInfo? after)
        {
            if (before is null)
            {
                _made.Add(after!.Index);
                return;
            }

            if (after is null)
            {
                Assert.True(_made.Contains(before.Index), $"{before.Name} is deleted, which was not made here");
                return;
            }

            if (before.MasterIndex == after.MasterIndex)
                return;
            Assert.True(before.MasterIndex == 0 || IsOurs(before.MasterIndex), $"{before.Name} is taken from a foreign bridge");
            if (after.MasterIndex == 0)
                return;
            Assert.True(IsOurs(after.MasterIndex), $"{after.Name} is put into a foreign bridge");
            Assert.True(_host.FastPath.Ports.ContainsKey(after.Index), $"{after.Name} is attached before its policy");
            bool isVif = _host.State.Vifs.Any(v => v.Binding.Ifindex == after.Index);
            bool isPif = _host.State.Pifs.Any(p => p.Network is not null && CardOf(p)?.Index == after.Index);
            Assert.True(isVif || isPif, $"{after.Name} is joined by its name alone");
        }

        /// <summary>Made here, or the bridge that a Network was given.</summary>
        private bool IsOurs(int bridge) =>
            _made.Contains(bridge) || _host.State.Networks.Any(n => n.Bridge == _host.Kernel.Find(bridge)?.Name);

        private LinkInfo? CardOf(Pif pif) => _host.Kernel.Links.FirstOrDefault(l => l.ParentDeviceName == pif.BusPath);
    }
}
