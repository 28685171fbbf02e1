// One client of the daemon: reads a request, has it handled, writes the answer, in order; events go between answers.
using System.Buffers;
using System.IO.Pipelines;
using System.Net.Sockets;

namespace XenFastPath.Api;

/// <summary>
/// Serves one connected socket until the client goes. The client's own reading is the brake: a response is written in
/// small pieces that each wait for the socket, so a client that does not read stalls itself and nothing else.
/// </summary>
internal sealed class ServerConnection : IAsyncDisposable
{
    private readonly IApiHandler _handler;
    private readonly Action<string> _log;
    private readonly NetworkStream _stream;
    private readonly LineReader _lines;
    private readonly PipeWriter _output;
    private readonly SemaphoreSlim _writing = new(1);  // one line at a time: responses and events share the stream
    private EventSubscription? _events;
    private Task? _eventPump;

    /// <summary>Takes the socket over.</summary>
    public ServerConnection(Socket socket, IApiHandler handler, Action<string> log)
    {
        (_handler, _log) = (handler, log);
        _stream = new NetworkStream(socket, ownsSocket: true);
        var input = PipeReader.Create(_stream, new StreamPipeReaderOptions(bufferSize: ApiLimits.ServerReadBytes));
        _lines = new LineReader(input, ApiLimits.RequestBytesMax);
        _output = PipeWriter.Create(_stream);
    }

    /// <summary>Never throws: what a client does wrong or suffers ends its connection and nothing else.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        using var leaving = CancellationTokenSource.CreateLinkedTokenSource(stop);
        try
        {
            await ServeAsync(leaving.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            // The client is gone or the server stops: nobody is left to tell.
        }
        catch (Exception e)
        {
            _log($"api: connection closed: {e}");
        }
        finally
        {
            await leaving.CancelAsync().ConfigureAwait(false);
            await (_eventPump ?? Task.CompletedTask).ConfigureAwait(false);
        }
    }

    /// <summary>Closes the connection; after <see cref="RunAsync"/>.</summary>
    public async ValueTask DisposeAsync()
    {
        _events?.Dispose();
        _writing.Dispose();
        await _stream.DisposeAsync().ConfigureAwait(false);
    }

    private async Task ServeAsync(CancellationToken leaving)
    {
        try
        {
            while (await _lines.ReadAsync(leaving).ConfigureAwait(false) is { } line)
            {
                // Contiguous, so that id and params are slices of it; most lines come in one piece and are not copied.
                ReadOnlyMemory<byte> bytes = line.IsSingleSegment ? line.First : line.ToArray();
                if (bytes.Span.ContainsAnyExcept(" \t\r"u8))
                {
                    await AnswerAsync(RpcRequest.Parse(bytes), leaving).ConfigureAwait(false);
                }
                _lines.Release();
            }
        }
        catch (LineTooLongException)
        {
            string limit = $"request longer than {ApiLimits.RequestBytesMax} bytes";
            var fault = new RpcFault(ApiErrorCode.InvalidRequest, limit);
            await WriteFaultAsync(null, fault, leaving).ConfigureAwait(false);
        }
    }

    private async Task AnswerAsync(RpcRequest request, CancellationToken leaving)
    {
        RpcFault? fault = request.Fault;
        ApiMethod? method = null;
        object? result = null;
        if (fault is null && !MethodTable.ByName.TryGetValue(request.Method, out method))
        {
            fault = new RpcFault(ApiErrorCode.MethodNotFound, $"unknown method \"{request.Method}\"");
        }
        if (fault is null)
        {
            (result, fault) = await CallAsync(method!, request.Params, leaving).ConfigureAwait(false);
        }

        if (fault is null && request.Id is { } id)
        {
            await WriteResultAsync(id, method!, result!, leaving).ConfigureAwait(false);
        }
        else if (fault is not null && (request.Id is not null || request.Fault is not null))
        {
            await WriteFaultAsync(request.Id, fault, leaving).ConfigureAwait(false);
        }
        if (fault is null && method == ApiMethods.Events)
        {
            _eventPump ??= PumpEventsAsync(_events!, leaving);
        }
    }

    private async Task<(object? Result, RpcFault? Fault)> CallAsync(
        ApiMethod method, ReadOnlyMemory<byte> parameters, CancellationToken stop)
    {
        try
        {
            object result = await method.InvokeAsync(_handler, parameters.Span, stop).ConfigureAwait(false);
            if (method == ApiMethods.Events)
            {
                _events ??= _handler.Events.Subscribe();  // before the answer, so that nothing after it is missed
            }
            return (result, null);
        }
        catch (RpcFault fault)
        {
            return (null, fault);
        }
        catch (RefusedException e)
        {
            return (null, new RpcFault(ApiErrorCode.Refused, e.Message, new ErrorData(e.Object, e.Reason)));
        }
        catch (Exception e) when (e is not OperationCanceledException || !stop.IsCancellationRequested)
        {
            _log($"api: {method.Name} failed: {e}");
            string problem = $"internal error: {e.Message} (see the daemon's log)";
            return (null, new RpcFault(ApiErrorCode.InternalError, problem));
        }
    }

    private Task WriteFaultAsync(ReadOnlyMemory<byte>? id, RpcFault fault, CancellationToken leaving) =>
        WriteLineAsync(() => RpcResponse.WriteFault(_output, id, fault), leaving);

    private async Task WriteResultAsync(
        ReadOnlyMemory<byte> id, ApiMethod method, object result, CancellationToken leaving)
    {
        await _writing.WaitAsync(leaving).ConfigureAwait(false);
        try
        {
            RpcResponse.WriteResultHead(_output, id.Span);
            await method.WriteResultAsync(_output, result, leaving).ConfigureAwait(false);
            _output.Write("}\n"u8);
            await _output.FlushAsync(leaving).ConfigureAwait(false);
        }
        finally
        {
            _writing.Release();
        }
    }

    private async Task WriteLineAsync(Action write, CancellationToken leaving)
    {
        await _writing.WaitAsync(leaving).ConfigureAwait(false);
        try
        {
            write();
            await _output.FlushAsync(leaving).ConfigureAwait(false);
        }
        finally
        {
            _writing.Release();
        }
    }

    private async Task PumpEventsAsync(EventSubscription events, CancellationToken leaving)
    {
        try
        {
            await foreach (EventInfo change in events.ReadAllAsync(leaving).ConfigureAwait(false))
            {
                await WriteLineAsync(() => RpcResponse.WriteEvent(_output, change), leaving).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            // The reading side notices too and ends the connection.
        }
        catch (Exception e)
        {
            _log($"api: events stopped: {e}");
        }
    }
}
