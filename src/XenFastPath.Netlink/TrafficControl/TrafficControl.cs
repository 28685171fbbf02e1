// tc: queueing disciplines and filters (RTM_GETQDISC, RTM_GETTFILTER, ...), the clsact qdisc and its bpf filters.
// tcx programs (kernel 6.6 and later) are not filters and do not show here.
using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using XenFastPath.Interop;
using static XenFastPath.Interop.Netlink;
using static XenFastPath.Interop.PktSched;
using static XenFastPath.Interop.RtNetlink;

namespace XenFastPath.Netlink;

/// <summary>The hooks of clsact, as the parent of a filter.</summary>
public enum TcHook : uint
{
    Ingress = TC_H_CLSACT & TC_H_MAJ_MASK | TC_H_MIN_INGRESS,
    Egress = TC_H_CLSACT & TC_H_MAJ_MASK | TC_H_MIN_EGRESS,
}

/// <summary>A queueing discipline.</summary>
public sealed record QdiscInfo(int Ifindex, string Kind, uint Handle, uint Parent)
{
    /// <summary>Takes RTM_NEWQDISC and RTM_DELQDISC; false for other messages.</summary>
    public static bool TryDecode(NetlinkMessage message, [MaybeNullWhen(false)] out QdiscInfo qdisc)
    {
        qdisc = message.Type is RTM_NEWQDISC or RTM_DELQDISC
            && message.TryReadHeader(out tcmsg header, out NetlinkAttributes attributes)
            ? new QdiscInfo(header.tcm_ifindex, attributes.Find(TCA_KIND).Text, header.tcm_handle, header.tcm_parent)
            : null;
        return qdisc is not null;
    }
}

/// <summary>A filter. <paramref name="Protocol"/> is an EtherType, 3 for all.</summary>
public sealed record FilterInfo(
    int Ifindex, uint Parent, string Kind, ushort Priority, ushort Protocol, uint Handle, uint Chain)
{
    /// <summary>Of kind "bpf": the name that its owner gave.</summary>
    public string? BpfName { get; init; }

    /// <summary>Of kind "bpf": the program's id; 0 for a classic program.</summary>
    public uint BpfProgramId { get; init; }

    /// <summary>Of kind "bpf": the program's result is the verdict.</summary>
    public bool BpfDirectAction { get; init; }

    /// <summary>
    /// Takes RTM_NEWTFILTER and RTM_DELTFILTER about a filter; false for other messages and the head of a priority.
    /// </summary>
    public static bool TryDecode(NetlinkMessage message, [MaybeNullWhen(false)] out FilterInfo filter)
    {
        filter = null;
        if (message.Type is not (RTM_NEWTFILTER or RTM_DELTFILTER)
            || !message.TryReadHeader(out tcmsg header, out NetlinkAttributes attributes) || header.tcm_handle == 0)
        {
            return false;
        }
        string kind = attributes.Find(TCA_KIND).Text;
        NetlinkAttributes bpf = kind == "bpf" ? attributes.Find(TCA_OPTIONS).Nested : default;
        filter = new FilterInfo(
            header.tcm_ifindex, header.tcm_parent, kind,
            (ushort)(header.tcm_info >> 16), NetworkOrder((ushort)header.tcm_info),
            header.tcm_handle, attributes.Find(TCA_CHAIN).U32)
        {
            BpfName = bpf.Find(TCA_BPF_NAME).TextOrNull,
            BpfProgramId = bpf.Find(TCA_BPF_ID).U32,
            BpfDirectAction = (bpf.Find(TCA_BPF_FLAGS).U32 & TCA_BPF_FLAG_ACT_DIRECT) != 0,
        };
        return true;
    }

    internal static ushort NetworkOrder(ushort value) =>
        BitConverter.IsLittleEndian ? BinaryPrimitives.ReverseEndianness(value) : value;
}

public sealed partial class Rtnl
{
    private const uint BpfFilterHandle = 1;

    /// <summary>The qdiscs of all links.</summary>
    public List<QdiscInfo> GetQdiscs()
    {
        NetlinkWriter request = Request(stackalloc byte[RequestBytes], RTM_GETQDISC, 0, default(tcmsg));
        return _socket.Dump<QdiscInfo>(request.Written, QdiscInfo.TryDecode, "dump qdiscs");
    }

    /// <summary>The filters on a hook of clsact; none if the link has no clsact.</summary>
    public List<FilterInfo> GetFilters(int index, TcHook hook)
    {
        NetlinkWriter request = Request(stackalloc byte[RequestBytes], RTM_GETTFILTER, 0, Filter(index, hook));
        return _socket.Dump<FilterInfo>(request.Written, FilterInfo.TryDecode, "dump filters of", $"ifindex {index}");
    }

    /// <summary>Gives a link the hooks for filters; EEXIST if it has them.</summary>
    public void CreateClsact(int index) =>
        ChangeClsact(index, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, "create clsact on");

    /// <summary>Takes the hooks away, with every filter on them.</summary>
    public void DeleteClsact(int index) => ChangeClsact(index, RTM_DELQDISC, 0, "delete clsact of");

    /// <summary>
    /// Puts a program on a hook (direct action, all protocols), in the place of the one that has this priority.
    /// </summary>
    public void SetBpfFilter(int index, TcHook hook, ushort priority, int programFd, string name) =>
        ChangeBpfFilter(index, hook, priority, programFd, name, NLM_F_CREATE, "set bpf filter on");

    /// <summary>As <see cref="SetBpfFilter"/>, but EEXIST if there is one.</summary>
    public void AddBpfFilter(int index, TcHook hook, ushort priority, int programFd, string name) =>
        ChangeBpfFilter(index, hook, priority, programFd, name, NLM_F_CREATE | NLM_F_EXCL, "add bpf filter to");

    /// <summary>Removes every bpf filter of a priority.</summary>
    public void DeleteBpfFilter(int index, TcHook hook, ushort priority)
    {
        tcmsg header = Filter(index, hook, priority);
        NetlinkWriter request = Request(stackalloc byte[RequestBytes], RTM_DELTFILTER, 0, in header);
        request.String(TCA_KIND, "bpf");
        Execute(request, "delete bpf filter of", index);
    }

    private void ChangeBpfFilter(
        int index, TcHook hook, ushort priority, int programFd, string name, ushort flags, string operation)
    {
        NetlinkWriter request = Request(
            stackalloc byte[RequestBytes], RTM_NEWTFILTER, flags,
            Filter(index, hook, priority, ETH_P_ALL, BpfFilterHandle));
        request.String(TCA_KIND, "bpf");
        using (request.Nest(TCA_OPTIONS))
        {
            request.S32(TCA_BPF_FD, programFd);
            request.String(TCA_BPF_NAME, name);
            request.U32(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
        }
        Execute(request, operation, index);
    }

    private void ChangeClsact(int index, ushort type, ushort flags, string operation)
    {
        const uint Handle = TC_H_CLSACT & TC_H_MAJ_MASK;
        var header = new tcmsg { tcm_ifindex = index, tcm_handle = Handle, tcm_parent = TC_H_CLSACT };
        NetlinkWriter request = Request(stackalloc byte[RequestBytes], type, flags, in header);
        request.String(TCA_KIND, "clsact");
        Execute(request, operation, index);
    }

    private static tcmsg Filter(int index, TcHook hook, ushort priority = 0, ushort protocol = 0, uint handle = 0) =>
        new()
    {
        tcm_ifindex = index,
        tcm_parent = (uint)hook,
        tcm_handle = handle,
        tcm_info = (uint)priority << 16 | FilterInfo.NetworkOrder(protocol),
    };
}
