// tcx programs that are not ours: frames on the fast path do not meet them.
using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Text;
using XenFastPath.Interop;
using XenFastPath.Reconcile;
using static Tmds.Linux.LibC;

namespace XenFastPath.Daemon.FastPath;

/// <summary>Asks the kernel which programs hang on a device's tcx hooks (BPF_PROG_QUERY).</summary>
internal static unsafe class ForeignPrograms
{
    private const int ProgramsMax = 64, NamesMax = 4096;

    /// <summary>Names of programs by id, which stay what they are: most ports of a host have the same few.</summary>
    private static readonly ConcurrentDictionary<uint, string> s_names = new();

    /// <summary>In words, such as "tcx program tracer (id 17)". Empty on kernels without tcx.</summary>
    public static IReadOnlyList<string> On(int ifindex)
    {
        List<string> found = [];
        uint* ids = stackalloc uint[ProgramsMax];
        foreach (int hook in (int[])[LibBpf.BPF_TCX_INGRESS, LibBpf.BPF_TCX_EGRESS])
        {
            uint count = ProgramsMax, flags;
            if (LibBpf.bpf_prog_query(ifindex, hook, 0, &flags, ids, &count) != 0)
                continue;
            for (uint i = 0; i < count; i++)
            {
                if (NameOf(ids[i]) is { } name && !name.StartsWith(Bypass.OwnFilterPrefix, StringComparison.Ordinal))
                    found.Add($"tcx program {name} (id {ids[i]})");
            }
        }

        return found;
    }

    private static string? NameOf(uint id)
    {
        if (s_names.TryGetValue(id, out string? known))
            return known;
        if (ReadName(id) is not { } name)
            return null;
        if (s_names.Count >= NamesMax)
            s_names.Clear();
        return s_names[id] = name;
    }

    private static string? ReadName(uint id)
    {
        int fd = LibBpf.bpf_prog_get_fd_by_id(id);
        if (fd < 0)
            return null;
        bpf_prog_info info = default;
        uint length = (uint)sizeof(bpf_prog_info);
        int error = LibBpf.bpf_obj_get_info_by_fd(fd, &info, &length);
        close(fd);
        return error != 0 ? null : Encoding.ASCII.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(info.name));
    }
}
