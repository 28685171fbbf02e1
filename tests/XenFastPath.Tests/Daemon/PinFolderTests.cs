using System.Text.RegularExpressions;
using XenFastPath.Daemon.FastPath;
using XenFastPath.Dataplane;

namespace XenFastPath.Tests.Daemon;

public sealed class PinFolderTests : IDisposable
{
    private readonly string _bpffs = Directory.CreateTempSubdirectory("xfp-pins").FullName;

    public void Dispose() => Directory.Delete(_bpffs, recursive: true);

    [Fact]
    public void The_place_is_the_one_design_names()
    {
        PinFolder pins = new("/sys/fs/bpf", "/run/xenfastpath");
        Assert.Equal("run-xenfastpath", pins.Instance);
        Assert.Equal("/sys/fs/bpf/xenfastpath/run-xenfastpath", pins.InstancePath);
        Assert.Equal($"/sys/fs/bpf/xenfastpath/run-xenfastpath/v{Layout.Version}", pins.Path);
        Assert.Equal($"{pins.Path}/link-7-xdp", pins.Link(7, "xdp"));
    }

    [Fact]
    public void Spellings_of_one_run_dir_are_one_instance()
    {
        string[] spellings = ["/run/xfp", "/run/xfp/", "/run//xfp", "/run/./xfp", "/run/other/../xfp"];
        Assert.Single(spellings.Select(s => new PinFolder(_bpffs, s).Path).Distinct());
        Assert.Equal(new PinFolder(_bpffs, Path.GetFullPath("here")).Path, new PinFolder(_bpffs, "here").Path);
    }

    [Fact]
    public void Two_run_dirs_are_two_instances()
    {
        string[] alike = ["/run/xfp", "/run/xfp2", "/run/a/b", "/run/a-b", "/run/a.b", "/run/a b", "/", "/-"];
        Assert.Equal(alike.Length, alike.Select(s => new PinFolder(_bpffs, s).Path).Distinct().Count());
    }

    /// <summary>bpffs refuses names with dots (EPERM), and a pin's path must not climb out of the folder.</summary>
    [Theory]
    [InlineData("/run/xen.fast")]
    [InlineData("/run/lab 1/läufer")]
    [InlineData("/run/..hidden")]
    public void No_name_holds_what_bpffs_refuses(string runDir) =>
        Assert.Matches(new Regex("^[A-Za-z0-9%-]+$"), new PinFolder(_bpffs, runDir).Instance);

    [Fact]
    public void Folders_of_other_layouts_are_found_and_removed_with_their_pins()
    {
        PinFolder pins = new(_bpffs, "/run/xfp");
        string older = Path.Combine(pins.InstancePath, $"v{Layout.Version + 1}");
        Directory.CreateDirectory(pins.Path);
        Directory.CreateDirectory(older);
        File.WriteAllText(Path.Combine(older, "xfp_ports"), "");
        File.WriteAllText(pins.Link(3, "xdp"), "");
        Assert.Equal([older], pins.OtherVersions());
        PinFolder.Remove(older);
        Assert.False(Directory.Exists(older));
        Assert.Empty(pins.OtherVersions());
        Assert.True(File.Exists(pins.Link(3, "xdp")));
    }
}
