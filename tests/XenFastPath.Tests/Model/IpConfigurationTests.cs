// What an IP configuration may say; each refusal names the value and the rule.
using XenFastPath.Model;

namespace XenFastPath.Tests.Model;

public sealed class IpConfigurationTests
{
    [Theory]
    [InlineData("192.0.2.10/24", "192.0.2.1")]
    [InlineData("192.0.2.10/24", null)]
    [InlineData("10.0.0.1/32", null)]
    [InlineData("10.0.0.0/31", "10.0.0.1")]
    [InlineData("2001:db8::10/64", "2001:db8::1")]
    [InlineData("2001:db8::10/64", "fe80::1")]
    public void Good_addresses(string address, string? gateway) => IpRules.Check("eth0", Static(address, gateway));

    [Theory]
    [InlineData("192.0.2.10", null, "\"192.0.2.10\" is not an IPv4 address with prefix")]
    [InlineData("192.0.2/24", null, "\"192.0.2/24\" is not an IPv4 address with prefix")]
    [InlineData("192.0.2.10/33", null, "is not an IPv4 address with prefix")]
    [InlineData("192.0.2.10/0", null, "a prefix of 0 bits is every address")]
    [InlineData("192.0.2.0/24", null, "192.0.2.0/24 is not an address that a host can have")]
    [InlineData("192.0.2.255/24", null, "192.0.2.255/24 is not an address that a host can have")]
    [InlineData("127.0.0.1/8", null, "is not an address that a host can have")]
    [InlineData("224.0.0.5/24", null, "is not an address that a host can have")]
    [InlineData("ff02::1/64", null, "is not an address that a host can have")]
    [InlineData("192.0.2.10/24", "192.0.3.1", "gateway 192.0.3.1 is not in the subnet of 192.0.2.10/24")]
    [InlineData("192.0.2.10/24", "192.0.2.10", "gateway 192.0.2.10 is the address itself")]
    [InlineData("192.0.2.10/24", "2001:db8::1", "gateway \"2001:db8::1\" is not an IPv4 address")]
    [InlineData("2001:db8::10/64", "2001:db8:1::1", "gateway 2001:db8:1::1 is not in the subnet of 2001:db8::10/64")]
    public void Bad_addresses(string address, string? gateway, string reason) =>
        Refusal.Of(() => IpRules.Check("eth0", Static(address, gateway)), "eth0", reason);

    [Theory]
    [InlineData("10.0.0.0/8", "192.0.2.1", null)]
    [InlineData("10.0.0.1/8", "192.0.2.1", "route 10.0.0.1/8: the subnet has host bits; 10.0.0.0/8 is meant")]
    [InlineData("0.0.0.0/0", "192.0.2.1", "the default route is the gateway's")]
    [InlineData("10.0.0.0/8", "198.51.100.1", "route 10.0.0.0/8: gateway 198.51.100.1 is not in the subnet of 192.0.2.10/24")]
    [InlineData("2001:db8::/32", "2001:db8::1", "route 2001:db8::/32: routes go with mode static, not with none")]
    public void Routes(string subnet, string gateway, string? reason)
    {
        IpConfiguration ip = Static("192.0.2.10/24", null) with { Routes = [new IpRoute(subnet, gateway)] };
        if (reason is null)
            IpRules.Check("eth0", ip);
        else
            Refusal.Of(() => IpRules.Check("eth0", ip), "eth0", reason);
    }

    [Fact]
    public void Modes_dns_and_what_goes_with_what()
    {
        IpConfiguration dhcp = IpConfiguration.None with { Ipv4 = new IpFamily(IpMode.Dhcp) };
        IpRules.Check("eth0", dhcp);
        Refusal.Of(() => IpRules.Check("eth0", dhcp with { Dns = ["192.0.2.53"] }), "eth0", "go with mode static");
        IpConfiguration both = dhcp with { Ipv4 = new IpFamily(IpMode.Dhcp, "192.0.2.1/24") }, neither = dhcp with { Ipv4 = new IpFamily(IpMode.Static) };
        Refusal.Of(() => IpRules.Check("eth0", both), "eth0", "goes with mode static, not with dhcp");
        Refusal.Of(() => IpRules.Check("eth0", neither), "eth0", "mode static needs an IPv4 address");
        IpConfiguration ip = Static("192.0.2.10/24", null);
        IpRules.Check("eth0", ip with { Dns = ["192.0.2.53", "2001:db8::53"], Domain = "example.org" });
        Refusal.Of(() => IpRules.Check("eth0", ip with { Dns = ["dns.example"] }), "eth0", "DNS server \"dns.example\" is not an IP address");
        Refusal.Of(() => IpRules.Check("eth0", ip with { Domain = "a b\nc" }), "eth0", "is not a domain name");
        Refusal.Of(() => IpRules.ParseMode("eth0", "autoconf", isIpv6: false), "eth0", "mode \"autoconf\" is none of none, static, dhcp");
        Refusal.Of(() => IpRules.ParseMode("eth0", "auto", isIpv6: true), "eth0", "mode \"auto\" is none of none, static, autoconf, dhcp");
        foreach (IpMode mode in Enum.GetValues<IpMode>())
            Assert.Equal(mode, IpRules.ParseMode("eth0", IpRules.Word(mode), isIpv6: true));
    }

    [Fact]
    public void It_survives_the_state_file_and_is_not_there_if_nothing_is_managed()
    {
        string folder = Directory.CreateTempSubdirectory("xfp-test-").FullName;
        try
        {
            StateFile file = new(folder, _ => { });
            Pif plain = Make.Pif(1, "eth0");
            file.Save(HostState.Empty.Add(plain));
            Assert.DoesNotContain("\"ip\"", File.ReadAllText(file.Path));
            IpConfiguration ip = Static("192.0.2.10/24", "192.0.2.1") with { Dns = ["192.0.2.53"], Domain = "x" };
            ip = ip with { Routes = [new IpRoute("10.0.0.0/8", "192.0.2.1")] };
            HostState state = HostState.Empty.Add(plain with { Ip = ip, HadAddresses = true });
            file.Save(state);
            Assert.Equal(state.Pifs[0], file.Load().Pifs[0]);
            Assert.DoesNotContain("isNone", File.ReadAllText(file.Path));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static IpConfiguration Static(string address, string? gateway)
    {
        IpFamily family = new(IpMode.Static, address, gateway);
        return address.Contains(':') ? IpConfiguration.None with { Ipv6 = family } : IpConfiguration.None with { Ipv4 = family };
    }
}
