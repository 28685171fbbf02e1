// The command line of xenfastpathd, and what it hands on to its guard.
using XenFastPath.Daemon;

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
    [InlineData(null, "--guard", "--help")]
    public void Others_are_refused(string? problem, params string[] args)
    {
        Assert.Null(Options.Parse(args, out string? said));
        Assert.Equal(problem, said);
    }

    private static Options Parse(params string[] args) => Options.Parse(args, out _)!;
}
