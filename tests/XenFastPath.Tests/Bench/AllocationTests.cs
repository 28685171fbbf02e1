// Every benchmark of the data path, with all its parameters: it must allocate nothing.
using System.Linq.Expressions;
using System.Reflection;
using BenchmarkDotNet.Attributes;
using XenFastPath.Bench;

namespace XenFastPath.Tests.Bench;

public sealed class AllocationTests
{
    private const int Warm = 3, Counted = 5;

    private static readonly Type[] s_benches =
        [.. typeof(LoopBench).Assembly.GetTypes().Where(t => t.GetMethods().Any(m => m.GetCustomAttribute<BenchmarkAttribute>() is not null))];

    public static TheoryData<string, string> DataPath
    {
        get
        {
            TheoryData<string, string> cases = [];
            foreach (Type bench in s_benches.Where(t => t.GetCustomAttribute<BenchmarkCategoryAttribute>() is null))
            {
                foreach (object? value in ParametersOf(bench).Value)
                    cases.Add(bench.Name, $"{value}");
            }

            return cases;
        }
    }

    [Theory]
    [MemberData(nameof(DataPath))]
    public void Allocates_nothing(string name, string parameter)
    {
        Type type = s_benches.Single(t => t.Name == name);
        object bench = Activator.CreateInstance(type)!;
        (PropertyInfo? property, object?[] values) = ParametersOf(type);
        property?.SetValue(bench, values.Single(v => $"{v}" == parameter));
        Act(bench, type.GetMethods().Single(m => m.GetCustomAttribute<GlobalSetupAttribute>() is not null))();
        foreach (MethodInfo method in type.GetMethods().Where(m => m.GetCustomAttribute<BenchmarkAttribute>() is not null))
        {
            Action run = Act(bench, method);
            for (int i = 0; i < Warm; i++)
                run();
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < Counted; i++)
                run();
            Assert.True(GC.GetAllocatedBytesForCurrentThread() == before, $"{name}.{method.Name} allocates");
        }
    }

    [Fact]
    public void The_gate_sees_what_allocates()
    {
        Action run = () => GC.KeepAlive(new object());
        long before = GC.GetAllocatedBytesForCurrentThread();
        run();
        Assert.NotEqual(before, GC.GetAllocatedBytesForCurrentThread());
        // What is left out is named: a new benchmark is of the data path until somebody says otherwise.
        Assert.Equal([nameof(ApiBench), nameof(RequestBench)],
            s_benches.Where(t => t.GetCustomAttribute<BenchmarkCategoryAttribute>() is not null).Select(t => t.Name).Order());
        Assert.True(DataPath.Count >= 10);
    }

    /// <summary>The one property with values that a benchmark has, if any.</summary>
    private static (PropertyInfo? Property, object?[] Value) ParametersOf(Type bench)
    {
        PropertyInfo? property = bench.GetProperties().SingleOrDefault(p => p.GetCustomAttribute<ParamsAttribute>() is not null);
        return (property, property?.GetCustomAttribute<ParamsAttribute>()!.Values ?? [""]);
    }

    /// <summary>A call without boxing.</summary>
    private static Action Act(object target, MethodInfo method) =>
        Expression.Lambda<Action>(Expression.Block(typeof(void), Expression.Call(Expression.Constant(target), method))).Compile();
}
