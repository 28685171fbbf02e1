// A change that waits for its confirmation: when its time is over, what is undone, and its file.
using XenFastPath.Model;

namespace XenFastPath.Tests.Model;

public sealed class RollbackTests : IDisposable
{
    private const long Second = 1_000_000_000;

    private static readonly Network s_lan = Make.Network(1, "lan"), s_new = Make.Network(2, "new");
    private static readonly HostState s_previous = HostState.Empty.Add(s_lan).Add(Make.Vif(20, "vif1.0", s_lan, 7));

    private readonly string _folder = Directory.CreateTempSubdirectory("xfp-rollback-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(100 * Second, false, 60)]
    [InlineData((160 * Second) - 1, false, 1)]
    [InlineData((159 * Second) - 1, false, 2)]
    [InlineData(160 * Second, true, 0)]
    [InlineData(long.MaxValue, true, 0)]
    public void The_time_is_over_at_the_deadline(long nowNs, bool isDue, int left)
    {
        Rollback rollback = Of(Rollback.Deadline(100 * Second, 60));
        Assert.Equal(isDue, rollback.IsDue(Make.BootId, nowNs));
        Assert.Equal(left, rollback.SecondsLeft(Make.BootId, nowNs));
    }

    [Fact]
    public void After_a_reboot_it_is_over_whatever_the_clock_says()
    {
        Rollback rollback = Of(long.MaxValue);
        Assert.True(rollback.IsDue("another boot", 0));
        Assert.Equal(0, rollback.SecondsLeft("another boot", 0));
        Assert.False(rollback.IsDue(Make.BootId, 0));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    [InlineData(86_401)]
    public void The_time_has_bounds(int seconds) => Refusal.Of(() => Rollback.Deadline(0, seconds), "confirm", $"{seconds} seconds are out of range 1..86400");

    [Fact]
    public void What_the_change_made_goes_and_guests_that_came_since_stay()
    {
        Vif byTheChange = Make.Vif(21, "vif2.0", s_lan, 8), since = Make.Vif(22, "vif3.0", s_lan, 9), elsewhere = Make.Vif(23, "vif4.0", s_new, 10);
        HostState now = HostState.Empty.Add(s_lan with { Mtu = 9000 }).Add(s_new).Add(byTheChange).Add(since).Add(elsewhere);
        HostState undone = (Of(0) with { Plugged = [byTheChange.Uuid] }).Undone(now);
        Assert.Equal([s_lan], undone.Networks);
        Assert.Equal(["vif1.0", "vif3.0"], undone.Vifs.Select(v => v.Device));
        Assert.Equal([new DoomedBridge(s_new.Uuid, "new")], undone.Doomed);
        // Once more, after a crash in the middle of it, it is the same.
        Assert.Equal(HostDocument.Of(undone).ToText(), HostDocument.Of(Of(0).Undone(undone)).ToText());
    }

    [Fact]
    public void What_was_done_to_cards_is_not_forgotten()
    {
        DeviceBinding card = new(Make.BootId, Make.Netns, 4);
        Assert.Equal([card], Of(0).Undone(s_previous with { TagsKept = [card] }).TagsKept);
        Assert.Empty((Of(0) with { Previous = s_previous with { TagsKept = [card] } }).Undone(s_previous).TagsKept);
    }

    [Fact]
    public void A_vif_that_was_unplugged_and_plugged_again_is_not_there_twice()
    {
        HostState now = HostState.Empty.Add(s_lan).Add(Make.Vif(29, "vif1.0", s_lan, 7));
        Assert.Equal([Make.Uuid(20)], Of(0).Undone(now).Vifs.Select(v => v.Uuid));
    }

    [Fact]
    public void The_file_is_whole_or_not_there()
    {
        List<string> synced = [];
        RollbackFile file = new(_folder, synced.Add);
        Assert.Null(file.Load());
        Rollback rollback = Of(5 * Second) with { Plugged = [Make.Uuid(21)], Devices = [new DeviceBefore(7, true, 1500, false, true)] };
        file.Save(rollback);
        Rollback loaded = file.Load()!;
        Assert.Equal((rollback.BootId, rollback.DeadlineNs), (loaded.BootId, loaded.DeadlineNs));
        Assert.Equal((IEnumerable<DeviceBefore>)rollback.Devices, loaded.Devices);
        Assert.Equal((IEnumerable<Guid>)rollback.Plugged, loaded.Plugged);
        Assert.Equal(HostDocument.Of(s_previous).ToText(), HostDocument.Of(loaded.Previous).ToText());
        file.Delete();
        Assert.Null(file.Load());
        Assert.Equal([_folder, _folder], synced);
    }

    [Theory]
    [InlineData("", "Move it away")]
    [InlineData("{\"version\": 1}", "Move it away")]
    [InlineData("null", "reads version 1")]
    public void A_damaged_file_is_refused_by_name(string text, string reason)
    {
        RollbackFile file = new(_folder, _ => { });
        File.WriteAllText(file.Path, text);
        StateFileException e = Assert.Throws<StateFileException>(file.Load);
        Assert.StartsWith(file.Path, e.Message, StringComparison.Ordinal);
        Assert.Contains(reason, e.Message, StringComparison.Ordinal);
    }

    private static Rollback Of(long deadlineNs) => new(Make.BootId, deadlineNs, s_previous, [], []);
}
