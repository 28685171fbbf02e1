// Who is at the other end of a Unix socket, as the kernel noted it at connect(2): unix(7), SO_PEERCRED, SO_PEERGROUPS.
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace XenFastPath.Api;

/// <summary>A peer's identity. <paramref name="Groups"/>: the supplementary ones, empty for root.</summary>
public sealed record PeerCredentials(int Pid, uint Uid, uint Gid, IReadOnlyList<uint> Groups)
{
    private const int SOL_SOCKET = 1;
    private const int SO_PEERCRED = 17;
    private const int SO_PEERGROUPS = 59;
    private const int NGROUPS_MAX = 65536;

    /// <summary>Asks the kernel.</summary>
    public static PeerCredentials Read(Socket peer)
    {
        ArgumentNullException.ThrowIfNull(peer);
        Span<uint> ucred = stackalloc uint[3];  // struct ucred { pid_t pid; uid_t uid; gid_t gid; }
        peer.GetRawSocketOption(SOL_SOCKET, SO_PEERCRED, MemoryMarshal.AsBytes(ucred));
        return new PeerCredentials((int)ucred[0], ucred[1], ucred[2], ucred[1] == 0 ? [] : ReadGroups(peer));
    }

    /// <summary>Root may, and the members of the group (null: there is none). Null if allowed, else why not.</summary>
    public string? Refusal(int? allowedGid)
    {
        bool allowed = Uid == 0 || (allowedGid is { } gid && (Gid == (uint)gid || Groups.Contains((uint)gid)));
        return allowed
            ? null
            : $"permission denied: uid {Uid} (process {Pid}) is neither root nor in group xenfastpath";
    }

    private static uint[] ReadGroups(Socket peer)
    {
        var groups = new uint[NGROUPS_MAX];
        int bytes = peer.GetRawSocketOption(SOL_SOCKET, SO_PEERGROUPS, MemoryMarshal.AsBytes(groups.AsSpan()));
        return groups[..(bytes / sizeof(uint))];
    }
}
