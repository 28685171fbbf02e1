// native/xenfastpath.h and its C# side must say the same: every constant, enum member, struct and field, on both sides.
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using XenFastPath.Daemon.FastPath;
using XenFastPath.Dataplane;

namespace XenFastPath.Tests.Native;

public sealed class LayoutTests
{
    private const string CounterPrefix = "XFP_C_", FlagPrefix = "XFP_PORT_", Prefix = "XFP_";

    // Where the two sides name the same thing differently.
    private static readonly Dictionary<string, string> s_constantNames = new() { ["LAYOUT_VERSION"] = "Version", ["C_SLOTS"] = "CounterSlots" };
    private static readonly Dictionary<string, string> s_fieldNames = new() { ["xfp_port.frame_max"] = "framebytesmax", ["xfp_heartbeat.worker"] = "slots" };

    private static readonly Dictionary<string, Type> s_structs = new()
    {
        ["xfp_port"] = typeof(PortEntry),
        ["xfp_fdb_entry"] = typeof(FdbMapEntry),
        ["xfp_fdb_head"] = typeof(FdbMapHead),
        ["xfp_heartbeat"] = typeof(Heartbeats),
    };

    // The C side's packing functions, called with numbers that show each byte's place.
    private static readonly Lazy<NativeHeader?> s_header = new(() => NativeHeader.Ask(
        "xenfastpath", ["mac_of", "fdb_key", "fdb_word", "vlan_key", "fdb_hash"],
        ["fdb_key(0x0000000312340000ULL, mac_of(\"\\x02\\x11\\x22\\x33\\x44\\x55\"))", "fdb_word(0xdeadbeef12340003ULL, 0x1fff)", "vlan_key(0x1fff, 0xffe)",
        "fdb_hash(0x0000000301230000ULL, 0x456789abcdefULL, 0xfedcba9876543211ULL)"]));

    private static NativeHeader Header
    {
        get
        {
            Assert.SkipWhen(s_header.Value is null, "gcc is not installed");
            return s_header.Value!;
        }
    }

    [Fact]
    public void Constants_agree()
    {
        Dictionary<string, long> expected = [];
        foreach ((string name, long value) in Header.Constants)
        {
            Assert.StartsWith(Prefix, name);
            string rest = name[Prefix.Length..];
            if (s_constantNames.TryGetValue(rest, out string? other))
                expected.Add(other, value);
            else if (!name.StartsWith(CounterPrefix, StringComparison.Ordinal) && !IsFlag(name))
                expected.Add(Pascal(rest), value);
        }

        Dictionary<string, long> actual = typeof(Layout).GetFields(BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic)
            .ToDictionary(f => f.Name, f => Convert.ToInt64(f.GetRawConstantValue()));
        AssertSame(expected, actual);
    }

    [Fact]
    public void Port_flags_agree()
    {
        Dictionary<string, long> expected = Header.Constants.Where(c => IsFlag(c.Key)).ToDictionary(c => Pascal(c.Key[FlagPrefix.Length..]), c => c.Value);
        AssertSame(expected, Enum.GetValues<PortFlags>().Where(f => f != PortFlags.None).ToDictionary(f => f.ToString(), f => (long)f));
    }

    [Fact]
    public void Program_counters_agree_and_fit_their_row()
    {
        Dictionary<string, long> expected = Header.Constants
            .Where(c => c.Key.StartsWith(CounterPrefix, StringComparison.Ordinal) && c.Key != "XFP_C_SLOTS")
            .ToDictionary(c => Pascal(c.Key[CounterPrefix.Length..]), c => c.Value);
        AssertSame(expected, Enum.GetValues<ProgramCounter>().ToDictionary(c => c.ToString(), c => (long)c));
        Assert.True(expected["Count"] <= Layout.CounterSlots);
        Assert.True(int.IsPow2(Layout.CounterSlots), "the program masks with it");
        Assert.Equal(Layout.CounterSlots * sizeof(ulong), Header.StructSizes["xfp_counters"]);
    }

    [Fact]
    public void Structs_agree_in_size_and_in_every_field()
    {
        // No structs in C#: a counter row is an array of Layout.CounterSlots words, a bucket one of Layout.FdbSlots entries.
        Assert.Equal(Layout.FdbSlots * Marshal.SizeOf<FdbMapEntry>(), Header.StructSizes["xfp_fdb_bucket"]);
        Assert.Equal(s_structs.Keys.Append("xfp_counters").Append("xfp_fdb_bucket").Order(), Header.StructSizes.Keys.Order());
        foreach ((string name, Type type) in s_structs)
            AssertSame(Header, name, type);
    }

    [Fact]
    public unsafe void Each_workers_heartbeat_has_the_place_the_program_reads()
    {
        NativeField worker = Assert.Single(Header.Fields, f => f is { Struct: "xfp_heartbeat", Name: "worker" });
        Heartbeats page = default;
        for (int i = 0; i < Layout.WorkersMax; i++)
        {
            long offset = (byte*)Heartbeats.WorkerNs(&page, i) - (byte*)&page;
            Assert.Equal(worker.Offset + i * (worker.Size / Layout.WorkersMax), offset);
            Assert.Equal(0, offset % 64);       // a cache line of its own
        }
    }

    [Fact]
    public void Nothing_in_layout_cs_is_without_its_c_side()
    {
        string source = File.ReadAllText(Path.Combine(NativeHeader.Root(), "src/XenFastPath.Dataplane/Layout.cs"));
        IEnumerable<string> declared = Regex.Matches(source, @"^(?:\w+ )+(?:struct|enum) (\w+)", RegexOptions.Multiline).Select(m => m.Groups[1].Value);
        Assert.Equal(s_structs.Values.Select(t => t.Name).Concat([nameof(PortFlags), nameof(ProgramCounter)]).Order(), declared.Order());
    }

    [Fact]
    public void Keys_and_words_are_packed_as_the_program_packs_them()
    {
        ulong mac = Dataplane.Frames.MacValue("02:11:22:33:44:55");
        Assert.Equal(Header.Results[0], FdbKey.Make(0x1234, mac));
        Assert.Equal(0x1234, FdbKey.NetworkOf(Header.Results[0]));
        Assert.Equal(mac, FdbKey.MacOf(Header.Results[0]));
        Assert.Equal(Header.Results[1], FdbWord.Make(0xdeadbeef, 0x1fff));
        Assert.Equal(0xdeadbeef, FdbWord.GenerationOf(Header.Results[1]));
        Assert.Equal(0x1fff, FdbWord.PortOf(Header.Results[1]));
        Assert.Equal(Header.Results[2], VlanKey.Make(0x1fff, 0xffe));
        Assert.Equal(0x1fff, VlanKey.TrunkOf((uint)Header.Results[2]));
        Assert.Equal(0xffe, VlanKey.TagOf((uint)Header.Results[2]));
        Assert.Equal(Header.Results[3], FdbMap.Hash(0x0123456789abcdef, 0xfedcba9876543211));
        // The port's word is what both functions were given.
        Assert.Equal(0x0000000312340000ul, PortEntry.Pack(3, 0x1234, PortFlags.None));
        Assert.Equal(0xdeadbeef12340003ul, PortEntry.Pack(0xdeadbeef, 0x1234, PortFlags.Ingress | PortFlags.Egress));
    }

    private static bool IsFlag(string name) => name.StartsWith(FlagPrefix, StringComparison.Ordinal);

    /// <summary>PASS_PATH_OFF -> PassPathOff.</summary>
    internal static string Pascal(string name) => string.Concat(name.Split('_').Select(w => w[..1] + w[1..].ToLowerInvariant()));

    /// <summary>Without case and underscores, so that refresh_ns is RefreshNs and _pad0 is pad0.</summary>
    private static string Plain(string name) => name.Replace("_", "", StringComparison.Ordinal).ToLowerInvariant();

    internal static void AssertSame(NativeHeader header, string name, Type type)
    {
        Assert.Equal(header.StructSizes[name], Marshal.SizeOf(type));
        IEnumerable<string> expected = header.Fields.Where(f => f.Struct == name)
            .Select(f => $"{name}.{s_fieldNames.GetValueOrDefault($"{name}.{f.Name}", Plain(f.Name))} at {f.Offset}, {f.Size} bytes");
        IEnumerable<string> actual = type.GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic)
            .Select(f => $"{name}.{Plain(f.Name)} at {Marshal.OffsetOf(type, f.Name)}, {Marshal.SizeOf(f.FieldType)} bytes");
        Assert.Equal(expected, actual);
    }

    internal static void AssertSame(Dictionary<string, long> c, Dictionary<string, long> csharp)
    {
        Assert.NotEmpty(c);
        Assert.Equal(c.Select(x => $"{x.Key} = {x.Value}").Order(), csharp.Select(x => $"{x.Key} = {x.Value}").Order());
    }
}
