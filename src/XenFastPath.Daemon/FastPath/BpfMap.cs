// What every BPF map is asked in the same way: its keys, and rows of counters that each CPU has for itself.
using XenFastPath.Interop;

namespace XenFastPath.Daemon.FastPath;

/// <summary>System calls on a map by its descriptor. The type arguments are what the map was made with.</summary>
internal static unsafe class BpfMap
{
    private static readonly int s_cpus = LibBpf.libbpf_num_possible_cpus();

    /// <summary>What the kernel tells of a map; zeros if it does not.</summary>
    public static bpf_map_info InfoOf(int map)
    {
        bpf_map_info info = default;
        uint length = (uint)sizeof(bpf_map_info);
        return LibBpf.bpf_obj_get_info_by_fd(map, &info, &length) == 0 ? info : default;
    }

    /// <summary>Enters a value.</summary>
    /// <exception cref="SystemCallException">The map holds no more.</exception>
    public static void Set<TKey, TValue>(int map, TKey key, TValue value, string step)
        where TKey : unmanaged
        where TValue : unmanaged
    {
        int result = LibBpf.bpf_map_update_elem(map, &key, &value, LibBpf.BPF_ANY);
        if (result != 0)
            throw new SystemCallException(step, -result);
    }

    /// <summary>The value of a key, if it is there.</summary>
    public static bool TryGet<TKey, TValue>(int map, TKey key, out TValue value)
        where TKey : unmanaged
        where TValue : unmanaged
    {
        TValue found;
        bool exists = LibBpf.bpf_map_lookup_elem(map, &key, &found) == 0;
        value = exists ? found : default;
        return exists;
    }

    public static void Delete<TKey>(int map, TKey key)
        where TKey : unmanaged => LibBpf.bpf_map_delete_elem(map, &key);

    /// <summary>All keys of a hash with their values; see <see cref="Each"/>.</summary>
    /// <exception cref="SystemCallException">It cannot be read.</exception>
    public static List<(TKey Key, TValue Value)> Entries<TKey, TValue>(int map)
        where TKey : unmanaged
        where TValue : unmanaged
    {
        const int batchMax = 1024;
        List<(TKey, TValue)> entries = [];
        Each(map, "read a map", new TKey[batchMax], new TValue[batchMax], (key, value) => entries.Add((key, value)));
        return entries;
    }

    /// <summary>
    /// Goes over a hash, as many elements with one system call as the arrays hold (Linux 5.6). Those that come or go meanwhile may be
    /// missed, or be there twice.
    /// </summary>
    /// <exception cref="SystemCallException">It cannot be read.</exception>
    public static void Each<TKey, TValue>(int map, string step, TKey[] keys, TValue[] values, Action<TKey, TValue> action)
        where TKey : unmanaged
        where TValue : unmanaged
    {
        uint cursor, next;
        uint* from = null;
        int error;
        do
        {
            uint count = (uint)keys.Length;
            fixed (TKey* key = keys)
            fixed (TValue* value = values)
                error = -LibBpf.bpf_map_lookup_batch(map, from, &next, key, value, &count, null);
            if (error is not (0 or Errno.ENOENT))
                throw new SystemCallException(step, error);
            for (int i = 0; i < count; i++)
                action(keys[i], values[i]);
            cursor = next;
            from = &cursor;
        }
        while (error == 0);
    }

    /// <summary>A row of so many 64-bit words of an array per CPU, summed over the CPUs.</summary>
    public static long[] Row(int map, int index, int words)
    {
        long[] perCpu = new long[s_cpus * words];
        long[] sum = new long[words];
        fixed (long* row = perCpu)
        {
            if (LibBpf.bpf_map_lookup_elem(map, &index, row) != 0)
                return sum;
        }

        for (int i = 0; i < perCpu.Length; i++)
            sum[i % words] += perCpu[i];
        return sum;
    }

    /// <summary>Sets such a row to zero on every CPU.</summary>
    public static void ClearRow(int map, int index, int words)
    {
        fixed (long* zeros = new long[s_cpus * words])
            LibBpf.bpf_map_update_elem(map, &index, zeros, LibBpf.BPF_ANY);
    }
}
