// BPF programs run by the kernel on single frames (BPF_PROG_TEST_RUN), with a BPF file system and a network namespace of their own.
using XenFastPath.Daemon.FastPath;
using XenFastPath.Interop;

namespace XenFastPath.KernelTests.Lab;

internal sealed unsafe class ProgramRun : IDisposable
{
    private readonly string _bpffs = Directory.CreateTempSubdirectory("xfp-bpf-").FullName;

    /// <summary>Loads native/OBJECT.bpf.c.</summary>
    public ProgramRun(string objectName)
    {
        Netns = new Netns($"xfp{Environment.ProcessId}-{objectName}");
        Tool.Run("mount", "-t", "bpf", "bpf", _bpffs);
        Program = BpfProgram.Load(_bpffs, new PinFolder(_bpffs, "/run/test"), objectName);
    }

    public Netns Netns { get; }

    public BpfProgram Program { get; }

    /// <summary>An XDP program's action on a frame that a queue of a device has received. In the namespace of the calling thread.</summary>
    public static int Xdp(int program, byte[] frame, int ingressIfindex, int queue) => Xdp(program, frame, ingressIfindex, queue, [], out _);

    /// <summary>The same, with what has become of the frame in <paramref name="left"/>, if there is room.</summary>
    public static int Xdp(int program, byte[] frame, int ingressIfindex, int queue, byte[] left, out int leftBytes)
    {
        xdp_md context = new() { data_end = (uint)frame.Length, ingress_ifindex = (uint)ingressIfindex, rx_queue_index = (uint)queue };
        return Run(program, frame, &context, sizeof(xdp_md), left, out leftBytes);
    }

    /// <summary>A tc program's action on a frame at a device that came in by another. In the namespace of the calling thread.</summary>
    public static int Tc(int program, byte[] frame, int ingressIfindex, int ifindex)
    {
        // struct __sk_buff
        const int skBuffBytes = 192, ingressIfindexOffset = 36, ifindexOffset = 40;
        byte* context = stackalloc byte[skBuffBytes];
        new Span<byte>(context, skBuffBytes).Clear();
        *(int*)(context + ingressIfindexOffset) = ingressIfindex;
        *(int*)(context + ifindexOffset) = ifindex;
        return Run(program, frame, context, skBuffBytes, [], out _);
    }

    public void Dispose()
    {
        Program.Dispose();
        Tool.TryRun("umount", _bpffs);
        Directory.Delete(_bpffs);
        Netns.Dispose();
    }

    private static int Run(int program, byte[] frame, void* context, int contextBytes, byte[] left, out int leftBytes)
    {
        fixed (byte* data = frame, output = left)
        {
            bpf_test_run_opts options = new()
            {
                sz = (nuint)sizeof(bpf_test_run_opts), data_in = data, data_size_in = (uint)frame.Length,
                data_out = output, data_size_out = (uint)left.Length, ctx_in = context, ctx_size_in = (uint)contextBytes, repeat = 1,
            };
            Assert.Equal(0, LibBpf.bpf_prog_test_run_opts(program, &options));
            leftBytes = (int)options.data_size_out;
            return (int)options.retval;
        }
    }
}
