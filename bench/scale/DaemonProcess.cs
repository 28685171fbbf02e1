// An xenfastpathd of our own in a namespace, with its forwarder.
using System.Diagnostics;
using XenFastPath.Api;

namespace XenFastPath.Scale;

/// <summary>Ended with its forwarder, and its files removed, when disposed.</summary>
internal sealed class DaemonProcess : IDisposable
{
    private const int KillSignal = 9, TermSignal = 15;

    private readonly string _folder, _bin, _netns, _more;
    private Process? _process;

    public DaemonProcess(string folder, string bin, string netns, string more = "")
    {
        _folder = Directory.CreateDirectory(Path.Combine(folder, "d" + Path.GetRandomFileName())).FullName;
        _bin = bin;
        _netns = netns;
        _more = more;
        Directory.CreateDirectory(Bpffs);
        Directory.CreateDirectory(RunDir);
        Tool.Run("mount", "-t", "bpf", "bpf", Bpffs);
        Start();
    }

    public string Socket => Path.Combine(RunDir, "xenfastpath.sock");

    public int Pid => _process!.Id;

    /// <summary>The forwarder that serves now.</summary>
    public int ForwarderPid => Call(ApiMethods.Show, new Empty()).Forwarder.Pid ?? throw new InvalidOperationException("no forwarder: " + LogFile);

    public string LogFile => Path.Combine(_folder, "log");

    public string StateDir => Path.Combine(_folder, "state");

    private string RunDir => Path.Combine(_folder, "run");

    private string Bpffs => Path.Combine(_folder, "bpf");

    /// <summary>Starts it; until it has the machine as it is wanted and answers.</summary>
    public Cost Start()
    {
        File.Delete(Socket);
        Stopwatch watch = Stopwatch.StartNew();
        string command = $"{_bin}/xenfastpathd --run-dir {RunDir} --state-dir {StateDir} --bpffs {Bpffs} {_more}";
        _process = Tool.Start("/bin/sh", "-c", $"exec nsenter --net=/run/netns/{_netns} {command} >>{LogFile} 2>&1");
        Tool.Until(() => _process.HasExited || Answers(), "xenfastpathd answers; " + LogFile);
        if (_process.HasExited)
            throw new InvalidOperationException("xenfastpathd ended: " + File.ReadAllText(LogFile));
        double ms = watch.Elapsed.TotalMilliseconds;
        return new Cost(ms, Tool.CpuSeconds(Pid) * 1000);
    }

    /// <summary>Ends the daemon; the forwarder goes on.</summary>
    public void Stop()
    {
        _ = Tmds.Linux.LibC.kill(Pid, TermSignal);
        _process!.WaitForExit();
    }

    /// <summary>Asks the API on a connection of its own.</summary>
    public TResult Call<TParams, TResult>(ApiMethod<TParams, TResult> method, TParams parameters)
    {
        ApiClient client = ApiClient.ConnectAsync(Socket).GetAwaiter().GetResult();
        try
        {
            return client.CallAsync(method, parameters).GetAwaiter().GetResult();
        }
        finally
        {
            client.DisposeAsync().AsTask().GetAwaiter().GetResult();
        }
    }

    /// <summary>Runs the command line; what it and the daemon took for it.</summary>
    public Cost Xfp(params string[] arguments)
    {
        double before = Tool.CpuSeconds(Pid);
        Cost client = Tool.Time($"{_bin}/xfp", ["--socket", Socket, .. arguments]);
        return client with { CpuMs = client.CpuMs + (Tool.CpuSeconds(Pid) - before) * 1000 };
    }

    public void Dispose()
    {
        int forwarder = 0;
        if (_process is { HasExited: false })
        {
            forwarder = ForwarderPid;
            _ = Tmds.Linux.LibC.kill(Pid, KillSignal);
            _process.WaitForExit();
        }

        if (forwarder != 0)
        {
            _ = Tmds.Linux.LibC.kill(forwarder, KillSignal);
            Tool.Until(() => !File.Exists($"/proc/{forwarder}/stat") || File.ReadAllText($"/proc/{forwarder}/stat").Contains(") Z ", StringComparison.Ordinal),
                $"forwarder {forwarder} ends");
        }

        Tool.Run("umount", Bpffs);
        Directory.Delete(_folder, recursive: true);
    }

    private bool Answers()
    {
        try
        {
            Call(ApiMethods.FdbSync, new Empty());
            return true;
        }
        catch (DaemonUnreachableException)
        {
            return false;
        }
    }
}
