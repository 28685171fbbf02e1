// native/slb.h and its C# side must say the same.
using System.Reflection;
using XenFastPath.Dataplane;

namespace XenFastPath.Tests.Native;

public sealed class SlbLayoutTests
{
    private const string Prefix = "XFP_SLB_", CounterPrefix = "XFP_SLB_C_", Slots = "XFP_SLB_C_SLOTS";

    private const string Mac = "\"\\x02\\x11\\x22\\x33\\x44\\x55\"";

    private static readonly Lazy<NativeHeader?> s_header = new(() => NativeHeader.Ask(
        "slb", ["slb_bucket", "slb_address", "slb_key"],
        [$"slb_address(0xabc, {Mac})", $"slb_key(9, slb_address(0xabc, {Mac}))", .. Addresses.Select(a => $"slb_bucket({a}ULL)")]));

    private static IEnumerable<ulong> Addresses => Enumerable.Range(0, 500).Select(i => SlbAddress.Make((ushort)(i % 7 * 585), (ulong)i * 0x0123_4567_89ab));

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
        Dictionary<string, long> expected = Header.Constants.Where(c => !c.Key.StartsWith(CounterPrefix, StringComparison.Ordinal))
            .ToDictionary(c => LayoutTests.Pascal(c.Key[Prefix.Length..]), c => c.Value);
        expected["CounterSlots"] = Header.Constants[Slots];
        LayoutTests.AssertSame(expected, typeof(SlbLayout).GetFields(BindingFlags.Static | BindingFlags.Public)
            .ToDictionary(f => f.Name, f => f.GetRawConstantValue() is ulong u ? (long)u : Convert.ToInt64(f.GetRawConstantValue())));
    }

    [Fact]
    public void Counters_agree_and_fit_their_row()
    {
        Dictionary<string, long> expected = Header.Constants.Where(c => c.Key.StartsWith(CounterPrefix, StringComparison.Ordinal) && c.Key != Slots)
            .ToDictionary(c => LayoutTests.Pascal(c.Key[CounterPrefix.Length..]), c => c.Value);
        LayoutTests.AssertSame(expected, Enum.GetValues<SlbCounter>().ToDictionary(c => c.ToString(), c => (long)c));
        Assert.True(expected["Count"] <= SlbLayout.CounterSlots);
        Assert.True(int.IsPow2(SlbLayout.CounterSlots), "the program masks with it");
    }

    [Fact]
    public void Structs_agree_in_size_and_in_every_field()
    {
        Dictionary<string, Type> structs = new() { ["xfp_slb_bond"] = typeof(SlbBond), ["xfp_slb_source"] = typeof(SlbSource) };
        // Rows of words are no structs in C#.
        Assert.Equal(structs.Keys.Concat(["xfp_slb_bytes", "xfp_slb_counters"]).Order(), Header.StructSizes.Keys.Order());
        foreach ((string name, Type type) in structs)
            LayoutTests.AssertSame(Header, name, type);
        Assert.Equal(SlbLayout.Buckets * sizeof(ulong), Header.StructSizes["xfp_slb_bytes"]);
        Assert.Equal(SlbLayout.CounterSlots * sizeof(ulong), Header.StructSizes["xfp_slb_counters"]);
    }

    [Fact]
    public void Keys_and_buckets_are_those_of_the_program()
    {
        ulong address = SlbAddress.Make(0xabc, Dataplane.Frames.MacValue("02:11:22:33:44:55"));
        Assert.Equal(Header.Results[0], address);
        Assert.Equal(Header.Results[1], SlbAddress.Key(9, address));
        Assert.Equal(9, SlbAddress.BondOf(Header.Results[1]));
        Assert.Equal(address, SlbAddress.Of(Header.Results[1]));
        Assert.Equal(0xabc, SlbAddress.VlanOf(address));
        Assert.Equal(Header.Results.Skip(2), Addresses.Select(a => (ulong)SlbAddress.Bucket(a)));
    }

    /// <summary>What every host has: addresses that differ in the last bytes, the same ones in many VLANs.</summary>
    [Theory]
    [InlineData("last byte")]
    [InlineData("vlan")]
    [InlineData("vendor")]
    public void Addresses_that_are_alike_spread_over_the_buckets(string differ)
    {
        int[] counts = new int[SlbLayout.Buckets];
        for (int i = 1; i <= 1024; i++)
        {
            ulong mac = 0x0000_003e_1600;       // 00:16:3e
            counts[SlbAddress.Bucket(differ switch
            {
                "last byte" => SlbAddress.Make(0, mac | (ulong)i << 40 | (ulong)(i >> 8) << 32),
                "vlan" => SlbAddress.Make((ushort)i, mac),
                _ => SlbAddress.Make(0, (ulong)i),
            })]++;
        }

        // 4 on average; of evenly random ones more than 16 would be seen once in 10^4 runs.
        Assert.True(counts.Max() <= 16, $"{counts.Max()} of 1024 in one bucket");
        Assert.True(counts.Count(c => c == 0) < 26, $"{counts.Count(c => c == 0)} empty buckets");
    }
}
