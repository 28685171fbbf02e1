// The objects of the fake daemon. "tick" is how many 300 ms have passed; counters grow by a fixed amount in each.
using XenFastPath.Api;

namespace XenFastPath.Tests.Api;

internal static class FakeData
{
    private const long TickNs = 300_000_000;

    public static PifInfo Eth1 { get; } = new(
        Id(4), "eth1", 3, null, "00:1b:21:aa:00:02", "00:1b:21:aa:00:02", "0000:03:00.1", "igb", 1500,
        Carrier: false, SpeedMbps: null, "unplugged", Path: null, Counters: null);

    public static VifInfo Vif3 { get; } = new(
        Id(7), "vif3.0", null, "Gäste Süd", null, 1500, Carrier: false, "missing", Path: null, Counters: null);

    public static VlanInfo Vlan100 { get; } = new(
        Id(8), "eth0.100", 14, "eth0", 100, "prod", 1500, Carrier: true, "forwarding",
        new PortPathInfo("bridge", "as set", null, null, 0), Counters: null);

    public static BondInfo Bond0 { get; } = new(
        Id(9), "bond0", 15, "lacp", "LAN", "00:1b:21:aa:00:01",
        new Dictionary<string, string> { ["hashing_algorithm"] = "tcpudp_ports", ["miimon"] = "100", ["updelay"] = "31000" },
        "forwarding",
        [
            new("eth0", Primary: true, "active", Carrier: true, 10_000, 0),
            new("eth1", Primary: false, "coming-up", Carrier: true, 10_000, 3),
        ],
        "3c:fd:fe:00:11:22");

    public static BondInfo Bond1 { get; } = new(
        Id(11), "bond1", 16, "balance-slb", "LAN", "00:1b:21:aa:00:03",
        new Dictionary<string, string> { ["miimon"] = "100", ["rebalance-interval"] = "1800000" }, "forwarding",
        [
            new("eth2", Primary: true, "active", Carrier: true, 10_000, 0, new BondShareInfo(120, 256, 12_345_678)),
            new("eth3", Primary: false, "active", Carrier: true, 10_000, 1, new BondShareInfo(136, 256, 812)),
            new("eth4", Primary: false, "missing", Carrier: false, null, 0),
        ],
        null, new Dictionary<string, long> { ["out_bucket"] = 81_234, ["in_drop_looped"] = 42, ["rebalances"] = 3 });

    public static IReadOnlyList<FdbEntryInfo> Fdb { get; } =
    [
        new("LAN", "00:16:3e:01:02:03", "vif1.0", Permanent: false, FastPath: true, 0.4),
        new("LAN", "00:1b:21:aa:00:01", "eth0", Permanent: true, FastPath: false, null),
        new("LAN", "3c:fd:fe:00:11:22", "eth0", Permanent: false, FastPath: true, 126.0),
    ];

    public static DoctorInfo Doctor { get; } = new("6.1.0-27-amd64",
    [
        new("kernel", "ok", "6.1.0, at least 6.1 is needed", null),
        new("8021q", "missing", "VLANs cannot be made", "modprobe 8021q"),
        new("TX metadata", "warning", "kernel 6.8 has it; checksums are finished by the forwarder", null),
    ]);

    public static IReadOnlyList<BridgeInfo> Bridges { get; } =
    [
        new("xenbr0", "8000.001b21aa0001", Stp: false, ["eth0", "vif1.0", "vif2.0"]),
        new("xenbr1", "8000.000000000000", Stp: true, []),
    ];

    public const string Document = """
        {
          "version": 1,
          "networks": [
            {
              "label": "Gäste Süd"
            }
          ]
        }

        """;

    public static IReadOnlyList<string> Changes { get; } = ["create network prod: bridge prod, mtu 1500, datapath auto", "unplug vif vif1.0: network LAN"];

    public static PifInfo Eth0(int tick) => new(
        Id(3), "eth0", 2, "LAN", "00:1b:21:aa:00:01", "00:1b:21:aa:00:01", "0000:03:00.0", "ixgbe", 1500,
        Carrier: true, SpeedMbps: 10_000, "forwarding",
        new PortPathInfo("afxdp", "the driver does zero-copy", "native", "zero-copy", 4),
        Counters(tick, 243_000, 240_000, fast: 240_000))
    {
        Ip = new PifIpInfo("static", "192.0.2.10/24", "192.0.2.1", "autoconf", null, null, ["192.0.2.53"], "example.org", ["10.0.0.0/8=192.0.2.8"]),
        Addresses = ["192.0.2.10/24 dev xenbr0", "fe80::1/64 dev xenbr0"],
    };

    public static VifInfo Vif1(int tick) => new(
        Id(5), "vif1.0", 12, "LAN", "00:16:3e:01:02:03", 1500, Carrier: true, "forwarding",
        new PortPathInfo("afxdp", "GSO is off", "native", "copy", 1),
        Counters(tick, 240_000, 243_000, fast: 240_000));

    public static VifInfo Vif2(int tick) => new(
        Id(6), "vif2.0", 13, "LAN", "00:16:3e:01:02:04", 1500, Carrier: true, "learning",
        new PortPathInfo("bridge", "its GSO is on", null, null, 0),
        Counters(tick, 12, 3, fast: 0));

    public static NetworkInfo Lan(int tick) => new(
        Id(1), "LAN", "xenbr0", 9, 1500, "auto", "afxdp", "every port but vif2.0 takes AF_XDP", "up",
        BridgeAdopted: true, ["nft: chain bridge filter forward", "tc: clsact ingress on vif1.0"],
        Eth0(tick), [Vif1(tick), Vif2(tick)]);

    public static NetworkInfo Guests { get; } = new(
        Id(2), "Gäste Süd", "xapi1", 10, 9000, "bridge", "bridge", "as set", "down", BridgeAdopted: false, [],
        null, [Vif3]);

    public static ForwarderInfo Forwarder(string state) => state == "down"
        ? new ForwarderInfo("down", null, null, null, 0, 0, 0, 0, 3)
        : new ForwarderInfo(state, 812, "x86-64-v3", 4, 2, 65536, 61440, 0, 1);

    public static ShowInfo Show(int tick, string forwarder, int? pendingSeconds) => new(
        "0.1.0", "6.1.0-27-amd64", "default", Forwarder(forwarder), [Lan(tick), Guests], [Eth1], Now(tick),
        pendingSeconds is { } seconds ? new PendingInfo(seconds) : null);

    public static StatsInfo Stats(int tick, string forwarder)
    {
        var loop = new Dictionary<string, long>
        {
            ["rounds"] = 1_000_000 + (tick * 90_000),
            ["tx_full"] = 0,
            ["kicks"] = 4_210 + (tick * 30),
        };
        var mirror = new Dictionary<string, long> { ["learned"] = 17, ["aged"] = tick };
        PortStatsInfo[] ports =
        [
            new("eth0", "LAN", "afxdp", Eth0(tick).Counters!),
            new("vif2.0", "LAN", "bridge", Vif2(tick).Counters!),
        ];
        return new StatsInfo(Now(tick), Forwarder(forwarder), loop, ports, mirror);
    }

    // Each tick so many frames of 100 bytes come and go; what comes and is not fast goes to the kernel.
    private static PortCountersInfo Counters(int tick, long received, long transmitted, long fast)
    {
        long ticks = 100 + tick;
        var named = new Dictionary<string, long> { ["policy_tagged_drop"] = 7 };
        if (fast > 0)
        {
            named["pass_unknown_source"] = ticks * 3;
        }
        return new PortCountersInfo(
            received * ticks, received * ticks * 100, transmitted * ticks, transmitted * ticks * 100,
            fast * ticks, fast * ticks, (received - fast) * ticks, 7, named);
    }

    private static long Now(int tick) => 5_000_000_000 + (tick * TickNs);

    private static Guid Id(int n) => new($"00000000-0000-4000-8000-{n:d12}");
}
