// AF_XDP in zero-copy mode on a real driver: virtio-net of the VM, kernel >= 6.11. Each PIF is a card with a wire to the world.
using XenFastPath.Api;
using XenFastPath.KernelTests.Lab;

namespace XenFastPath.KernelTests;

/// <summary>What the other tests show in copy mode, between vifs and cards whose driver works on the arena itself.</summary>
[Trait("rung", "vm")]
public sealed class ZeroCopyTests
{
    private const int SIGKILL = 9;

    /// <summary>By one worker, and by two: the second has the vif, and both poll the card's driver.</summary>
    [Theory]
    [InlineData]
    [InlineData("--workers", "2", "--busy-poll-us", "100")]
    public void Known_unicast_between_vif_and_card_goes_through_the_forwarder(params string[] daemonArguments)
    {
        using Lab.Lab lab = ZeroCopyLab(guests: 1, cards: 1, daemonArguments);
        Guest guest = lab.Guests[0], world = lab.Worlds[0];
        Introduce(lab);
        PortCountersInfo before = lab.Network("xenbr0").Pif!.Counters!;
        int pings = Lab.Lab.Ping(guest, world, 2000, intervalMs: 2);
        PortCountersInfo after = lab.Network("xenbr0").Pif!.Counters!;
        long received = after.FastRxFrames - before.FastRxFrames, sent = after.FastTxFrames - before.FastTxFrames;
        Assert.True(received > pings * 0.9, $"{received} of {pings} frames from the card by the forwarder");
        Assert.True(sent > pings * 0.9, $"{sent} of {pings} frames to the card by the forwarder");
        AssertZeroCopy(lab);
        HostileTests.AssertSound(lab);
    }

    [Fact]
    public void Tcp_and_udp_through_the_card_have_no_checksum_error()
    {
        using Lab.Lab lab = ZeroCopyLab(guests: 1);
        Guest guest = lab.Guests[0], world = lab.Worlds[0];
        Introduce(lab);
        foreach ((Guest from, Guest to) in new[] { (guest, world), (world, guest) })
        {
            Assert.True(TrafficTests.Iperf(from, to, to.Ip, "-t", "2") > 1);
            Assert.True(TrafficTests.Iperf(from, to, to.Ip, "-u", "-b", "4M", "-t", "1") > 1);
        }

        Assert.Equal(0, guest.ChecksumErrors());
        Assert.Equal(0, world.ChecksumErrors());
        PortCountersInfo card = lab.Network("xenbr0").Pif!.Counters!;
        Assert.True(card.FastTxFrames > 10 * card.KernelFrames, $"{card.FastTxFrames} frames by the forwarder, {card.KernelFrames} by the bridge");
        AssertZeroCopy(lab);
        HostileTests.AssertSound(lab);
    }

    [Fact]
    public void Two_cards_share_the_arena_and_a_killed_forwarder_is_replaced()
    {
        using Lab.Lab lab = ZeroCopyLab(guests: 2, cards: 2);
        for (int round = 0; round < 2; round++)
        {
            Introduce(lab);
            for (int i = 0; i < 2; i++)
            {
                (int sent, long fast) = lab.PingFast(lab.Guests[i], lab.Worlds[i], 1000, intervalMs: 2);
                Assert.True(fast > sent * 0.9, $"card {i} is not on the fast path");
            }

            AssertZeroCopy(lab);
            HostileTests.AssertSound(lab);
            if (round == 0)
                KillForwarder(lab);
        }
    }

    [Fact]
    public void What_is_for_all_goes_the_kernels_way_through_the_card()
    {
        using Lab.Lab lab = ZeroCopyLab(guests: 2);
        Guest a = lab.Guests[0], b = lab.Guests[1], world = lab.Worlds[0];
        byte[] fromWorld = ComparisonTests.Frame("ff:ff:ff:ff:ff:ff", world.Mac, 1), fromGuest = ComparisonTests.Frame("ff:ff:ff:ff:ff:ff", a.Mac, 2);
        world.Socket.Send(fromWorld);
        foreach (Guest guest in lab.Guests)
            Assert.Single(guest.Socket.Collect(f => f.AsSpan().SequenceEqual(fromWorld), 2));
        a.Socket.Send(fromGuest);
        foreach (Guest other in new[] { b, world })
            Assert.Single(other.Socket.Collect(f => f.AsSpan().SequenceEqual(fromGuest), 2));
        AssertZeroCopy(lab);
    }

    [Fact]
    public void A_card_that_leaves_the_fast_path_works_on_the_bridge_and_comes_back()
    {
        using Lab.Lab lab = ZeroCopyLab(guests: 1);
        foreach (string datapath in new[] { "bridge", "afxdp" })
        {
            lab.Call(ApiMethods.NetworkSet, new("xenbr0", Datapath: datapath));
            lab.WaitForPath("xenbr0", datapath);
            Introduce(lab);
            Lab.Lab.Ping(lab.Guests[0], lab.Worlds[0], 1000, intervalMs: 2);
        }

        AssertZeroCopy(lab);
        HostileTests.AssertSound(lab);
    }

    /// <summary>Network xenbr0 (and xenbr1 ...) with a card as PIF and one or more guests, all with addresses.</summary>
    private static Lab.Lab ZeroCopyLab(int guests, int cards = 1, params string[] daemonArguments)
    {
        Assert.SkipUnless(Environment.OSVersion.Version >= new Version(6, 11), "virtio-net has no AF_XDP zero-copy before kernel 6.11");
        Lab.Lab lab = new(guests, startDaemon: false);
        lab.StartDaemon(daemonArguments);
        for (int i = 0; i < cards; i++)
        {
            lab.AddWorld($"eth{i}", 200 + i, new CardPair(i));
            lab.CreateNetwork($"xenbr{i}", "afxdp", pif: $"eth{i}");
        }

        foreach (Guest guest in lab.Guests)
            lab.Plug(guest, $"xenbr{(guest.Number - 1) % cards}");
        for (int i = 0; i < cards; i++)
            lab.WaitForPath($"xenbr{i}", "afxdp");
        foreach (Guest guest in lab.Guests)
            guest.AddAddress($"{(guest.Number - 1) % cards}");
        for (int i = 0; i < cards; i++)
            lab.Worlds[i].AddAddress($"{i}");
        AssertZeroCopy(lab);
        return lab;
    }

    private static void AssertZeroCopy(Lab.Lab lab)
    {
        for (int i = 0; i < lab.Worlds.Count; i++)
        {
            PortPathInfo path = lab.Network($"xenbr{i}").Pif!.Path!;
            Assert.Equal(("afxdp", "native", "zero-copy"), (path.Path, path.Xdp, path.Umem));
        }
    }

    /// <summary>Each guest and its world learn each other's address, and so does the fast path.</summary>
    private static void Introduce(Lab.Lab lab)
    {
        foreach (Guest guest in lab.Guests)
            guest.Netns.Run("ping", "-c", "2", "-i", "0.2", lab.Worlds[(guest.Number - 1) % lab.Worlds.Count].Ip);
        lab.Sync();
    }

    private static void KillForwarder(Lab.Lab lab)
    {
        int pid = lab.Show().Forwarder.Pid!.Value;
        Lab.Lab.Signal(pid, SIGKILL);
        Introduce(lab);
        Tool.Eventually(() => lab.Show().Forwarder is { State: "running" } f && f.Pid != pid, "there is a new forwarder", 30);
        for (int i = 0; i < lab.Worlds.Count; i++)
            lab.WaitForPath($"xenbr{i}", "afxdp");
    }
}
