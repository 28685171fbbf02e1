// Where this host's own addresses on a PIF come from: nowhere, a request, or a DHCP server.
using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;
using System.Text.Json.Serialization;

namespace XenFastPath.Model;

/// <summary>Source of a PIF's addresses, one family. XAPI's words.</summary>
public enum IpMode
{
    /// <summary>Nothing is managed; what somebody else has put there stays.</summary>
    None,
    Static,

    /// <summary>An installed DHCP client does it.</summary>
    Dhcp,

    /// <summary>IPv6 only: the kernel makes addresses from routers' advertisements.</summary>
    Autoconf,
}

/// <summary>One family's addresses. <paramref name="Address"/> ("192.0.2.10/24") and <paramref name="Gateway"/> are of <see cref="IpMode.Static"/>.</summary>
public sealed record IpFamily(IpMode Mode, string? Address = null, string? Gateway = null);

/// <summary>A route "SUBNET=GATEWAY" besides the default one.</summary>
public sealed record IpRoute(string Subnet, string Gateway);

/// <summary>
/// A PIF's IP configuration (XAPI: PIF.reconfigure_ip, PIF.reconfigure_ipv6). It is in force on the bridge of the PIF's Network, or on
/// the PIF's device while that serves none.
/// </summary>
public sealed record IpConfiguration(IpFamily Ipv4, IpFamily Ipv6, ImmutableArray<string> Dns, string? Domain, ImmutableArray<IpRoute> Routes)
{
    /// <summary>Nothing is managed.</summary>
    public static IpConfiguration None { get; } = new(new IpFamily(IpMode.None), new IpFamily(IpMode.None), [], null, []);

    /// <summary>Is there nothing to manage?</summary>
    [JsonIgnore]
    public bool IsNone => Ipv4.Mode == IpMode.None && Ipv6.Mode == IpMode.None;

    public bool Equals(IpConfiguration? other) => other is not null && Ipv4 == other.Ipv4 && Ipv6 == other.Ipv6 && Domain == other.Domain
        && Dns.SequenceEqual(other.Dns) && Routes.SequenceEqual(other.Routes);

    public override int GetHashCode() => HashCode.Combine(Ipv4, Ipv6, Domain, Dns.Length, Routes.Length);
}

/// <summary>Checks of an IP configuration. Each refusal names the value and the rule; <c>subject</c> is the PIF's device.</summary>
public static class IpRules
{
    private const int DomainCharsMax = 253, DnsMax = 8;

    /// <summary>Parses "SUBNET=GATEWAY"; whether both are addresses is for <see cref="Check(string, IpConfiguration)"/>.</summary>
    /// <exception cref="RefusalException">It is not of this form.</exception>
    public static IpRoute ParseRoute(string subject, string text) => text.Split('=') is [var subnet, var gateway]
        ? new IpRoute(subnet, gateway)
        : throw new RefusalException(subject, $"route \"{text}\" is not SUBNET=GATEWAY (10.0.0.0/8=192.0.2.1)");

    /// <summary>Parses a mode's word.</summary>
    /// <exception cref="RefusalException">It is none of this family.</exception>
    public static IpMode ParseMode(string subject, string word, bool isIpv6) => word switch
    {
        "none" => IpMode.None,
        "static" => IpMode.Static,
        "dhcp" => IpMode.Dhcp,
        "autoconf" when isIpv6 => IpMode.Autoconf,
        _ => throw new RefusalException(subject, $"mode \"{word}\" is none of none, static, {(isIpv6 ? "autoconf, " : "")}dhcp"),
    };

    /// <summary>A mode's word.</summary>
    public static string Word(IpMode mode) => mode switch
    {
        IpMode.Static => "static",
        IpMode.Dhcp => "dhcp",
        IpMode.Autoconf => "autoconf",
        _ => "none",
    };

    /// <summary>Checks every value and how they fit together.</summary>
    /// <exception cref="RefusalException">One does not.</exception>
    public static void Check(string subject, IpConfiguration ip)
    {
        Check(subject, ip.Ipv4, isIpv6: false);
        Check(subject, ip.Ipv6, isIpv6: true);
        if (ip.Dns.Length > DnsMax)
            throw new RefusalException(subject, $"{ip.Dns.Length} DNS servers; at most {DnsMax} are taken");
        foreach (string server in ip.Dns)
        {
            if (!IPAddress.TryParse(server, out IPAddress? address) || Equals(address, IPAddress.Any) || Equals(address, IPAddress.IPv6Any))
                throw new RefusalException(subject, $"DNS server \"{server}\" is not an IP address");
        }

        bool isDomain = ip.Domain is null
            || (ip.Domain.Length is > 0 and <= DomainCharsMax && ip.Domain.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_'));
        if (!isDomain)
            throw new RefusalException(subject, $"\"{ip.Domain}\" is not a domain name");
        bool hasStatic = ip.Ipv4.Mode == IpMode.Static || ip.Ipv6.Mode == IpMode.Static;
        if ((ip.Dns.Length > 0 || ip.Domain is not null) && !hasStatic)
            throw new RefusalException(subject, "DNS servers and a domain go with mode static; a DHCP server tells its own");
        foreach (IpRoute route in ip.Routes)
            Check(subject, route, ip);
    }

    /// <summary>Parses "ADDRESS/PREFIX".</summary>
    /// <exception cref="RefusalException">It is not one.</exception>
    public static (IPAddress Address, int PrefixLength) ParsePrefix(string subject, string text, bool isIpv6)
    {
        string[] parts = text.Split('/');
        AddressFamily family = isIpv6 ? AddressFamily.InterNetworkV6 : AddressFamily.InterNetwork;
        bool isAddress = parts.Length == 2 && IPAddress.TryParse(parts[0], out IPAddress? parsed) && parsed.AddressFamily == family
            && (isIpv6 || parts[0].Count(c => c == '.') == 3);
        if (!isAddress || !int.TryParse(parts[1], out int length) || length < 0 || length > (isIpv6 ? 128 : 32))
        {
            string wanted = isIpv6 ? "IPv6 address with prefix (2001:db8::10/64)" : "IPv4 address with prefix (192.0.2.10/24)";
            throw new RefusalException(subject, $"\"{text}\" is not an {wanted}");
        }

        return (IPAddress.Parse(parts[0]), length);
    }

    /// <summary>Is an address in a subnet?</summary>
    public static bool Contains(IPAddress subnet, int prefixLength, IPAddress address) =>
        subnet.AddressFamily == address.AddressFamily && new IPNetwork(Masked(subnet, prefixLength), prefixLength).Contains(address);

    /// <summary>The subnet of an address: its host bits zero.</summary>
    public static IPAddress Masked(IPAddress address, int prefixLength)
    {
        byte[] bytes = address.GetAddressBytes();
        for (int bit = prefixLength; bit < bytes.Length * 8; bit++)
            bytes[bit / 8] &= (byte)~(0x80 >> (bit % 8));
        return new IPAddress(bytes);
    }

    private static void Check(string subject, IpFamily family, bool isIpv6)
    {
        string name = isIpv6 ? "IPv6" : "IPv4";
        if (family.Mode != IpMode.Static)
        {
            if (family.Address is not null || family.Gateway is not null)
                throw new RefusalException(subject, $"an {name} address or gateway goes with mode static, not with {Word(family.Mode)}");
            return;
        }

        if (family.Address is null)
            throw new RefusalException(subject, $"mode static needs an {name} address");
        (IPAddress address, int length) = ParsePrefix(subject, family.Address, isIpv6);
        if (length == 0)
            throw new RefusalException(subject, $"{family.Address}: a prefix of 0 bits is every address");
        if (IsNoHost(address, length))
            throw new RefusalException(subject, $"{family.Address} is not an address that a host can have");
        if (family.Gateway is null)
            return;
        IPAddress gateway = Gateway(subject, family.Gateway, isIpv6);
        bool isReachable = Contains(address, length, gateway) || gateway.IsIPv6LinkLocal;
        if (!isReachable)
            throw new RefusalException(subject, $"gateway {family.Gateway} is not in the subnet of {family.Address}");
        if (gateway.Equals(address))
            throw new RefusalException(subject, $"gateway {family.Gateway} is the address itself");
    }

    private static void Check(string subject, IpRoute route, IpConfiguration ip)
    {
        bool isIpv6 = route.Subnet.Contains(':');
        (IPAddress subnet, int length) = ParsePrefix(subject, route.Subnet, isIpv6);
        if (!Masked(subnet, length).Equals(subnet))
            throw new RefusalException(subject, $"route {route.Subnet}: the subnet has host bits; {Masked(subnet, length)}/{length} is meant");
        if (length == 0)
            throw new RefusalException(subject, $"route {route.Subnet}: the default route is the gateway's");
        IPAddress gateway = Gateway(subject, route.Gateway, isIpv6);
        IpFamily family = isIpv6 ? ip.Ipv6 : ip.Ipv4;
        if (family.Mode != IpMode.Static)
            throw new RefusalException(subject, $"route {route.Subnet}: routes go with mode static, not with {Word(family.Mode)}");
        (IPAddress address, int prefix) = ParsePrefix(subject, family.Address!, isIpv6);
        if (!Contains(address, prefix, gateway) && !gateway.IsIPv6LinkLocal)
            throw new RefusalException(subject, $"route {route.Subnet}: gateway {route.Gateway} is not in the subnet of {family.Address}");
        if (ip.Routes.Count(r => r.Subnet == route.Subnet) > 1)
            throw new RefusalException(subject, $"route {route.Subnet} is there twice");
    }

    private static IPAddress Gateway(string subject, string text, bool isIpv6) =>
        IPAddress.TryParse(text, out IPAddress? gateway) && (gateway.AddressFamily == AddressFamily.InterNetworkV6) == isIpv6
            && (isIpv6 || text.Count(c => c == '.') == 3)
            ? gateway : throw new RefusalException(subject, $"gateway \"{text}\" is not an {(isIpv6 ? "IPv6" : "IPv4")} address");

    private static bool IsNoHost(IPAddress address, int prefixLength)
    {
        if (address.AddressFamily == AddressFamily.InterNetworkV6)
            return address.IsIPv6Multicast || IPAddress.IsLoopback(address) || address.Equals(IPAddress.IPv6Any);
        byte[] bytes = address.GetAddressBytes();
        // /31 and /32 have no network and broadcast address (RFC 3021).
        bool isEdge = prefixLength < 31 && (Masked(address, prefixLength).Equals(address)
            || Masked(new IPAddress([.. bytes.Select(b => (byte)~b)]), prefixLength).Equals(new IPAddress([.. bytes.Select(b => (byte)~b)])));
        return bytes[0] is 0 or 127 or >= 224 || isEdge;
    }
}
