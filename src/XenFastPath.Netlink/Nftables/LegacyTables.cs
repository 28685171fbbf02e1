// The tables of iptables, ip6tables and ebtables in their legacy form, read only: how many rules there are. They have no netlink
// interface; the kernel tells their size by getsockopt (linux/netfilter_ipv4/ip_tables.h, linux/netfilter_bridge/ebtables.h).
using System.Text;
using Tmds.Linux;
using static Tmds.Linux.LibC;

namespace XenFastPath.Netlink;

/// <summary>Looks into legacy tables without loading a module that is not there already.</summary>
public static unsafe class LegacyTables
{
    private const int IPT_SO_GET_INFO = 64, IP6T_SO_GET_INFO = 64, EBT_SO_GET_INFO = 128;
    private const int TableNameBytes = 32, HooksMax = 5;

    /// <summary>struct ipt_getinfo; struct ip6t_getinfo is the same.</summary>
    private struct XtInfo
    {
        public fixed byte name[TableNameBytes];
        public uint valid_hooks;
        public fixed uint hook_entry[HooksMax];
        public fixed uint underflow[HooksMax];
        public uint num_entries;
        public uint size;
    }

    /// <summary>struct ebt_replace.</summary>
    private struct EbtInfo
    {
        public fixed byte name[TableNameBytes];
        public uint valid_hooks;
        public uint nentries;
        public uint entries_size;
        public fixed ulong hook_entry[6];
        public uint num_counters;
        public ulong counters;
        public ulong entries;
    }

    /// <summary>Tables with rules, such as "iptables filter (3 rules)". <paramref name="ipv6"/> chooses ip6tables.</summary>
    public static List<string> FindIpTables(bool ipv6)
    {
        List<string> found = [];
        string list = ipv6 ? "/proc/net/ip6_tables_names" : "/proc/net/ip_tables_names";
        if (!File.Exists(list))
            return found;
        int fd = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
        if (fd < 0)
            return found;
        foreach (string table in File.ReadAllLines(list))
        {
            XtInfo info = default;
            socklen_t length = sizeof(XtInfo);
            Encoding.ASCII.GetBytes(table, new Span<byte>(info.name, TableNameBytes - 1));
            if (getsockopt(fd, ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, ipv6 ? IP6T_SO_GET_INFO : IPT_SO_GET_INFO, &info, &length) != 0)
                continue;
            // A table without rules has a policy entry for each of its hooks, and one that ends it.
            int rules = (int)info.num_entries - System.Numerics.BitOperations.PopCount(info.valid_hooks) - 1;
            if (rules > 0)
                found.Add($"{(ipv6 ? "ip6tables" : "iptables")} {table} ({rules} rules)");
        }

        close(fd);
        return found;
    }

    /// <summary>Tables of ebtables with rules. Asking for a table would load its module, so only loaded ones are asked for.</summary>
    public static List<string> FindEbTables()
    {
        List<string> found = [];
        string[] loaded = File.Exists("/proc/modules") ? File.ReadAllLines("/proc/modules") : [];
        int fd = -1;
        foreach (string table in (string[])["filter", "nat", "broute"])
        {
            if (!loaded.Any(l => l.StartsWith($"ebtable_{table} ", StringComparison.Ordinal)))
                continue;
            fd = fd >= 0 ? fd : socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
            EbtInfo info = default;
            socklen_t length = sizeof(EbtInfo);
            Encoding.ASCII.GetBytes(table, new Span<byte>(info.name, TableNameBytes - 1));
            if (getsockopt(fd, IPPROTO_IP, EBT_SO_GET_INFO, &info, &length) == 0 && info.nentries > 0)
                found.Add($"ebtables {table} ({info.nentries} rules)");
        }

        if (fd >= 0)
            close(fd);
        return found;
    }
}
