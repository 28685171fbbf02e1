// An open TCP connection between two namespaces, as an administrator's ssh: a byte every millisecond goes there and comes back.
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace XenFastPath.KernelTests.Lab;

/// <summary>Talks from its making until it is disposed; notes the longest silence.</summary>
internal sealed class TcpTalk : IDisposable
{
    private const int EveryMs = 1;

    private readonly Socket _listener, _server, _client;
    private readonly Thread _echo, _send, _receive;
    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private long _lastTicks, _gapTicks, _received;
    private volatile bool _stop;
    private volatile Exception? _failure;

    public TcpTalk(Netns server, Netns client, string address, int port = 2222)
    {
        IPEndPoint endpoint = new(IPAddress.Parse(address), port);
        _listener = server.Inside(() =>
        {
            Socket listener = new(endpoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            listener.Bind(endpoint);
            listener.Listen();
            return listener;
        });
        _client = client.Inside(() =>
        {
            Socket socket = new(endpoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true, ReceiveTimeout = 30_000 };
            socket.Connect(endpoint);
            return socket;
        });
        _server = _listener.Accept();
        _server.NoDelay = true;
        _echo = Start(Echo);
        _receive = Start(Receive);
        _send = Start(Send);
        Tool.Eventually(() => Received > 50, "the connection talks");
        TakeGapMs();
    }

    /// <summary>Bytes that came back.</summary>
    public long Received => Interlocked.Read(ref _received);

    /// <summary>The longest silence since the last call, ms; also counts one that still goes on.</summary>
    public double TakeGapMs()
    {
        long open = _clock.ElapsedTicks - Interlocked.Read(ref _lastTicks);
        return Math.Max(Interlocked.Exchange(ref _gapTicks, 0), open) * 1000.0 / Stopwatch.Frequency;
    }

    /// <summary>The same connection still carries bytes both ways.</summary>
    public void AssertAlive(string when)
    {
        long before = Received;
        Tool.Eventually(() => _failure is not null || Received > before + 100, $"the connection goes on {when}");
        Assert.True(_failure is null, $"{when}: {_failure?.Message}");
    }

    public void Dispose()
    {
        _stop = true;
        _client.Dispose();
        _server.Dispose();
        _listener.Dispose();
        foreach (Thread thread in (Thread[])[_send, _receive, _echo])
            thread.Join();
    }

    private Thread Start(Action loop)
    {
        Thread thread = new(() =>
        {
            try
            {
                loop();
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                if (!_stop)
                    _failure = e;
            }
        });
        thread.Start();
        return thread;
    }

    private void Send()
    {
        byte[] one = [42];
        while (!_stop)
        {
            _client.Send(one);
            Tmds.Linux.LibC.usleep(EveryMs * 1000);
        }
    }

    private void Echo()
    {
        byte[] some = new byte[4096];
        while (!_stop && _server.Receive(some) is var count and > 0)
            _server.Send(some.AsSpan(0, count));
    }

    private void Receive()
    {
        byte[] some = new byte[4096];
        while (!_stop && _client.Receive(some) is var count and > 0)
        {
            long now = _clock.ElapsedTicks, gap = now - Interlocked.Exchange(ref _lastTicks, now);
            if (gap > Interlocked.Read(ref _gapTicks))
                Interlocked.Exchange(ref _gapTicks, gap);
            Interlocked.Add(ref _received, count);
        }
    }
}
