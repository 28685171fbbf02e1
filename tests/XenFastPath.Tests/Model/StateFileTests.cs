// The state file: whole or not at all, readable by people, and never guessed at.
using XenFastPath.Model;
using XenFastPath.Tests.Api;

namespace XenFastPath.Tests.Model;

public sealed class StateFileTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("xfp-state-").FullName;
    private readonly StateFile _file;
    private readonly List<string> _synced = [];

    public StateFileTests() => _file = new StateFile(_folder, _synced.Add);

    private static HostState Full { get; } = MakeFull();

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void A_host_without_a_file_wants_nothing() => AssertSame(HostState.Empty, _file.Load());

    [Fact]
    public void What_was_saved_is_loaded()
    {
        _file.Save(Full);
        AssertSame(Full, _file.Load());
        AssertSame(Full, new StateFile(_folder, _ => { }).Load());
    }

    [Fact]
    public void A_file_of_before_there_were_vlans_and_bonds_is_read()
    {
        _file.Save(Full);
        string text = File.ReadAllText(_file.Path);
        int start = text.IndexOf(",\n    \"vlans\"", StringComparison.Ordinal), end = text.LastIndexOf("\n  }\n}", StringComparison.Ordinal);
        File.WriteAllText(_file.Path, text.Remove(start, end - start));
        AssertSame(Full with { TagsKept = [] }, _file.Load());
    }

    [Fact]
    public void A_person_can_read_it()
    {
        _file.Save(Full);
        Golden.Check(Golden.File("state.json"), File.ReadAllText(_file.Path) + "\n");
    }

    [Fact]
    public void Random_states_come_back()
    {
        Random random = new(2);
        for (int i = 0; i < 50; i++)
        {
            HostState state = HostState.Empty;
            for (int n = 1; n <= random.Next(8); n++)
            {
                Datapath datapath = random.Next(2) == 0 ? Datapath.Auto : Datapath.Afxdp;
                Network network = Make.Network(n, $"n{n} \"ä\\\u2028x", $"xapi{n}", random.Next(68, 65536), datapath);
                state = state.Add(network);
                for (int v = 0; v < random.Next(4); v++)
                    state = state.Add(Make.Vif(n * 16 + v, $"vif{n}.{v}", network, n * 16 + v, random.Next(2) == 0 ? null : "00:16:3e:00:00:01"));
            }

            _file.Save(state);
            AssertSame(state, _file.Load());
        }
    }

    [Fact]
    public void The_folder_is_made_and_synced_after_the_rename()
    {
        string inner = Path.Combine(_folder, "a", "b");
        bool wasThere = false;
        StateFile file = null!;
        file = new StateFile(inner, folder => wasThere = folder == inner && File.Exists(file.Path) && !File.Exists(file.Path + ".new"));
        file.Save(Full);
        Assert.True(wasThere);
    }

    [Fact]
    public void Others_may_not_read_it()
    {
        _file.Save(Full);
        Assert.Equal(UnixFileMode.None, File.GetUnixFileMode(_file.Path) & (UnixFileMode.OtherRead | UnixFileMode.OtherWrite | UnixFileMode.GroupWrite));
    }

    [Theory]
    [InlineData("")]
    [InlineData("{\"version\": 1, \"sta")]      // a crash that left half a file
    public void A_crash_before_the_rename_leaves_the_old_state(string half)
    {
        _file.Save(Full);
        File.WriteAllText(_file.Path + ".new", half);
        AssertSame(Full, _file.Load());
        HostState next = Full.Add(Make.Network(9, "next"));
        _file.Save(next);
        AssertSame(next, _file.Load());
        Assert.False(File.Exists(_file.Path + ".new"));
    }

    [Fact]
    public void When_the_new_file_cannot_be_written_the_old_one_stays()
    {
        _file.Save(Full);
        Directory.CreateDirectory(_file.Path + ".new");         // root may write anywhere, but not over a folder
        Assert.ThrowsAny<Exception>(() => _file.Save(HostState.Empty)).AssertNames(_file.Path);
        AssertSame(Full, _file.Load());
        Assert.Single(_synced);
    }

    [Fact]
    public void A_folder_that_cannot_be_made_is_named()
    {
        string inTheWay = Path.Combine(_folder, "file");
        File.WriteAllText(inTheWay, "");
        StateFile file = new(Path.Combine(inTheWay, "state"), _ => { });
        Assert.ThrowsAny<IOException>(() => file.Save(Full)).AssertNames(inTheWay);
    }

    [Theory]
    [InlineData("", "Mend the file")]
    [InlineData("not json", "Mend the file")]
    [InlineData("null", "null")]
    [InlineData("[]", "Mend the file")]
    [InlineData("{}", "Mend the file")]
    [InlineData("{\"version\": 1}", "Mend the file")]
    [InlineData("{\"version\": 1, \"state\": null}", "Mend the file")]
    [InlineData("{\"version\": 1, \"state\": {\"networks\": [], \"pifs\": [], \"vifs\": []}}", "Mend the file")]
    [InlineData("{\"version\": 1, \"state\": {\"networks\": null, \"pifs\": [], \"vifs\": [], \"doomed\": []}}", "Mend the file")]
    [InlineData("{\"version\": 2, \"state\": {\"networks\": [], \"pifs\": [], \"vifs\": [], \"doomed\": []}}", "version 2; this program reads version 1")]
    [InlineData("{\"version\": 2, \"state\": {\"switches\": []}}", "version 2; this program reads version 1")]
    [InlineData("{\"version\": 0}", "version 0; this program reads version 1")]
    public void A_file_that_is_not_ours_is_refused_by_name(string text, string reason)
    {
        File.WriteAllText(_file.Path, text);
        StateFileException e = Assert.Throws<StateFileException>(_file.Load);
        Assert.StartsWith(_file.Path + ": ", e.Message);
        Assert.Contains(reason, e.Message);
        Assert.Equal(text, File.ReadAllText(_file.Path));
    }

    [Fact]
    public void Damage_at_any_byte_is_refused_or_yields_a_whole_state()
    {
        _file.Save(Full);
        byte[] good = File.ReadAllBytes(_file.Path);
        Random random = new(3);
        for (int i = 0; i < 400; i++)
        {
            byte[] bad = random.Next(2) == 0 ? good[..random.Next(good.Length - 1)] : [.. good];
            if (bad.Length == good.Length)
                bad[random.Next(bad.Length)] = (byte)"{}[]\",:x0\n"[random.Next(10)];
            File.WriteAllBytes(_file.Path, bad);
            try
            {
                HostState state = _file.Load();
                Assert.Equal(good.Length, bad.Length);
                Assert.All(state.Vifs, v => Assert.NotNull(state.NetworkOf(v.Network)));
                Assert.All(state.Pifs.Where(p => p.Network is not null), p => Assert.NotNull(state.NetworkOf(p.Network!.Value)));
            }
            catch (StateFileException e)
            {
                Assert.StartsWith(_file.Path, e.Message);
            }
        }
    }

    [Theory]
    [InlineData("vif1.0", "00000000-0000-0000-0000-000000000001\",\n        \"mac\"", "00000000-0000-0000-0000-00000000000f\",\n        \"mac\"")]
    [InlineData("eth0", "00000000-0000-0000-0000-000000000001\",\n        \"isPlugged\"", "00000000-0000-0000-0000-00000000000f\",\n        \"isPlugged\"")]
    public void An_object_of_a_network_that_is_not_there_is_refused(string subject, string old, string edited)
    {
        _file.Save(Full);
        string text = File.ReadAllText(_file.Path);
        Assert.Contains(old, text);
        File.WriteAllText(_file.Path, text.Replace(old, edited));
        StateFileException e = Assert.Throws<StateFileException>(_file.Load);
        Assert.Contains(subject, e.Message);
        Assert.Contains("00000000000f", e.Message);
    }

    [Fact]
    public void Two_objects_with_one_uuid_are_refused_by_file_and_uuid()
    {
        // As an editor's copy and paste makes them; of two kinds it is as wrong.
        foreach ((HostState state, string what) in ((HostState, string)[])
        [
            (Full with { Networks = Full.Networks.Add(Full.Networks[0] with { Label = "copy" }) }, "network Pool-wide network of eth0 and network copy"),
            (Full with { Pifs = Full.Pifs.Add(Full.Pifs[1] with { Device = "copy" }) }, "pif bond0 and pif copy"),
            (Full with { Vifs = Full.Vifs.Add(Full.Vifs[0] with { Uuid = Full.Pifs[0].Uuid }) }, "pif eth0 and vif vif1.0"),
        ])
        {
            _file.Save(state);
            StateFileException e = Assert.Throws<StateFileException>(_file.Load);
            Assert.StartsWith($"{_file.Path}: {what} have the same uuid 00000000-0000-0000-0000-", e.Message);
        }
    }

    private static HostState MakeFull()
    {
        Network lan = Make.Network(1, "Pool-wide network of eth0", "xenbr0", 9000, Datapath.Afxdp), inner = Make.Network(2, "internal", "xapi0");
        Pif eth0 = Make.Pif(16, "eth0"), bond = Make.Pif(17, "bond0", "52:54:00:00:00:02", null);
        return (HostState.Empty.Add(lan).Add(inner).Add(eth0).Add(bond).Connect(eth0, lan, wasInBridge: true, hadLinkLocal: true)
            .Add(Make.Vif(32, "vif1.0", lan, 7, "00:16:3e:00:00:01")).Add(Make.Vif(33, "vif1.1", inner, 8)))
            with { Doomed = [new DoomedBridge(Make.Uuid(3), "xapi3")], TagsKept = [new DeviceBinding(Make.BootId, Make.Netns, 4)] };
    }

    private static void AssertSame(HostState expected, HostState actual)
    {
        Assert.Equal(expected.Networks, actual.Networks);
        Assert.Equal(expected.Pifs, actual.Pifs);
        Assert.Equal(expected.Vifs, actual.Vifs);
        Assert.Equal(expected.Doomed, actual.Doomed);
        Assert.Equal(expected.Vlans, actual.Vlans);
        Assert.Equal(expected.Bonds, actual.Bonds);
        Assert.Equal(expected.DoomedLinks, actual.DoomedLinks);
        Assert.Equal(expected.TagsKept, actual.TagsKept);
    }
}

internal static class ExceptionText
{
    public static void AssertNames(this Exception e, string path) => Assert.Contains(path, e.Message);
}
