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

    /// <summary>All keys. Those that come or go meanwhile may be missed, or be there twice.</summary>
    public static List<TKey> Keys<TKey>(int map)
        where TKey : unmanaged
    {
        List<TKey> keys = [];
        TKey next, previous;
        TKey* key = null;
        while (LibBpf.bpf_map_get_next_key(map, key, &next) == 0)
        {
            keys.Add(next);
            previous = next;
            key = &previous;
        }

        return keys;
    }

    /// <summary>All keys with their values; see <see cref="Keys"/>.</summary>
    public static IEnumerable<(TKey Key, TValue Value)> Entries<TKey, TValue>(int map)
        where TKey : unmanaged
        where TValue : unmanaged
    {
        foreach (TKey key in Keys<TKey>(map))
        {
            if (TryGet(map, key, out TValue value))
                yield return (key, value);
        }
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
