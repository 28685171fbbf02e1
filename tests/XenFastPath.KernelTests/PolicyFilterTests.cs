// The policy hook as kernels before tcx (6.6) have it: a clsact filter, beside the filters of others.
using XenFastPath.Daemon.FastPath;
using XenFastPath.Interop;
using XenFastPath.KernelTests.Lab;
using XenFastPath.Netlink;

namespace XenFastPath.KernelTests;

[Trait("rung", "minimum")]
public sealed class PolicyFilterTests : IDisposable
{
    private readonly string _bpffs = Directory.CreateTempSubdirectory("xfp-bpf-").FullName;
    private readonly Netns _netns = new($"xfp{Environment.ProcessId}-filter");
    private readonly PinFolder _pins;
    private readonly BpfProgram _program;

    public PolicyFilterTests()
    {
        Tool.Run("mount", "-t", "bpf", "bpf", _bpffs);
        _pins = new PinFolder(_bpffs, "/run/test");
        _program = BpfProgram.Load(_bpffs, _pins);
        _netns.Run("ip", "link", "add", "vif1.0", "index", "10", "type", "veth", "peer", "name", "guest");
    }

    public void Dispose()
    {
        _program.Dispose();
        _netns.Dispose();
        Tool.TryRun("umount", _bpffs);
        Directory.Delete(_bpffs, recursive: true);
    }

    [Fact]
    public void It_comes_once_and_goes_with_the_port()
    {
        Hooks(h => h.AttachPolicy(10, "vif1.0"));
        Hooks(h => h.AttachPolicy(10, "vif1.0"));       // another daemon, later
        Assert.Equal(["xfp_policy"], Filters());
        Hooks(h => h.DetachAll(10));                    // one that has attached nothing itself
        Assert.Empty(Filters());
    }

    [Fact]
    public void Filters_of_others_stay_and_are_not_replaced()
    {
        _netns.Run("tc", "qdisc", "add", "dev", "vif1.0", "clsact");
        _netns.Run("tc", "filter", "add", "dev", "vif1.0", "ingress", "priority", "1", "u32", "match", "u32", "0", "0", "flowid", "1:1");
        Hooks(h => h.AttachPolicy(10, "vif1.0"));
        Assert.Contains("xfp_policy", Filters());
        Assert.Contains("u32", Filters());
        Hooks(h => h.DetachAll(10));
        Assert.All(Filters(), f => Assert.Equal("u32", f));
        Assert.NotEmpty(Filters());
    }

    [Fact]
    public void A_device_that_is_gone_has_nothing_to_detach() => Hooks(h => h.DetachAll(77));

    [Fact]
    public void A_pin_that_is_in_the_way_of_a_new_links_is_replaced()
    {
        string pin = _pins.Link(10, "xdp");
        Assert.Equal(0, LibBpf.bpf_obj_pin(_program.Xdp, pin));
        Hooks(h => Assert.Equal(0, h.AttachXdp(10, native: false)));
        Hooks(h =>
        {
            h.TakeOver();
            Assert.True(h.HasXdp(10));      // it is the link's now
            h.DetachAll(10);
        });
        Assert.False(File.Exists(pin));
    }

    private List<string> Filters() => _netns.Inside(() =>
    {
        using Rtnl rtnl = new();
        return rtnl.GetFilters(10, TcHook.Ingress).Select(f => f.BpfName ?? f.Kind).ToList();
    });

    private void Hooks(Action<PortHooks> action) => _netns.Inside(() =>
    {
        using Rtnl rtnl = new();
        action(new PortHooks(_program, _pins, rtnl, mayUseTcx: false));
        return 0;
    });
}
