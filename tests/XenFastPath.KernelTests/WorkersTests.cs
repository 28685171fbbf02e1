using XenFastPath.KernelTests.Lab;

namespace XenFastPath.KernelTests;

/// <summary>A forwarder with several workers: ports of different ones talk as those of one do, and come and go under traffic.</summary>
public sealed class WorkersTests
{
    private const int SIGKILL = 9, Workers = 2;

    private static Lab.Lab WorkersLab(int guests, params string[] more)
    {
        Lab.Lab lab = new(guests, startDaemon: false);
        lab.StartDaemon(["--workers", $"{Workers}", .. more]);
        lab.CreateNetwork("lan", "afxdp");
        lab.PlugAll("lan", "afxdp");
        foreach (Guest guest in lab.Guests)
            guest.AddAddress();
        foreach (Guest guest in lab.Guests.Skip(1))
            guest.Netns.Run("ping", "-c", "2", "-i", "0.2", lab.Guests[0].Ip);
        lab.Sync();
        return lab;
    }

    [Fact]
    [Trait("rung", "minimum")]
    public void Guests_of_different_workers_talk_on_the_fast_path()
    {
        using Lab.Lab lab = WorkersLab(guests: 4);
        Assert.Equal(Workers, lab.Show().Forwarder.Workers);
        Assert.Contains($"{Workers} workers", lab.Xfp("show").Output);
        foreach (Guest from in lab.Guests)
        {
            foreach (Guest to in lab.Guests.Where(g => g != from))
            {
                (int sent, long fast) = lab.PingFast(from, to, 100, intervalMs: 2);
                Assert.True(fast > sent * 95 / 100 - Lab.Lab.LossMax(sent), $"{from.Vif} to {to.Vif}: {fast} of {sent} on the fast path");
            }
        }

        // Each of four ports talks to two of the other worker and to one of its own.
        Assert.True(lab.Stats().Loop["handed_over"] > 1000 / Lab.Lab.Scale, "no frame went from one worker to another");
        HostileTests.AssertSound(lab);
    }

    [Fact]
    public void Tcp_between_workers_has_no_checksum_error_while_ports_come_and_go()
    {
        using Lab.Lab lab = WorkersLab(guests: 6);
        Guest a = lab.Guests[0], b = lab.Guests[1];
        using Prober prober = new(lab.Guests[2], lab.Guests[3], count: 4000);
        Thread ports = new(() =>
        {
            for (int i = 0; i < 8; i++)
            {
                foreach (Guest guest in lab.Guests.TakeLast(2))
                    lab.Xfp("vif", "unplug", guest.Vif);
                foreach (Guest guest in lab.Guests.TakeLast(2))
                    lab.Xfp("vif", "plug", guest.Vif, "--network", "lan");
            }
        });
        ports.Start();
        double mbits = TrafficTests.Iperf(a, b, b.Ip, "-t", "3");
        ports.Join();
        Assert.True(mbits > 50.0 / Lab.Lab.Scale, $"only {mbits} Mbit/s");
        TrafficTests.AssertNoChecksumErrors(lab);
        prober.FinishWith(lostMax: 40);
        lab.WaitForPath("lan", "afxdp");
        // The audit, every ten seconds, is due with all workers at rest.
        long audits = lab.Stats().Loop["audits"];
        Tool.Eventually(() => lab.Stats().Loop["audits"] > audits, "another audit", 30);
        HostileTests.AssertSound(lab);
    }

    [Fact]
    public void A_killed_forwarder_is_replaced_by_one_with_as_many_workers()
    {
        using Lab.Lab lab = WorkersLab(guests: 4, "--busy-poll-us", "100");
        Guest a = lab.Guests[0], b = lab.Guests[1];
        int pid = lab.Show().Forwarder.Pid!.Value;
        using Prober prober = new(a, b, count: 3000);
        Tool.Eventually(() => prober.Sent > 500, "requests run");
        Lab.Lab.Signal(pid, SIGKILL);
        prober.FinishWith(lostMax: 20);
        Tool.Eventually(() => lab.Show().Forwarder is { State: "running" } f && f.Pid != pid && f.Ports == 4, "another forwarder serves all ports", 60);
        Assert.Equal(Workers, lab.Show().Forwarder.Workers);
        lab.WaitForPath("lan", "afxdp");
        a.Netns.Run("ping", "-c", "1", b.Ip);
        lab.Sync();
        (int sent, long fast) = lab.PingFast(a, b, 500, intervalMs: 2);
        Assert.True(fast > sent * 98 / 100 - Lab.Lab.LossMax(sent), "the fast path did not come back");
        HostileTests.AssertSound(lab);
    }
}
