// bpf/libbpf.h and bpf/bpf.h, from libbpf.so.1: ELF objects, maps, programs, links. Kernel-facing structs of linux/bpf.h.
using System.Runtime.InteropServices;

namespace XenFastPath.Interop;

/// <summary>
/// Imports from libbpf 1.x. Since 1.0 functions that return int return -errno (and set errno); functions that return
/// pointers return NULL and set errno.
/// </summary>
public static unsafe partial class LibBpf
{
    private const string Library = "libbpf.so.1";

    public const int BPF_TRACE_RAW_TP = 23, BPF_XDP = 37, BPF_TCX_INGRESS = 46, BPF_TCX_EGRESS = 47;
    public const ulong BPF_ANY = 0;
    public const uint XDP_FLAGS_SKB_MODE = 2, XDP_FLAGS_DRV_MODE = 4;

    /// <summary>In bpf_test_run_opts: the frames are real ones and go where the program sends them (kernel 5.18).</summary>
    public const uint BPF_F_TEST_XDP_LIVE_FRAMES = 2;

    [LibraryImport(Library, SetLastError = true)]
    public static partial nint bpf_object__open_mem(void* data, nuint size, bpf_object_open_opts* opts);

    [LibraryImport(Library)]
    public static partial int bpf_object__load(nint obj);

    [LibraryImport(Library)]
    public static partial void bpf_object__close(nint obj);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8, SetLastError = true)]
    public static partial nint bpf_object__find_program_by_name(nint obj, string name);

    [LibraryImport(Library)]
    public static partial int bpf_program__fd(nint program);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int bpf_object__find_map_fd_by_name(nint obj, string name);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint bpf_object__find_map_by_name(nint obj, string name);

    [LibraryImport(Library)]
    public static partial int bpf_map__set_max_entries(nint map, uint entries);

    [LibraryImport(Library)]
    public static partial int bpf_map_update_elem(int fd, void* key, void* value, ulong flags);

    [LibraryImport(Library)]
    public static partial int bpf_map_lookup_elem(int fd, void* key, void* value);

    [LibraryImport(Library)]
    public static partial int bpf_map_delete_elem(int fd, void* key);

    /// <summary>On return <paramref name="count"/> elements were read; -ENOENT: they were the last. A null <paramref name="inBatch"/> begins.</summary>
    [LibraryImport(Library)]
    public static partial int bpf_map_lookup_batch(int fd, void* inBatch, void* outBatch, void* keys, void* values, uint* count, void* opts);

    [LibraryImport(Library)]
    public static partial int bpf_link_create(int progFd, int targetFd, int attachType, bpf_link_create_opts* opts);

    [LibraryImport(Library)]
    public static partial int bpf_link_update(int linkFd, int newProgFd, void* opts);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int bpf_obj_pin(int fd, string path);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int bpf_obj_get(string path);

    [LibraryImport(Library)]
    public static partial int bpf_obj_get_info_by_fd(int fd, void* info, uint* infoLength);

    [LibraryImport(Library)]
    public static partial int bpf_prog_query(int targetFd, int attachType, uint queryFlags, uint* attachFlags, uint* ids, uint* count);

    [LibraryImport(Library)]
    public static partial int bpf_prog_get_fd_by_id(uint id);

    [LibraryImport(Library)]
    public static partial int bpf_prog_test_run_opts(int progFd, bpf_test_run_opts* opts);

    [LibraryImport(Library)]
    public static partial int libbpf_num_possible_cpus();

    /// <summary>int (*libbpf_print_fn_t)(enum libbpf_print_level, const char *, va_list); NULL silences libbpf.</summary>
    [LibraryImport(Library)]
    public static partial nint libbpf_set_print(nint function);
}

/// <summary>struct bpf_object_open_opts up to and including kernel_log_level (libbpf 1.1).</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct bpf_object_open_opts
{
    public nuint sz;
    public byte* object_name;
    public byte relaxed_maps;
    public byte* pin_root_path;
    public uint reserved;
    public byte* kconfig;
    public byte* btf_custom_path;
    public byte* kernel_log_buf;
    public nuint kernel_log_size;
    public uint kernel_log_level;
}

/// <summary>struct bpf_link_create_opts without its per-type union.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct bpf_link_create_opts
{
    public nuint sz;
    public uint flags;
    public void* iter_info;
    public uint iter_info_len;
    public uint target_btf_id;
}

/// <summary>struct bpf_test_run_opts (bpf/bpf.h).</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct bpf_test_run_opts
{
    public nuint sz;
    public void* data_in;
    public void* data_out;
    public uint data_size_in;
    public uint data_size_out;
    public void* ctx_in;
    public void* ctx_out;
    public uint ctx_size_in;
    public uint ctx_size_out;
    public uint retval;
    public int repeat;
    public uint duration;
    public uint flags;
    public uint cpu;
    public uint batch_size;
}

/// <summary>struct xdp_md (linux/bpf.h), the context given to a test run of an XDP program.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct xdp_md
{
    public uint data;
    public uint data_end;
    public uint data_meta;
    public uint ingress_ifindex;
    public uint rx_queue_index;
    public uint egress_ifindex;
}

/// <summary>struct bpf_map_info (linux/bpf.h), the first fields.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct bpf_map_info
{
    public uint type;
    public uint id;
    public uint key_size;
    public uint value_size;
    public uint max_entries;
    public uint map_flags;
    public fixed byte name[16];
}

/// <summary>struct bpf_prog_info (linux/bpf.h), the first fields.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct bpf_prog_info
{
    public uint type;
    public uint id;
    public fixed byte tag[8];
    public uint jited_prog_len;
    public uint xlated_prog_len;
    public ulong jited_prog_insns;
    public ulong xlated_prog_insns;
    public ulong load_time;
    public uint created_by_uid;
    public uint nr_map_ids;
    public ulong map_ids;
    public fixed byte name[16];
}
