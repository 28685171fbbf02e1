// VLANs against a switch that nobody here wrote. Only in the VM: this needs 8021q.
using XenFastPath.Api;
using XenFastPath.KernelTests.Lab;

namespace XenFastPath.KernelTests;

/// <summary>One Network per tag, and the native one: what belongs together talks, and nothing else does.</summary>
[Trait("rung", "vm")]
public sealed class VlanTests
{
    private static readonly int[] s_tags = [100, 200, 300];

    /// <summary>With a veth as the trunk, which the bridge and redirect can carry; and with a real card on the fast path.</summary>
    [Theory]
    [InlineData("bridge", false, Traits = ["kernel", "oldest"])]
    [InlineData("redirect", false, Traits = ["kernel", "newest"])]
    [InlineData("afxdp", true)]
    public void Three_vlans_and_the_native_network_are_apart(string datapath, bool card)
    {
        using Lab.Lab lab = new(guests: 4);
        TrunkSwitch trunk = Build(lab, datapath, card);
        foreach ((Guest guest, int tag) in Members(lab))
            Ping(guest, trunk[tag]);
        if (datapath != "bridge")
            AssertFast(lab, trunk);
        // Every host and every guest calls all the others: only those of its own Network may hear it.
        foreach ((Guest guest, int tag) in Members(lab))
        {
            AssertHeardBy(lab, guest, [trunk[tag]], Broadcast(guest, 1), guest, trunk[tag]);
            AssertHeardBy(lab, trunk[tag], [guest], Broadcast(trunk[tag], 2), trunk[tag], guest);
            // Unknown in its own Network, where it is flooded; known in another.
            foreach (int other in s_tags.Append(TrunkSwitch.Native).Where(t => t != tag))
                AssertHeardBy(lab, guest, [trunk[tag]], ComparisonTests.Frame(trunk[other].Mac, guest.Mac, 3), guest, trunk[tag]);
        }
    }

    /// <summary>On redirect, between a card and a guest that runs XDP itself: the program takes the tag off and puts it on, in XDP.</summary>
    [Fact]
    [Trait("kernel", "newest")]
    public void A_card_and_a_guest_with_xdp_exchange_the_frames_of_a_vlan_from_driver_to_driver()
    {
        using Lab.Lab lab = new(guests: 4);
        TrunkSwitch trunk = Build(lab, "redirect", card: true);
        Guest guest = lab.Guests[1];
        XdpProgram.AttachPass(guest.Netns, guest.Device);
        Tool.Eventually(() => lab.VifOf(guest).Path!.Xdp == "native" && lab.Network("vlan100").Vlan!.Path!.Xdp == "native", "both ends have XDP", 20);
        Assert.Empty(lab.Call(ApiMethods.Plan, new()).Actions);
        foreach ((Guest member, int tag) in Members(lab))
            Ping(member, trunk[tag]);
        AssertFast(lab, trunk);
        Assert.True(lab.Counter(guest.Vif, "redirect_xdp") > 90, "the guest's frames did not take XDP");
        Assert.True(lab.Counter("eth0.100", "redirect_xdp") > 90, "the wire's frames did not take XDP");
        Assert.Equal(0, lab.Counter("eth0", "redirect_lost"));
    }

    [Fact]
    [Trait("kernel", "oldest")]
    public void Tagged_frames_of_guests_and_tags_without_an_object_go_nowhere()
    {
        using Lab.Lab lab = new(guests: 4);
        Guest world = lab.AddWorld();
        TrunkSwitch trunk = Build(lab, "bridge", card: false, world, 400);
        foreach ((Guest guest, int mate) in Members(lab))
        {
            foreach (byte[] tag in (byte[][])[[0x81, 0, 0, 100], [0x81, 0, 0, 0], [0x88, 0xa8, 0, 100], [0x81, 0, 0, 100, 0x81, 0, 0, 200]])
                AssertHeardBy(lab, guest, [], Tagged(Broadcast(guest, 4), tag), guest, trunk[mate]);
        }

        AssertHeardBy(lab, trunk[400], [], Broadcast(trunk[400], 5), trunk[TrunkSwitch.Native], lab.Guests[0]);
        Assert.True(lab.Counter("eth0", "drop_no_vlan") > 0);
        // Somebody in dom0 has a use for it: it is theirs.
        lab.Dom0.Run("ip", "link", "add", "link", "eth0", "name", "storage", "type", "vlan", "id", "400");
        lab.Dom0.Run("ip", "link", "set", "storage", "up");
        lab.Dom0.Run("ip", "address", "add", "10.77.4.1/24", "dev", "storage");
        trunk[400].AddAddress("4");
        Tool.Eventually(() => Tool.TryRun("nsenter", "--net=" + lab.Dom0.Path, "ping", "-c", "1", "-W", "1", trunk[400].Ip).Status == 0,
            "the storage vlan works", 10);
    }

    [Fact]
    public void A_vlan_is_made_found_again_and_taken_away()
    {
        using Lab.Lab lab = new(guests: 1);
        lab.AddWorld();
        lab.CreateNetwork("prod", "bridge");
        VlanInfo vlan = lab.Call(ApiMethods.VlanCreate, new("eth0", 100, "prod"));
        Assert.Equal(("eth0.100", 100, "eth0", "forwarding"), (vlan.Device, vlan.Tag, vlan.Pif, lab.Call(ApiMethods.VlanShow, new("eth0.100")).State));
        Assert.Contains("vlan protocol 802.1Q id 100", lab.Dom0.Run("ip", "-details", "link", "show", "eth0.100"));
        Assert.Contains("eth0.100", lab.Dom0.Run("ip", "link", "show", "master", "prod"));
        lab.Call(ApiMethods.PifForget, new("eth0"), "carries vlan 100 of network prod");
        // Its name is nobody's identity. (Before kernel 6.2 a device is renamed only while it is down.)
        lab.EndDaemon();
        lab.Dom0.Run("ip", "link", "set", "eth0.100", "down");
        lab.Dom0.Run("ip", "link", "set", "eth0.100", "name", "other");
        lab.Dom0.Run("ip", "link", "set", "other", "up");
        lab.StartDaemon();
        Tool.Eventually(() => lab.Call(ApiMethods.Plan, new()).Actions.Count == 0, "the daemon has found it", 20);
        Assert.Equal("other", lab.Call(ApiMethods.VlanShow, new("eth0.100")).Device);
        lab.Call(ApiMethods.VlanDestroy, new("eth0.100"));
        Assert.DoesNotContain("vlan protocol", lab.Dom0.Run("ip", "-details", "link", "show"));
        Assert.Null(lab.Network("prod").Vlan);
        Assert.Empty(lab.Call(ApiMethods.Plan, new()).Actions);
    }

    [Fact]
    public void A_subinterface_that_was_there_is_adopted_and_left()
    {
        using Lab.Lab lab = new(guests: 0);
        lab.AddWorld();
        lab.Dom0.Run("ip", "link", "add", "link", "eth0", "name", "guests", "type", "vlan", "id", "7");
        lab.CreateNetwork("prod", "bridge");
        Assert.Equal("guests", lab.Call(ApiMethods.VlanCreate, new("eth0", 7, "prod")).Device);
        lab.Call(ApiMethods.NetworkDestroy, new("prod"));
        Assert.Contains("guests@eth0", lab.Dom0.Run("ip", "link", "show"));
    }

    [Fact]
    public void A_card_that_takes_tags_out_leaves_them_in_while_the_fast_path_needs_them()
    {
        using Lab.Lab lab = new(guests: 1);
        CardPair.Move(CardPair.TagTakerMac, lab.Dom0, "eth0");
        lab.Dom0.Run("ethtool", "-K", "eth0", "rxvlan", "on");
        lab.CreateNetwork("xenbr0", "afxdp", pif: "eth0");
        lab.Plug(lab.Guests[0], "xenbr0");
        lab.WaitForPath("xenbr0", "afxdp");
        Assert.False(TakesTags(lab));
        // Whose doing that was is known to the next daemon too.
        lab.EndDaemon();
        lab.StartDaemon();
        lab.WaitForPath("xenbr0", "afxdp");
        lab.Call(ApiMethods.NetworkSet, new("xenbr0", Datapath: "bridge"));
        lab.WaitForPath("xenbr0", "bridge");
        Tool.Eventually(() => TakesTags(lab), "the card takes tags out again");
        lab.Call(ApiMethods.NetworkSet, new("xenbr0", Datapath: "afxdp"));
        lab.WaitForPath("xenbr0", "afxdp");
        Assert.False(TakesTags(lab));
        lab.Call(ApiMethods.VifUnplug, new(lab.Guests[0].Vif));
        lab.Call(ApiMethods.NetworkDestroy, new("xenbr0"));
        Tool.Eventually(() => TakesTags(lab), "the card takes tags out again");
        // Somebody else had switched it off: so it stays.
        lab.Dom0.Run("ethtool", "-K", "eth0", "rxvlan", "off");
        lab.CreateNetwork("xenbr0", "afxdp", pif: "eth0");
        lab.Call(ApiMethods.NetworkDestroy, new("xenbr0"));
        Assert.False(TakesTags(lab));
    }

    private static bool TakesTags(Lab.Lab lab) =>
        lab.Dom0.Run("ethtool", "-k", "eth0").Contains("rx-vlan-offload: on", StringComparison.Ordinal);

    [Fact]
    public void A_long_name_is_cut_and_kept_as_an_altname()
    {
        using Lab.Lab lab = new(guests: 0);
        lab.AddWorld("enp0s31f6np0");
        lab.CreateNetwork("prod", "bridge");
        Assert.Equal("vlan4000.0", lab.Call(ApiMethods.VlanCreate, new("enp0s31f6np0", 4000, "prod")).Device);
        Assert.Contains("altname enp0s31f6np0.4000", lab.Dom0.Run("ip", "link", "show", "vlan4000.0"));
    }

    /// <summary>A guest that speaks tags itself: the native Network and VLAN 100 are its, nothing else is, and dom0 is on neither.</summary>
    [Fact]
    [Trait("kernel", "newest")]
    public void A_trunk_vif_has_its_tags_and_no_others()
    {
        using Lab.Lab lab = new(guests: 4);
        TrunkSwitch trunk = Build(lab, "bridge", card: false);
        Guest guest = lab.Guests[0];
        AddTagged(guest, 100);
        AddTagged(guest, 200);
        Assert.False(CanPing(guest, trunk[100].Ip), "tag 100 passes before it is set");
        Assert.Equal([100], lab.Call(ApiMethods.VifSet, new(guest.Vif, [100])).Trunks!);
        Assert.Contains($"{guest.Vif}.100", lab.Dom0.Run("ip", "link", "show", "master", "vlan100"));
        Assert.Empty(lab.Call(ApiMethods.Plan, new()).Actions);
        Tool.Eventually(() => CanPing(guest, trunk[100].Ip), "tag 100 works", 20);
        Ping(guest, trunk[TrunkSwitch.Native]);
        Assert.False(CanPing(guest, trunk[200].Ip), "tag 200 passes");
        AssertTrunk(lab, guest, trunk);
        // While the daemon is away, and after it has come back.
        lab.EndDaemon();
        Assert.True(CanPing(guest, trunk[100].Ip), "tag 100 works without the daemon");
        Assert.False(CanPing(guest, trunk[200].Ip), "tag 200 passes without the daemon");
        lab.StartDaemon();
        Tool.Eventually(() => lab.Call(ApiMethods.Plan, new()).Actions.Count == 0, "the daemon has found it", 20);
        Assert.Equal([100], lab.Call(ApiMethods.VifShow, new(guest.Vif)).Trunks!);
        AssertTrunk(lab, guest, trunk);
        lab.Call(ApiMethods.VlanDestroy, new("eth0.100"), $"{guest.Vif}: has tag 100 of eth0 in its trunks; vif set {guest.Vif} --trunks none first");
        Assert.Null(lab.Call(ApiMethods.VifSet, new(guest.Vif, [])).Trunks);
        Assert.DoesNotContain($"{guest.Vif}.100", lab.Dom0.Run("ip", "link", "show"));
        Assert.False(CanPing(guest, trunk[100].Ip), "tag 100 passes after it was taken away");
        Ping(guest, trunk[TrunkSwitch.Native]);
        Assert.Empty(lab.Call(ApiMethods.Plan, new()).Actions);
    }

    private static void AssertTrunk(Lab.Lab lab, Guest guest, TrunkSwitch trunk)
    {
        byte[] tag = [0x81, 0, 0, 100], other = [0x81, 0, 0, 200];
        Guest[] inVlan = [trunk[100], lab.Guests[1]];
        AssertHeardBy(lab, guest, inVlan, Broadcast(guest, 6), guest, trunk[TrunkSwitch.Native], tag);
        byte[] answer = Broadcast(trunk[100], 7);
        trunk[100].Socket.Send(answer);
        ReceiveUntil(guest, Tagged(answer, tag));
        byte[][] dropped =
        [
            other, [0x81, 0, 0, 0], [0x81, 0, 0x0f, 0xff], [0x88, 0xa8, 0, 100], [0x91, 0, 0, 100], [.. other, .. tag], [.. tag, .. other], [.. tag, .. tag],
        ];
        foreach (byte[] tags in dropped)
            AssertHeardBy(lab, guest, [], Broadcast(guest, 8), guest, trunk[TrunkSwitch.Native], tags);
    }

    private static void AddTagged(Guest guest, int tag)
    {
        guest.Netns.Run("ip", "link", "add", "link", guest.Device, "name", $"{guest.Device}.{tag}", "type", "vlan", "id", $"{tag}");
        guest.Netns.Run("ip", "link", "set", $"{guest.Device}.{tag}", "up");
        guest.Netns.Run("ip", "address", "add", $"10.77.{tag % 250}.250/24", "dev", $"{guest.Device}.{tag}");
    }

    private static bool CanPing(Guest from, string ip) =>
        Tool.TryRun("nsenter", "--net=" + from.Netns.Path, "ping", "-q", "-i", "0.3", "-c", "3", "-W", "1", ip).Status == 0;

    [Fact]
    public void Refusals_name_the_reason_and_change_nothing()
    {
        using Lab.Lab lab = new(guests: 0);
        lab.AddWorld();
        lab.CreateNetwork("prod", "bridge");
        lab.CreateNetwork("test", "bridge");
        lab.Call(ApiMethods.VlanCreate, new("eth0", 100, "prod"));
        string before = lab.Links();
        lab.Call(ApiMethods.VlanCreate, new("eth0", 0, "test"), "out of range 1..4094");
        lab.Call(ApiMethods.VlanCreate, new("eth0", 4095, "test"), "out of range 1..4094");
        lab.Call(ApiMethods.VlanCreate, new("eth0", 100, "test"), "in use by network prod");
        lab.Call(ApiMethods.VlanCreate, new("eth0", 200, "prod"), "has vlan eth0.100 already");
        lab.Call(ApiMethods.VlanCreate, new("eth9", 200, "test"), "no such device");
        Assert.Equal(before, lab.Links());
    }

    private static TrunkSwitch Build(Lab.Lab lab, string datapath, bool card, Guest? world = null, params int[] more)
    {
        world ??= lab.AddWorld("eth0", 200, card ? new CardPair(0) : null);
        TrunkSwitch trunk = new(lab, world, [.. s_tags, .. more]);
        lab.CreateNetwork("xenbr0", datapath, pif: "eth0");
        lab.Plug(lab.Guests[0], "xenbr0");
        for (int i = 0; i < s_tags.Length; i++)
        {
            lab.CreateNetwork($"vlan{s_tags[i]}", datapath);
            lab.Call(ApiMethods.VlanCreate, new("eth0", s_tags[i], $"vlan{s_tags[i]}"));
            lab.Plug(lab.Guests[i + 1], $"vlan{s_tags[i]}");
        }

        lab.WaitForPath("xenbr0", datapath);
        foreach (int tag in s_tags)
            lab.WaitForPath($"vlan{tag}", datapath);
        foreach ((Guest guest, int tag) in Members(lab))
        {
            guest.AddAddress($"{tag % 250}");
            trunk[tag].AddAddress($"{tag % 250}");
        }

        return trunk;
    }

    /// <summary>Each guest with the tag of its Network.</summary>
    private static IEnumerable<(Guest Guest, int Tag)> Members(Lab.Lab lab) => lab.Guests.Zip([TrunkSwitch.Native, .. s_tags]);

    private static void Ping(Guest from, Guest to) =>
        Assert.Contains(" 5 received", from.Netns.Run("ping", "-q", "-i", "0.05", "-c", "5", "-w", "20", to.Ip));

    private static byte[] Broadcast(Guest from, int number) => ComparisonTests.Frame("ff:ff:ff:ff:ff:ff", from.Mac, number);

    private static byte[] Tagged(byte[] frame, byte[] tag) => [.. frame[..12], .. tag, .. frame[12..]];

    /// <summary>
    /// Sends a frame, with a tag if one is given, and looks who gets it, whatever tag it bears there. A broadcast that follows on the same way, from
    /// <paramref name="follower"/> to <paramref name="witness"/>, proves that whoever did not get the first will not get it any more.
    /// </summary>
    private static void AssertHeardBy(Lab.Lab lab, Guest sender, Guest[] expected, byte[] frame, Guest follower, Guest witness, byte[]? tag = null)
    {
        Guest[] others = [.. lab.Guests.Concat(lab.Worlds.Where(w => w.Device == "host0")).Where(g => g != sender)];
        foreach (Guest other in others)
            other.Socket.Clear();
        byte[] last = Broadcast(follower, 99);
        sender.Socket.Send(Tagged(frame, tag ?? []));
        follower.Socket.Send(last);
        Dictionary<Guest, List<byte[]>> heard = new() { [witness] = ReceiveUntil(witness, last) };
        foreach (Guest other in others)
        {
            if (!heard.TryGetValue(other, out List<byte[]>? frames))
                frames = expected.Contains(other) ? other.Socket.Collect(_ => true, 1, quietMs: 5000) : [];
            while (other.Socket.Receive(0) is { } more)
                frames.Add(more);
            int count = frames.Count(f => f.AsSpan(6, 6).SequenceEqual(frame.AsSpan(6, 6)) && f.AsSpan().IndexOf(frame.AsSpan(^64..^52)) >= 0);
            Assert.True(count == (expected.Contains(other) ? 1 : 0), $"{other.Netns.Name} got {count} frames of {sender.Netns.Name}");
            if (expected.Contains(other))
                Assert.Contains(frames, f => f.AsSpan().SequenceEqual(frame));
        }
    }

    private static List<byte[]> ReceiveUntil(Guest witness, byte[] last)
    {
        List<byte[]> frames = [];
        while (frames.Count == 0 || !frames[^1].AsSpan().SequenceEqual(last))
        {
            byte[]? frame = witness.Socket.Receive(5000);
            Assert.True(frame is not null, $"{witness.Netns.Name} did not hear the last frame, but {string.Join(' ', frames.Select(Convert.ToHexString))}");
            frames.Add(frame);
        }

        return frames;
    }

    /// <summary>The hosts' frames to the guests and back take the fast path, tags popped and pushed.</summary>
    private static void AssertFast(Lab.Lab lab, TrunkSwitch trunk)
    {
        lab.Sync();
        foreach ((Guest guest, int tag) in Members(lab))
        {
            long before = lab.VifOf(guest).Counters!.FastRxFrames, sent = lab.VifOf(guest).Counters!.FastTxFrames;
            guest.Netns.Run("ping", "-q", "-i", "0.01", "-c", "100", trunk[tag].Ip);
            PortCountersInfo after = lab.VifOf(guest).Counters!;
            Assert.True(after.FastRxFrames - before > 90, $"{guest.Vif}, tag {tag}: {after.FastRxFrames - before} of 100 frames were fast");
            Assert.True(after.FastTxFrames - sent > 90, $"{guest.Vif}, tag {tag}: {after.FastTxFrames - sent} of 100 answers were fast");
            Assert.Equal(0, guest.ChecksumErrors() + trunk[tag].ChecksumErrors());
        }
    }
}
