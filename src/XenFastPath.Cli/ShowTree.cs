// xfp show as text: the Networks as trees, with what moves through each port.
using XenFastPath.Api;

namespace XenFastPath.Cli;

/// <summary>Draws a state of the machine, with rates if an earlier state is at hand.</summary>
internal sealed class ShowTree(ShowInfo now, ShowInfo? before, Terminal terminal)
{
    private readonly Table _table = new("", "", "", "", "", "");
    private readonly Dictionary<string, PortCountersInfo?> _before =
        Ports(before).DistinctBy(port => port.Device).ToDictionary(port => port.Device, port => port.Counters);

    private readonly double _seconds = before is null ? 0 : (now.MonotonicNs - before.MonotonicNs) / 1e9;

    private string Branch(bool last) => terminal.IsUnicode ? (last ? "└─ " : "├─ ") : last ? "`- " : "|- ";

    public void Write()
    {
        string counted = before is null ? "in, out: frames since plugged" : "in, out: frames per second";
        terminal.Out.WriteLine($"xenfastpathd {now.Version}, kernel {now.Kernel}, instance {now.Instance} ({counted})");
        WriteForwarder(now.Forwarder);
        if (now.Pending is { } pending)
        {
            terminal.Out.WriteLine(Warning($"an apply is rolled back in {pending.SecondsLeft} s; xfp confirm keeps it"));
        }
        foreach (NetworkInfo network in now.Networks)
        {
            Add(network);
        }
        if (now.UnattachedPifs.Count > 0)
        {
            _table.AddNote("");
            _table.AddNote("PIFs without a Network");
            AddPorts([.. now.UnattachedPifs.Select(Port.Of)], path: null);
        }
        if (_table.Count > 0)
        {
            _table.Write(terminal);
        }
    }

    /// <summary>The forwarder in one line: <c>xfp stats</c> begins with it too.</summary>
    public static string ForwarderLine(ForwarderInfo forwarder, Terminal terminal)
    {
        var parts = new List<string> { terminal.Paint(forwarder.State, Words.InkOf(forwarder.State)) };
        if (forwarder.Pid is { } pid)
        {
            parts.Add($"pid {pid}");
            parts.Add(forwarder.InstructionSet ?? Words.None);
            if (forwarder.Workers > 1)
            {
                parts.Add($"{forwarder.Workers} workers");
            }
            parts.Add($"{forwarder.Ports} {(forwarder.Ports == 1 ? "port" : "ports")}");
            parts.Add($"frames {forwarder.FramesFree}/{forwarder.FramesTotal} free");
        }
        if (forwarder.HeartbeatAgeMs is { } age)
        {
            parts.Add($"heartbeat {age} ms ago");
        }
        if (forwarder.Restarts > 0)
        {
            parts.Add($"restarts {forwarder.Restarts}");
        }
        return $"forwarder {string.Join(", ", parts)}";
    }

    private void WriteForwarder(ForwarderInfo forwarder)
    {
        terminal.Out.WriteLine(ForwarderLine(forwarder, terminal));
        if (forwarder.State != "running")
        {
            string text = $"the forwarder is {forwarder.State}: its frames go through the kernel bridge";
            terminal.Out.WriteLine(Warning(text));
        }
        if (forwarder.Gen0Collections > 0)
        {
            string text = $"the forwarder collected garbage {forwarder.Gen0Collections} times, it never should";
            terminal.Out.WriteLine(Warning(text));
        }
    }

    private void Add(NetworkInfo network)
    {
        _table.AddNote("");
        string arrow = terminal.IsUnicode ? "→" : "->";
        string why = terminal.Paint($"({Words.Printable(network.PathReason)})", Ink.Dim);
        _table.AddNote(string.Join("  ",
            terminal.Paint(Words.Printable(network.Label), Ink.Bold),
            Words.Printable(network.Bridge) + (network.BridgeAdopted ? " (adopted)" : ""),
            terminal.Paint(network.State, Words.InkOf(network.State)),
            $"mtu {network.Mtu}",
            $"{network.Datapath} {arrow} {network.Path} {why}"));
        foreach (string filter in network.Bypassed)
        {
            _table.AddNote(Warning($"the fast path bypasses {filter}"));
        }
        IEnumerable<Port> pifs = network.Pif is { } pif ? [Port.Of(pif)] : [];
        IEnumerable<Port> vlans = network.Vlan is { } vlan ? [Port.Of(vlan)] : [];
        AddPorts([.. pifs, .. vlans, .. network.Vifs.Select(Port.Of)], network.Path);
    }

    private string Warning(string text) => "  " + terminal.Paint($"! {Words.Printable(text)}", Ink.Yellow);

    private void AddPorts(List<Port> ports, string? path)
    {
        for (int i = 0; i < ports.Count; i++)
        {
            Port port = ports[i];
            // Why a port is not on its Network's path is what the reader wants to know; why it is, is said above.
            string why = port.Path is { } own && own.Path != path ? $" ({own.Reason})" : "";
            _table.Add([$"{Branch(i == ports.Count - 1)}{port.Kind} {port.Device}", Cell.State(port.State),
                PortText.Path(port.Path, terminal) + why, .. Traffic(port)]);
        }
    }

    private Cell[] Traffic(Port port)
    {
        if (port.Counters is not { } counters)
        {
            return [];
        }
        if (before is null)
        {
            return
            [
                $"in {Words.Count(counters.RxFrames)}",
                $"out {Words.Count(counters.TxFrames)}",
                Share(counters.FastRxFrames, counters.KernelFrames),
            ];
        }
        // A port plugged anew, or between the two looks, starts from zero: there is no rate yet.
        if (_seconds <= 0 || _before.GetValueOrDefault(port.Device) is not { } old || counters.RxFrames < old.RxFrames)
        {
            return ["in -", "out -", ""];
        }
        return
        [
            $"in {Words.Count((counters.RxFrames - old.RxFrames) / _seconds)}/s",
            $"out {Words.Count((counters.TxFrames - old.TxFrames) / _seconds)}/s",
            Share(counters.FastRxFrames - old.FastRxFrames, counters.KernelFrames - old.KernelFrames),
        ];
    }

    // Of the frames received: both sides are counted where the paths part, so they add up whatever the driver counts.
    private static Cell Share(long fast, long kernel) =>
        fast >= 0 && kernel >= 0 && fast + kernel > 0 ? $"fast {100.0 * fast / (fast + kernel):0.#}%" : "";

    private static IEnumerable<Port> Ports(ShowInfo? show) => show is null ? [] :
    [
        .. show.Networks.SelectMany(n => n.Vifs).Select(Port.Of),
        .. show.Networks.Select(n => n.Vlan).OfType<VlanInfo>().Select(Port.Of),
        .. show.Networks.Select(n => n.Pif).OfType<PifInfo>().Concat(show.UnattachedPifs).Select(Port.Of),
    ];

    private sealed record Port(string Kind, string Device, string State, PortPathInfo? Path, PortCountersInfo? Counters)
    {
        public static Port Of(PifInfo pif) => new("PIF", pif.Device, pif.State, pif.Path, pif.Counters);

        public static Port Of(VlanInfo vlan) => new("VLAN", vlan.Device, vlan.State, vlan.Path, vlan.Counters);

        public static Port Of(VifInfo vif) => new("VIF", vif.Device, vif.State, vif.Path, vif.Counters);
    }
}
