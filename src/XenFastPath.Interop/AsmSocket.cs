// include/uapi/asm-generic/socket.h: what Tmds.LibC does not have. The same numbers on x86-64 and arm64.
namespace XenFastPath.Interop;

/// <summary>Options of level SOL_SOCKET, socket(7).</summary>
public static class AsmSocket
{
    public const int SO_BUSY_POLL = 46;
    public const int SO_BUSY_POLL_BUDGET = 70;
}
