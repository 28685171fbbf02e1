// What is lost behind a redirect in XDP is counted by programs on the kernel's tracepoints (native/lost.bpf.c).
using XenFastPath.Interop;
using static Tmds.Linux.LibC;

namespace XenFastPath.Daemon.FastPath;

/// <summary>
/// Loads and attaches them once they are needed; they go with this process. Where the kernel cannot (it takes BTF), the losses are in
/// the devices' own counters only, and the log says so.
/// </summary>
internal sealed unsafe class RedirectLosses(string bpffs, PinFolder pins) : IDisposable
{
    private static readonly string[] s_programs = ["xfp_devmap_xmit", "xfp_redirect_err"];

    private readonly List<int> _links = [];
    private BpfProgram? _program;
    private bool _isMissing;

    /// <summary>From now on losses are counted.</summary>
    public void Count()
    {
        if (_program is not null || _isMissing)
            return;
        try
        {
            _program = BpfProgram.Load(bpffs, pins, "lost");
            foreach (string name in s_programs)
            {
                int link = LibBpf.bpf_link_create(_program.Program(name), 0, LibBpf.BPF_TRACE_RAW_TP, null);
                if (link < 0)
                    throw new FastPathException($"{name}: {Errno.Describe(-link)}");
                _links.Add(link);
            }
        }
        catch (FastPathException e)
        {
            _isMissing = true;
            Log.Warning("what drivers lose of redirected XDP frames is not counted: " + e.Message);
        }
    }

    public void Dispose()
    {
        foreach (int link in _links)
            close(link);
        _links.Clear();
        _program?.Dispose();
    }
}
