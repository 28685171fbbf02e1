// A balance-slb bond to a switch, on a kernel without bonding: a veth stands in for the bonding device, tc for its receive handler.
//
//     [g1]--vif1--+                         +--m0----p0--+
//                 +--[ dom0: br0 ]--bond0 ->|            +--[ switch: sw ]--w----[ world ]
//     [g2]--vif2--+                         +--m1----p1--+
//
// Whatever xfp_slb_out leaves to the kernel goes to bond0's other end. What passes xfp_slb_in is redirected into bond0. Where the
// kernel has bonding, bond0 can be the real thing instead.
using XenFastPath.Daemon.FastPath;
using XenFastPath.Daemon.FastPath.Slb;
using XenFastPath.Dataplane;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;

namespace XenFastPath.KernelTests.Lab;

internal sealed class SlbLab : IDisposable
{
    public const int Bond = 20, Member0 = 30, Member1 = 31, Vif1 = 41, Vif2 = 42;

    private readonly string _bpffs = Directory.CreateTempSubdirectory("xfp-bpf-").FullName;
    private readonly List<IDisposable> _parts = [];
    private readonly bool _hasTcx, _hasBonding;
    private Rtnl? _rtnl;

    public SlbLab(bool hasTcx = true, bool hasBonding = false)
    {
        (_hasTcx, _hasBonding) = (hasTcx, hasBonding);
        try
        {
            Build();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public Netns Dom0 { get; private set; } = null!;

    public Netns Switch { get; private set; } = null!;

    public SlbManager Slb { get; private set; } = null!;

    public PinFolder Pins { get; private set; } = null!;

    /// <summary>What came to the switch by each member, and what was left to the kernel (not with real bonding).</summary>
    public PacketSocket AtSwitch0 { get; private set; } = null!;

    public PacketSocket AtSwitch1 { get; private set; } = null!;

    public PacketSocket AtKernel { get; private set; } = null!;

    public PacketSocket Guest1 { get; private set; } = null!;

    public PacketSocket Guest2 { get; private set; } = null!;

    public PacketSocket World { get; private set; } = null!;

    public static SlbSettings Settings(int[]? usable = null, int active = Member0, double rebalanceSeconds = 0) => new()
    {
        Members = new MemberList([Member0, Member1]),
        Usable = new MemberList(usable ?? [Member0, Member1]),
        Active = active,
        RebalanceInterval = TimeSpan.FromSeconds(rebalanceSeconds),
        Ageing = TimeSpan.FromSeconds(300),
    };

    public void Configure(SlbSettings settings) => Do(slb => slb.Configure(Bond, "bond0", settings));

    public void Tick() => Do(slb => slb.Tick());

    /// <summary>Hooks and packet sockets belong to the namespace of the thread that makes them.</summary>
    public void Do(Action<SlbManager> action) => Dom0.Inside(() =>
    {
        action(Slb);
        return 0;
    });

    /// <summary>Another daemon, after the death of this one.</summary>
    public void Restart()
    {
        Slb.Dispose();
        Slb = Dom0.Inside(() => new SlbManager(_bpffs, Pins, _rtnl!, _hasTcx));
    }

    public IReadOnlyDictionary<string, long> Counters => Slb.ReportOf(Bond)!.Counters;

    public unsafe int MemberOf(ulong address) => (int)Slb.Maps!.Bonds[0].Member[SlbAddress.Bucket(address)];

    public static byte[] Frame(string destination, byte[] source, byte kind = 0, int bytes = 60)
    {
        byte[] frame = [.. ComparisonTests.Mac(destination), .. source, 0x88, 0xb5, kind, .. new byte[bytes - 15]];
        return frame;
    }

    public static ulong Address(byte[] mac, ushort vlan = 0) => SlbAddress.Make(vlan, BitConverter.ToUInt64([.. mac, 0, 0]));

    public void Dispose()
    {
        Slb?.Dispose();
        _rtnl?.Dispose();
        foreach (IDisposable part in Enumerable.Reverse(_parts))
            part.Dispose();
        Tool.TryRun("umount", _bpffs);
        Directory.Delete(_bpffs, recursive: true);
    }

    private void Build()
    {
        string prefix = $"xfp{Environment.ProcessId}-slb-";
        Dom0 = Add(new Netns(prefix + "dom0"));
        Switch = Add(new Netns(prefix + "switch"));
        Netns guest1 = Add(new Netns(prefix + "g1")), guest2 = Add(new Netns(prefix + "g2")), world = Add(new Netns(prefix + "world"));
        Tool.Run("mount", "-t", "bpf", "bpf", _bpffs);
        Veth(Dom0, "m0", Member0, Switch, "p0");
        Veth(Dom0, "m1", Member1, Switch, "p1");
        MakeBond();
        Veth(Dom0, "vif1", Vif1, guest1, "eth0");
        Veth(Dom0, "vif2", Vif2, guest2, "eth0");
        Veth(Switch, "w", 50, world, "eth0");
        Bridge(Dom0, "br0", "bond0", "vif1", "vif2");
        Bridge(Switch, "sw", "p0", "p1", "w");
        AtSwitch0 = Add(Switch.Inside(() => new PacketSocket("p0")));
        AtSwitch1 = Add(Switch.Inside(() => new PacketSocket("p1")));
        Guest1 = Add(guest1.Inside(() => new PacketSocket("eth0")));
        Guest2 = Add(guest2.Inside(() => new PacketSocket("eth0")));
        World = Add(world.Inside(() => new PacketSocket("eth0")));
        Pins = new PinFolder(_bpffs, "/run/test");
        Directory.CreateDirectory(Pins.Path);
        _rtnl = Dom0.Inside(() => new Rtnl());
        Slb = Dom0.Inside(() => new SlbManager(_bpffs, Pins, _rtnl, _hasTcx));
    }

    private void MakeBond()
    {
        if (_hasBonding)
        {
            Dom0.Run("ip", "link", "add", "bond0", "index", $"{Bond}", "type", "bond",
                "mode", "balance-xor", "xmit_hash_policy", "vlan+srcmac", "miimon", "20");
            foreach (string member in (string[])["m0", "m1"])
            {
                Dom0.Run("ip", "link", "set", member, "down");
                Dom0.Run("ip", "link", "set", member, "master", "bond0");
            }

            Dom0.Run("ip", "link", "set", "bond0", "up");
            Tool.Eventually(() => Dom0.Run("cat", "/proc/net/bonding/bond0").Split("MII Status: up").Length == 4, "bond and members are up");
            return;
        }

        Veth(Dom0, "bond0", Bond, Dom0, "kernel");
        foreach (string member in (string[])["m0", "m1"])
        {
            Dom0.Run("tc", "qdisc", "add", "dev", member, "clsact");
            Dom0.Run("tc", "filter", "add", "dev", member, "ingress", "priority", "9", "u32", "match", "u32", "0", "0",
                "action", "mirred", "ingress", "redirect", "dev", "bond0");
        }

        AtKernel = Add(Dom0.Inside(() => new PacketSocket("kernel")));
    }

    private T Add<T>(T part)
        where T : IDisposable
    {
        _parts.Add(part);
        return part;
    }

    private static void Veth(Netns here, string name, int ifindex, Netns there, string peer)
    {
        here.Run("ip", "link", "add", name, "index", $"{ifindex}", "type", "veth", "peer", "name", peer, "netns", there.Name);
        here.Run("ip", "link", "set", name, "up");
        there.Run("ip", "link", "set", peer, "up");
    }

    private static void Bridge(Netns netns, string name, params string[] ports)
    {
        netns.Run("ip", "link", "add", name, "type", "bridge", "mcast_snooping", "0", "forward_delay", "0");
        netns.Run("ip", "link", "set", name, "up");
        foreach (string port in ports)
            netns.Run("ip", "link", "set", port, "master", name);
    }
}
