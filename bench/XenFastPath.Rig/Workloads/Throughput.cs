// How many frames arrive when more are offered than go through: sizes, numbers of addresses, directions.
using XenFastPath.Rig.Bpf;
using XenFastPath.Rig.Lab;

namespace XenFastPath.Rig.Workloads;

internal enum Direction
{
    Forth,
    Back,
    Both,
}

/// <summary>One row of the table.</summary>
internal sealed record ThroughputCell(Pair Pair, Direction Direction, FrameSizes Sizes, int Addresses, SinkKind Sinks = SinkKind.Xdp)
{
    public string Name => $"{Ends}, {Sizes.Name}{(Sizes.Bytes.Length == 1 ? " B" : "")}, {Addresses} MAC{(Addresses == 1 ? "" : "s")}"
        + (Sinks == SinkKind.Tc ? ", skb" : "");

    private string Ends => (Pair, Direction) switch
    {
        (Pair.VifVif, Direction.Both) => "VIF<->VIF",
        (Pair.VifVif, _) => "VIF->VIF",
        (_, Direction.Forth) => "VIF->PIF",
        (_, Direction.Back) => "PIF->VIF",
        _ => "VIF<->PIF",
    };
}

internal static class Throughput
{
    public const string Workload = "throughput";
    public const string Rate = "frames_per_second", PerCpu = "frames_per_cpu_second", Cpu = "cores_busy";
    public const string Offered = "offered_per_second", Stolen = "cores_stolen";

    private const double WarmUpSeconds = 0.3;

    /// <summary>The first two are the ones that are asked for most.</summary>
    public static IEnumerable<ThroughputCell> Cells(bool isQuick)
    {
        FrameSizes small = FrameSizes.Of(64);
        yield return new(Pair.VifPif, Direction.Forth, small, 1);
        yield return new(Pair.VifPif, Direction.Forth, small, 10_000);
        yield return new(Pair.VifVif, Direction.Forth, small, 1);
        yield return new(Pair.VifPif, Direction.Forth, small, 1, SinkKind.Tc);
        yield return new(Pair.VifPif, Direction.Forth, small, 10_000, SinkKind.Tc);
        yield return new(Pair.VifVif, Direction.Forth, small, 1, SinkKind.Tc);
        if (isQuick)
            yield break;
        yield return new(Pair.VifPif, Direction.Back, small, 1);
        yield return new(Pair.VifPif, Direction.Both, small, 1);
        yield return new(Pair.VifVif, Direction.Both, small, 1);
        yield return new(Pair.VifPif, Direction.Forth, small, 100);
        yield return new(Pair.VifPif, Direction.Forth, small, 100_000);
        yield return new(Pair.VifPif, Direction.Back, small, 10_000);
        foreach (int size in (int[])[128, 512, 1518])
            yield return new(Pair.VifPif, Direction.Forth, FrameSizes.Of(size), 1);
        yield return new(Pair.VifPif, Direction.Forth, FrameSizes.Imix, 1);
        yield return new(Pair.VifPif, Direction.Back, FrameSizes.Imix, 1);
    }

    public static void Run(Bench bench)
    {
        // One setup of an arm serves all cells with the same stations and addresses.
        IEnumerable<ThroughputCell> cells = Cells(bench.Effort.IsQuick).Where(c => bench.Wants(Workload, c.Name));
        foreach (IGrouping<(Pair Pair, int Addresses, SinkKind Sinks), ThroughputCell> group in cells.GroupBy(c => (c.Pair, c.Addresses, c.Sinks)))
        {
            bench.Each(Workload, group.Key.Pair, group.Key.Addresses, group.Key.Sinks, setup =>
            {
                foreach (ThroughputCell cell in group)
                    Measure(setup, cell);
            });
        }
    }

    private static void Measure(Setup setup, ThroughputCell cell)
    {
        using Generators generators = new(setup, cell.Direction, cell.Sizes);
        using Traffic traffic = new(generators.All);
        traffic.During(WarmUpSeconds + (cell.Addresses > 1000 ? WarmUpSeconds : 0));
        Measurement m = setup.Measure(generators.All, traffic, setup.Effort.Seconds);
        if (m.Received == 0)
            throw new RigException($"{cell.Name}: no frame arrived");
        setup.Record(cell.Name, Rate, m.Received);
        setup.Record(cell.Name, Offered, m.Offered);
        setup.Record(cell.Name, PerCpu, m.PerCpuSecond);
        setup.Record(cell.Name, Cpu, m.Busy);
        setup.Record(cell.Name, Stolen, m.Stolen);
        for (int i = 0; i < m.Cores.Length; i++)
            setup.Record(cell.Name, $"cpu{i}_busy", m.Cores[i].Busy);
        Console.WriteLine($"    {cell.Name,-34} {setup.Arm.Name,-9} {m.Received / 1e6,7:F3} Mpps of {m.Offered / 1e6:F3}, CPUs "
            + $"{string.Join(' ', m.Cores.Select(c => $"{c.Busy:P0}"))}, stolen {m.Stolen:P0}");
    }
}

/// <summary>The generators of a direction.</summary>
internal sealed class Generators : IDisposable
{
    public Generators(Setup setup, Direction direction, FrameSizes sizes)
    {
        All = direction switch
        {
            Direction.Forth => [setup.Generator(sizes)],
            Direction.Back => [setup.Generator(sizes, isBack: true)],
            _ => [setup.Generator(sizes), setup.Generator(sizes, isBack: true)],
        };
    }

    public Generator[] All { get; }

    public void Dispose()
    {
        foreach (Generator generator in All)
            generator.Dispose();
    }
}
