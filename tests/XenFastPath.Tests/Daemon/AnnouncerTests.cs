// What waits to be announced: every address once, and nothing of a bond that is gone.
using XenFastPath.Daemon.FastPath;

namespace XenFastPath.Tests.Daemon;

public sealed class AnnouncerTests
{
    [Fact]
    public void An_address_waits_once_and_goes_with_its_bond()
    {
        List<(int Bond, ulong Address)> turns = [];
        using Announcer announcer = new((bond, address) =>
        {
            turns.Add((bond, address));
            return 0;       // no member: nothing is sent
        });
        foreach ((int bond, ulong address) in ((int, ulong)[])[(0, 5), (1, 5), (0, 5), (0, 6), (1, 7), (0, 6)])
            announcer.Add(bond, address);
        announcer.Forget(1);
        announcer.Send();
        Assert.Equal([(0, 5), (0, 6)], turns);
        Assert.True(announcer.IsIdle);
        // When its turn is over it may come again, and so may what was forgotten.
        announcer.Add(0, 5);
        announcer.Add(1, 5);
        announcer.Send();
        Assert.Equal([(0, 5), (0, 6), (0, 5), (1, 5)], turns);
    }
}
