// The opponent: the same bridges with the same settings and the same vifs in them, made by ip -batch.
using System.Text;

namespace XenFastPath.Scale;

internal static class IpArm
{
    /// <summary>For the links, for the sysctls, and for the policy by tc, which has no part in the comparison.</summary>
    public sealed record Times(Cost Links, Cost Sysctls, Cost Policy)
    {
        public Cost Total => Links + Sysctls;
    }

    public static Times Run(string folder, int networks, int vifs)
    {
        using Dom0 dom0 = new(folder, vifs);
        Cost links = dom0.Batch(dom0.Name, Lines(networks, vifs));
        string script = Path.Combine(folder, "sysctls");
        IEnumerable<string> writes = Enumerable.Range(1, networks).Select(n => $"echo 0 >/proc/sys/net/ipv6/conf/net{n}/accept_ra\n");
        File.WriteAllText(script, string.Concat(writes), Encoding.ASCII);
        Cost sysctls = Tool.Time("nsenter", $"--net=/run/netns/{dom0.Name}", "sh", script);
        // What frames with a tag meet; one instruction here instead of the program's.
        Cost policy = dom0.Batch(dom0.Name, Enumerable.Range(1, vifs).SelectMany(v => (string[])
            [$"qdisc add dev {Dom0.Vif(v)} clsact", $"filter add dev {Dom0.Vif(v)} ingress bpf direct-action bytecode '1,6 0 0 0'"]), "tc");
        return new Times(links, sysctls, policy);
    }

    private static IEnumerable<string> Lines(int networks, int vifs)
    {
        for (int n = 1; n <= networks; n++)
        {
            yield return $"link add name net{n} mtu 1500 address 02:00:00:01:{n >> 8:x2}:{n & 255:x2} type bridge forward_delay 0 stp_state 0 mcast_snooping 0";
            yield return $"link set dev net{n} alias xenfastpath:00000000-0000-4000-8000-{n:x12} addrgenmode none up";
        }

        // Two lines: in one the kernel would set it up before it reads the mode.
        for (int v = 1; v <= vifs; v++)
        {
            yield return $"link set dev {Dom0.Vif(v)} addrgenmode none";
            yield return $"link set dev {Dom0.Vif(v)} master {Dom0.NetworkOf(v, networks)} up";
        }
    }
}
