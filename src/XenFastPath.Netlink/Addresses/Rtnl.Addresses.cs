// Requests about IP addresses of links: RTM_GETADDR, RTM_NEWADDR, RTM_DELADDR.
using XenFastPath.Interop;
using static XenFastPath.Interop.Netlink;
using static XenFastPath.Interop.RtNetlink;

namespace XenFastPath.Netlink;

public sealed partial class Rtnl
{
    /// <summary>All addresses of all links.</summary>
    public List<AddressInfo> GetAddresses()
    {
        NetlinkWriter request = Request(stackalloc byte[RequestBytes], RTM_GETADDR, 0, default(ifaddrmsg));
        return _socket.Dump<AddressInfo>(request.Written, AddressInfo.TryDecode, "dump addresses");
    }

    public void AddAddress(AddressInfo address) =>
        ChangeAddress(address, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, "add", "to");

    public void DeleteAddress(AddressInfo address) => ChangeAddress(address, RTM_DELADDR, 0, "delete", "from");

    private void ChangeAddress(AddressInfo address, ushort type, ushort flags, string verb, string preposition)
    {
        NetlinkWriter request = Request(stackalloc byte[RequestBytes], type, flags, address.Header);
        address.Write(request);
        Execute(request, $"{verb} address {address.Local}/{address.PrefixLength} {preposition}", address.Ifindex);
    }
}
