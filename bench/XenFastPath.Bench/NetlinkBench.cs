using BenchmarkDotNet.Attributes;
using XenFastPath.Netlink;

namespace XenFastPath.Bench;

/// <summary>What the FDB mirror does for each notification.</summary>
[MemoryDiagnoser]
public class NetlinkBench
{
    // RTM_NEWNEIGH of a bridge port: lladdr, master, cacheinfo.
    private static readonly byte[] s_notification = Convert.FromHexString(
        "440000001c0000000000000000000000" + "070000000300000002000000"
        + "0a00020002000000010100000800090008000000" + "1400030000000000000000000000000000000000");

    [GlobalSetup]
    public void Check()
    {
        if (DecodeFdbNotification() != 3)
            throw new InvalidOperationException("the notification does not decode");
    }

    [Benchmark]
    public int DecodeFdbNotification() => FdbEntry.TryDecode(s_notification, out FdbEntry entry) ? entry.Ifindex : 0;
}
