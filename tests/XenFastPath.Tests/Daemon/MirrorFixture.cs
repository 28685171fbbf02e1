// The mirror's surroundings: FDB entries as the kernel sends them, and tables that remember what they were told.
using XenFastPath.Daemon.FastPath;
using XenFastPath.Dataplane;
using XenFastPath.Interop;
using XenFastPath.Netlink;
using static XenFastPath.Interop.Neighbour;

namespace XenFastPath.Tests.Daemon;

/// <summary>FDB entries, encoded and decoded again as they come from the kernel.</summary>
internal static class Fdb
{
    private const byte AfBridge = 7;

    public static FdbEntry Entry(int ifindex, int bridge, string mac, bool deleted = false, ushort state = NUD_REACHABLE, byte flags = 0,
        ushort vlan = 0, bool locked = false)
    {
        NetlinkWriter writer = new(new byte[256]);
        writer.Begin(deleted ? RtNetlink.RTM_DELNEIGH : RtNetlink.RTM_NEWNEIGH, 0);
        writer.Header(new ndmsg { ndm_family = AfBridge, ndm_ifindex = ifindex, ndm_state = state, ndm_flags = flags });
        writer.Mac(NDA_LLADDR, MacAddress.Parse(mac));
        writer.S32(NDA_MASTER, bridge);
        writer.U16(NDA_VLAN, vlan == 0 ? null : vlan);
        writer.U32(NDA_FLAGS_EXT, locked ? NTF_EXT_LOCKED : null);
        Assert.True(FdbEntry.TryDecode(writer.Written, out FdbEntry entry));
        return entry;
    }

    public static string Mac(int number) => $"02:00:00:{number >> 16 & 255:x2}:{number >> 8 & 255:x2}:{number & 255:x2}";
}

/// <summary>Both tables as one dictionary, with room for <paramref name="capacity"/> entries.</summary>
internal sealed class FakeTables(int capacity = int.MaxValue) : IMirrorTables
{
    public Dictionary<ulong, ulong> Words { get; } = [];

    public bool TrySet(ulong key, ulong word)
    {
        if (!Words.ContainsKey(key) && Words.Count >= capacity)
            return false;
        Words[key] = word;
        return true;
    }

    public void Remove(ulong key) => Assert.True(Words.Remove(key), $"{key:x16} is removed but was not there");
}

/// <summary>A mirror with its tables and what every test does with them.</summary>
internal sealed class MirrorFixture
{
    public const int Bridge = 100;
    public const ushort Network = 1;

    public MirrorFixture(int capacity = int.MaxValue)
    {
        Tables = new FakeTables(capacity);
        State = new MirrorState(Tables);
    }

    public FakeTables Tables { get; }

    public MirrorState State { get; }

    /// <summary>CLOCK_MONOTONIC of a machine that has been up for some time.</summary>
    public ulong Now { get; set; } = 1_000_000_000_000;

    public static MirrorPort Port(int ifindex, int network = Network, bool isFast = true, bool isPhysical = false, uint generation = 1) =>
        new(ifindex, $"port{ifindex}", Bridge + network - 1, (ushort)network, (ushort)(ifindex + 1000), generation, isFast, isPhysical);

    public void Take(FdbEntry entry) => State.Take(entry, Now);

    public void Apply() => State.Apply(Now);

    /// <summary>The kernel learns addresses first, first + 1, ... on a port.</summary>
    public void Learn(MirrorPort port, int first, int count)
    {
        for (int i = first; i < first + count; i++)
            Take(Fdb.Entry(port.Ifindex, port.BridgeIfindex, Fdb.Mac(i)));
    }

    /// <summary>The key of an address, made from the bytes of a frame.</summary>
    public static ulong Key(int network, string mac) => FdbKey.Make((ushort)network, Dataplane.Frames.MacValue(mac));
}
