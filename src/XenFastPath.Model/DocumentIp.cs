// This host's addresses on a PIF, in a document for people.
namespace XenFastPath.Model;

/// <summary>
/// An IP configuration in the words of <c>pif reconfigure-ip</c>; routes are SUBNET=GATEWAY. A family without mode has mode none. A PIF
/// without it keeps what it has: this host's own address is not taken away by leaving it out.
/// </summary>
public sealed record DocumentIp(
    string? Mode = null, string? Ip = null, string? Gateway = null, string? Ipv6Mode = null, string? Ipv6 = null, string? Gateway6 = null,
    IReadOnlyList<string>? Dns = null, string? Domain = null, IReadOnlyList<string>? Routes = null)
{
    internal static DocumentIp? Of(IpConfiguration? ip) => ip is null ? null : new DocumentIp(
        WordOf(ip.Ipv4), ip.Ipv4.Address, ip.Ipv4.Gateway, WordOf(ip.Ipv6), ip.Ipv6.Address, ip.Ipv6.Gateway,
        ip.Dns.Length > 0 ? ip.Dns : null, ip.Domain, ip.Routes.Length > 0 ? [.. ip.Routes.Select(r => $"{r.Subnet}={r.Gateway}")] : null);

    /// <summary>The same for the state; null: nothing is managed.</summary>
    /// <exception cref="RefusalException">A value breaks a rule.</exception>
    internal IpConfiguration? Configuration(string subject)
    {
        IpConfiguration ip = new(
            new IpFamily(IpRules.ParseMode(subject, Mode ?? IpRules.Word(IpMode.None), isIpv6: false), Ip, Gateway),
            new IpFamily(IpRules.ParseMode(subject, Ipv6Mode ?? IpRules.Word(IpMode.None), isIpv6: true), Ipv6, Gateway6),
            [.. Dns ?? []], Domain, [.. (Routes ?? []).Select(r => IpRules.ParseRoute(subject, r))]);
        IpRules.Check(subject, ip);
        return ip.IsNone ? null : ip;
    }

    private static string? WordOf(IpFamily family) => family.Mode == IpMode.None ? null : IpRules.Word(family.Mode);
}
