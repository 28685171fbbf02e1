// Requests about policy routing rules: RTM_GETRULE, RTM_NEWRULE, RTM_DELRULE.
using XenFastPath.Interop;
using static XenFastPath.Interop.Netlink;
using static XenFastPath.Interop.RtNetlink;
using Errno = XenFastPath.Interop.Errno;

namespace XenFastPath.Netlink;

public sealed partial class Rtnl
{
    /// <summary>All rules of one family; none on a kernel without policy routing.</summary>
    public List<RuleInfo> GetRules(bool isIpv6)
    {
        fib_rule_hdr header = new() { family = isIpv6 ? AF_INET6 : AF_INET };
        NetlinkWriter request = Request(stackalloc byte[RequestBytes], RTM_GETRULE, 0, header);
        try
        {
            return _socket.Dump<RuleInfo>(request.Written, RuleInfo.TryDecode, "dump rules");
        }
        catch (NetlinkException e) when (e.Errno is Errno.EAFNOSUPPORT or Errno.EOPNOTSUPP)
        {
            return [];
        }
    }

    /// <summary>Adds a rule; EEXIST if there is one exactly so.</summary>
    public void AddRule(RuleInfo rule) => ChangeRule(rule, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, "add rule");

    /// <summary>Deletes a rule; ENOENT if there is none.</summary>
    public void DeleteRule(RuleInfo rule) => ChangeRule(rule, RTM_DELRULE, 0, "delete rule");

    private void ChangeRule(RuleInfo rule, ushort type, ushort flags, string operation)
    {
        NetlinkWriter request = Request(stackalloc byte[RequestBytes], type, flags, rule.Header);
        foreach (NetlinkAttribute attribute in new NetlinkAttributes(rule.RawAttributes))
            request.Bytes(attribute.RawType, attribute.Value);
        Execute(request, operation, rule.ToString());
    }
}
