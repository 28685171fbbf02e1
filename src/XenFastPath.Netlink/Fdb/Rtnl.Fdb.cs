// The forwarding database: RTM_GETNEIGH, RTM_NEWNEIGH and RTM_DELNEIGH with family AF_BRIDGE.
using XenFastPath.Interop;
using static XenFastPath.Interop.Neighbour;
using static XenFastPath.Interop.Netlink;
using static XenFastPath.Interop.RtNetlink;

namespace XenFastPath.Netlink;

public enum FdbOperation : byte
{
    /// <summary>EEXIST if the entry is there.</summary>
    Add,

    /// <summary>Add, or change the one that is there.</summary>
    Replace,
    Delete,
}

/// <summary>One change of the FDB.</summary>
public readonly record struct FdbChange(
    FdbOperation Operation, int Ifindex, MacAddress Mac, ushort Vlan = 0,
    FdbState State = FdbState.Permanent, FdbFlags Flags = FdbFlags.Master)
{
    /// <summary>
    /// As if the bridge had received a frame from <paramref name="mac"/> on that port: creates the entry, moves it,
    /// resets its age.
    /// </summary>
    public static FdbChange Refresh(int ifindex, MacAddress mac, ushort vlan = 0) =>
        new(FdbOperation.Replace, ifindex, mac, vlan, FdbState.Reachable, FdbFlags.Master | FdbFlags.Use);

    /// <summary>Removes an entry of the bridge's table.</summary>
    public static FdbChange Delete(int ifindex, MacAddress mac, ushort vlan = 0) =>
        new(FdbOperation.Delete, ifindex, mac, vlan, FdbState.None);

    internal void Write(ref NetlinkWriter request)
    {
        ushort flags = Operation switch
        {
            FdbOperation.Add => NLM_F_CREATE | NLM_F_EXCL,
            FdbOperation.Replace => NLM_F_CREATE | NLM_F_REPLACE,
            _ => 0,
        };
        request.Begin(Operation == FdbOperation.Delete ? RTM_DELNEIGH : RTM_NEWNEIGH, flags);
        request.Header(new ndmsg
        {
            ndm_family = AF_BRIDGE,
            ndm_ifindex = Ifindex,
            ndm_state = (ushort)State,
            ndm_flags = (byte)Flags,
        });
        request.Mac(NDA_LLADDR, Mac);
        request.U16(NDA_VLAN, Vlan == 0 ? null : Vlan);
    }
}

public sealed partial class Rtnl
{
    private const int FdbBatchBytes = 8 * 1024;     // a full batch of refusals still fits the receive buffer
    private const int FdbRequestBytes = 64;         // no single request is longer

    /// <summary>The entries of one bridge, or of everything that has an FDB, devices' own entries included.</summary>
    public List<FdbEntry> GetFdb(int? bridgeIndex = null)
    {
        var header = new ndmsg { ndm_family = AF_BRIDGE };
        NetlinkWriter request = Request(stackalloc byte[RequestBytes], RTM_GETNEIGH, 0, in header);
        request.S32(NDA_MASTER, bridgeIndex);
        string? of = bridgeIndex is { } index ? $"of ifindex {index}" : null;
        return _socket.Dump<FdbEntry>(request.Written, FdbEntry.TryDecode, "dump FDB entries", of);
    }

    /// <summary>Makes one change.</summary>
    public void ChangeFdb(in FdbChange change)
    {
        var request = new NetlinkWriter(stackalloc byte[FdbRequestBytes]);
        change.Write(ref request);
        string verb = change.Operation switch
        {
            FdbOperation.Add => "add",
            FdbOperation.Replace => "replace",
            _ => "delete",
        };
        Execute(request, $"{verb} FDB entry {change.Mac} of", change.Ifindex);
    }

    /// <summary>Makes many changes with few system calls. Returns how many the kernel refused.</summary>
    public int ChangeFdb(ReadOnlySpan<FdbChange> changes, out NetlinkError firstFailure)
    {
        int failures = 0;
        firstFailure = default;
        Span<byte> buffer = stackalloc byte[FdbBatchBytes];
        while (!changes.IsEmpty)
        {
            var requests = new NetlinkWriter(buffer);
            int count = 0;
            while (count < changes.Length && requests.Free >= FdbRequestBytes)
                changes[count++].Write(ref requests);
            int failed = _socket.ExecuteBatch(requests.Written, out NetlinkError failure);
            if (failures == 0)
                firstFailure = failure;
            failures += failed;
            changes = changes[count..];
        }
        return failures;
    }
}
