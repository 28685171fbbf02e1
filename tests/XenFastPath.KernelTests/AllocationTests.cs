using XenFastPath.Api;
using XenFastPath.KernelTests.Lab;

namespace XenFastPath.KernelTests;

public sealed class AllocationTests
{
    [Fact]
    public void Ten_million_forwarded_frames_cause_no_garbage_collection()
    {
        long frames = 10_000_000 / (Lab.Lab.Scale * Lab.Lab.Scale);     // an emulated machine would take hours
        using Lab.Lab lab = new(guests: 2);
        lab.CreateNetwork("lan", "afxdp");
        lab.PlugAll("lan", "afxdp");
        Guest a = lab.Guests[0], b = lab.Guests[1];
        b.Socket.Dispose();     // nobody reads there; its queue would only cost time
        a.Socket.Send(ComparisonTests.Frame("ff:ff:ff:ff:ff:ff", a.Mac, 0));
        using (PacketSocket once = b.Netns.Inside(() => new PacketSocket("eth0")))
            once.Send(ComparisonTests.Frame("ff:ff:ff:ff:ff:ff", b.Mac, 0));
        lab.Sync();
        byte[] frame = ComparisonTests.Ipv4(b.Mac, a.Mac, 1, new byte[40]);
        a.Socket.SendMany(frame, 200_000);
        ForwarderInfo before = lab.Show().Forwarder;
        long start = lab.VifOf(b).Counters!.FastTxFrames;
        Assert.True(start > 1000, "the warm-up did not take the fast path");
        while (lab.VifOf(b).Counters!.FastTxFrames - start < frames)
            a.Socket.SendMany(frame, 500_000);
        // The collection count is taken once a second.
        long rounds = lab.Stats().Loop["audits"];
        Tool.Eventually(() => lab.Stats().Loop["audits"] > rounds, "a tick and an audit after the traffic", 25);
        ForwarderInfo after = lab.Show().Forwarder;
        Assert.Equal(before.Pid, after.Pid);
        Assert.Equal(before.Gen0Collections, after.Gen0Collections);
        Assert.Equal(0, after.Gen0Collections);
        HostileTests.AssertSound(lab);
    }
}
