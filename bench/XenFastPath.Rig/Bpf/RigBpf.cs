// bench/rig/rig.bpf.c, loaded with libbpf. Each user has an object of its own, and so maps of its own.
using System.Runtime.InteropServices;
using XenFastPath.Interop;
using XenFastPath.Rig.Lab;

namespace XenFastPath.Rig.Bpf;

/// <summary>struct rig_size; length and checksum in network order.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RigSize
{
    public ushort Bytes, TotalLength, Checksum;
    private readonly ushort _pad;
}

/// <summary>struct rig_config.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct RigConfig
{
    public const int SizesMax = 12;

    public ulong IntervalNs, BurstNs;
    public uint OutIfindex, Destinations, Sources, Stride, Sizes, Base;
    public ulong Limit;
    public fixed ulong Size[SizesMax];
}

/// <summary>struct rig_state.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RigState
{
    public ulong Sent, DueNs;
    public uint Index, Slot;
}

/// <summary>Owns the libbpf object; the descriptors live as long.</summary>
internal sealed unsafe class RigBpf : IDisposable
{
    private static readonly int s_cpus = LibBpf.libbpf_num_possible_cpus();
    private readonly nint _object;

    public RigBpf()
    {
        using Stream stream = typeof(RigBpf).Assembly.GetManifestResourceStream("rig.bpf.o") ?? throw new RigException("this build has no rig.bpf.o");
        byte[] elf = new byte[stream.Length];
        stream.ReadExactly(elf);
        // Safety: libbpf copies the ELF image; the pointers are pinned for the call.
        fixed (byte* data = elf, name = "rig\0"u8)
        {
            bpf_object_open_opts options = new() { sz = (nuint)sizeof(bpf_object_open_opts), object_name = name };
            _object = LibBpf.bpf_object__open_mem(data, (nuint)elf.Length, &options);
        }

        if (_object == 0)
            throw new SystemCallException("open rig.bpf.o", Errno.Last);
        int error = -LibBpf.bpf_object__load(_object);
        if (error == 0)
            return;
        LibBpf.bpf_object__close(_object);
        throw new SystemCallException("load rig.bpf.o", error);
    }

    public int Program(string name) => LibBpf.bpf_program__fd(LibBpf.bpf_object__find_program_by_name(_object, name));

    public void Set<T>(string map, T value)
        where T : unmanaged
    {
        int key = 0;
        int error = -LibBpf.bpf_map_update_elem(Map(map), &key, &value, LibBpf.BPF_ANY);
        if (error != 0)
            throw new SystemCallException("write map " + map, error);
    }

    public T Get<T>(string map)
        where T : unmanaged
    {
        int key = 0;
        T value = default;
        int error = -LibBpf.bpf_map_lookup_elem(Map(map), &key, &value);
        return error == 0 ? value : throw new SystemCallException("read map " + map, error);
    }

    /// <summary>A 64-bit counter that each CPU has for itself, summed.</summary>
    public long Sum(string map, int row)
    {
        long* values = stackalloc long[s_cpus];
        int error = -LibBpf.bpf_map_lookup_elem(Map(map), &row, values);
        if (error != 0)
            throw new SystemCallException("read map " + map, error);
        long sum = 0;
        for (int i = 0; i < s_cpus; i++)
            sum += values[i];
        return sum;
    }

    public void Dispose() => LibBpf.bpf_object__close(_object);

    private int Map(string name) => LibBpf.bpf_object__find_map_fd_by_name(_object, name);
}
