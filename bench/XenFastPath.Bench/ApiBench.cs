using System.Reflection;
using BenchmarkDotNet.Attributes;
using XenFastPath.Api;

namespace XenFastPath.Bench;

/// <summary>A call of the API and its answer over the Unix socket, in one process, with a handler that has nothing to do.</summary>
[MemoryDiagnoser]
[BenchmarkCategory(Categories.Control)]
public class ApiBench
{
    private static readonly string s_socket = Path.Combine(Path.GetTempPath(), $"xfp-bench-{Environment.ProcessId}.sock");

    private ApiServer _server = null!;
    private ApiClient _client = null!;

    [GlobalSetup]
    public async Task Setup()
    {
        _server = new ApiServer(new ApiServerOptions(s_socket), DispatchProxy.Create<IApiHandler, Idle>(), _ => { });
        _server.Start();
        _client = await ApiClient.ConnectAsync(s_socket);
    }

    [GlobalCleanup]
    public async Task CleanUp()
    {
        await _client.DisposeAsync();
        await _server.DisposeAsync();
    }

    [Benchmark]
    public Task<FdbSyncInfo> RoundTrip() => _client.CallAsync(ApiMethods.FdbSync, new Empty());

    /// <summary>Answers the one call that is measured.</summary>
    public class Idle : DispatchProxy
    {
        protected override object? Invoke(MethodInfo? targetMethod, object?[]? args) => targetMethod?.Name switch
        {
            nameof(IApiHandler.FdbSync) => (object)new ValueTask<FdbSyncInfo>(new FdbSyncInfo(1000, 1000)),
            "get_Events" => null,
            _ => throw new NotSupportedException(targetMethod?.Name),
        };
    }
}
