// The command line of xenfastpathd, and what it hands on to its guard.
using XenFastPath.Daemon;
using XenFastPath.Dataplane;

namespace XenFastPath.Tests.Daemon;

public sealed class OptionsTests
{
    [Fact]
    public void A_guard_gets_the_folders_of_its_daemon()
    {
        Options options = Parse("--state-dir", "/a", "--run-dir", "/b", "--bpffs", "/c", "--forwarder", "/d", "--macs-max", "65536");
        Assert.Equal(options with { Mode = Mode.Guard }, Parse([.. options.GuardArguments]));
        Assert.Equal(Parse("--guard"), Parse([.. Parse().GuardArguments]));
    }

    [Fact]
    public void What_is_the_forwarders_is_handed_on()
    {
        Options options = Parse("--cpus", "3,1", "--arena-mib", "32", "--busy-poll-us", "50", "--run-dir", "/b");
        Assert.Equal(["--cpus", "3,1", "--arena-mib", "32", "--busy-poll-us", "50"], options.ForwarderArguments);
        Assert.Equal(options.GuardArguments, Parse([.. options.GuardArguments]).GuardArguments);
        ForwarderOptions forwarder = ForwarderOptions.Parse([.. options.ForwarderArguments], out _)!;
        Assert.Equal((32 * 1024 * 1024, 2, 50), (forwarder.ArenaBytes, forwarder.Workers, forwarder.BusyPollUs));
        Assert.Equal<int>([3, 1], forwarder.Cpus!);
    }

    [Fact]
    public void Modes_stand_anywhere()
    {
        Assert.Equal(Mode.Serve, Parse().Mode);
        Assert.Equal(Parse("--rollback", "--run-dir", "/b"), Parse("--run-dir", "/b", "--rollback"));
        Assert.Equal(Mode.RollBack, Parse("--rollback").Mode);
    }

    [Theory]
    [InlineData("--run-dir needs a value or is unknown", "--run-dir")]
    [InlineData("unknown argument --nope", "--nope", "x")]
    [InlineData("--macs-max needs a value or is unknown", "--macs-max")]
    [InlineData("--macs-max 1023 is no number from 1024 to 1048576", "--macs-max", "1023")]
    [InlineData("--macs-max 1048577 is no number from 1024 to 1048576", "--macs-max", "1048577")]
    [InlineData("--macs-max many is no number from 1024 to 1048576", "--macs-max", "many")]
    [InlineData("bad argument --workers 17", "--workers", "17")]
    [InlineData("bad argument --workers 0", "--workers", "0")]
    [InlineData("bad argument --cpus 1,1", "--cpus", "1,1")]
    [InlineData("bad argument --cpus 1,", "--cpus", "1,")]
    [InlineData("--cpus names 2 CPUs for 3 workers", "--cpus", "0,1", "--workers", "3")]
    [InlineData("4 workers need more packet memory than 8 MiB: at least --arena-mib 28", "--workers", "4", "--arena-mib", "8")]
    [InlineData("bad argument --arena-mib 3", "--arena-mib", "3")]
    [InlineData("bad argument --busy-poll-us -1", "--busy-poll-us", "-1")]
    [InlineData("bad argument --vif-frames 255", "--vif-frames", "255")]
    [InlineData(null, "--guard", "--help")]
    public void Others_are_refused(string? problem, params string[] args)
    {
        Assert.Null(Options.Parse(args, out string? said));
        Assert.Equal(problem, said);
    }

    private static Options Parse(params string[] args) => Options.Parse(args, out _)!;
}
