// What control and forwarder say to each other over RUN_DIR/forwarder.sock: one fixed-size message per SEQPACKET datagram, some
// with file descriptors. Control asks, the forwarder answers each request with one reply; Hello is followed by one PortInfo
// for each port.
using System.Runtime.InteropServices;
using Tmds.Linux;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;

namespace XenFastPath.Dataplane;

/// <summary>Kinds of <see cref="ForwarderMessage"/>.</summary>
public enum ForwarderVerb : uint
{
    None,

    /// <summary>Both versions there; versions, pid, map id and port count back, with the counters' and the lifeline's fds.</summary>
    Hello,

    /// <summary>Reply only: one port that the forwarder serves.</summary>
    PortInfo,

    /// <summary>The fds of xfp_xsks, xfp_ports and xfp_heartbeats, once, before everything else.</summary>
    SetMaps,

    /// <summary>The fd of a MAC table and its size; done when the loop reads no other.</summary>
    SetTable,

    /// <summary>
    /// Open the port's sockets and serve them; done when frames may be redirected to them. With a Trunk: a VLAN's port, which uses
    /// the sockets of that port.
    /// </summary>
    AddPort,

    /// <summary>
    /// Stop serving a port and close its sockets; the caller has seen to it that nothing is redirected to it. A trunk takes its
    /// VLANs along.
    /// </summary>
    RemovePort,

    /// <summary>
    /// Takes a bond's port in or changes it: the ports in Members, which are served, bring its frames; Count of them, of which the first
    /// Usable may transmit, chosen by Policy; with a descriptor, the map xfp_slb_bonds, by the table of its element SlbIndex. Goes with
    /// RemovePort, its VLANs along, its members not.
    /// </summary>
    SetBond,

    /// <summary>Done when every frame that was in an RX ring when the request was read has left the loop.</summary>
    Barrier,

    /// <summary>Check the ledger of frames; Error is 0 if it balances.</summary>
    Audit,

    /// <summary>Exit.</summary>
    Shutdown,
}

/// <summary>Flags of an AddPort request and of the port's state in replies.</summary>
[Flags]
public enum ForwarderPortFlags : uint
{
    None = 0,

    /// <summary>Request: zero-copy first. Reply: zero-copy is in force.</summary>
    ZeroCopy = 1,

    /// <summary>Request: the driver can finish checksums by TX metadata in zero-copy mode.</summary>
    ZeroCopyTxMetadata = 2,

    /// <summary>Request: a physical port; it gets the larger quota.</summary>
    IsPhysical = 4,

    /// <summary>Reply: the port is a bond's.</summary>
    IsBond = 8,
}

/// <summary>One message, either way. What a verb does not need is 0.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct ForwarderMessage
{
    /// <summary>Raised when the meaning of a field, of an <see cref="XskStep"/> or of a <see cref="PortCounter"/> changes.</summary>
    public const uint CurrentProtocol = 5;

    public ForwarderVerb Verb;
    public uint Protocol;
    public uint LayoutVersion;

    /// <summary>Reply: 0 or the errno of what failed.</summary>
    public int Error;

    /// <summary>Reply: the step that failed.</summary>
    public XskStep Step;

    public ForwarderPortFlags PortFlags;
    public uint Port;
    public uint Generation;
    public uint Ifindex;
    public uint QueueCount;
    public uint XskBase;

    /// <summary>A VLAN's port: the port id of its trunk and the VLAN identifier.</summary>
    public uint Trunk, Tag;

    /// <summary>SetBond: members that may transmit.</summary>
    public ushort Usable;

    /// <summary>SetBond: how the member is chosen.</summary>
    public BondPolicy Policy;

    /// <summary>SetBond with a descriptor: element of the map.</summary>
    public byte SlbIndex;

    /// <summary>SetBond: their port ids, those that may transmit first and in the kernel's order.</summary>
    public fixed ushort Members[BondOutput.MembersMax];

    /// <summary>Hello: pid of the forwarder.</summary>
    public int Pid;

    /// <summary>Hello: PortInfo messages that follow. SetBond: members.</summary>
    public uint Count;

    /// <summary>Hello: kernel id of the xfp_xsks map the forwarder works with; 0 if it has none yet.</summary>
    public uint MapId;

    /// <summary>Size of the memory whose fd comes along.</summary>
    public ulong Bytes;

    /// <summary>Hello: inode of the network namespace that the sender lives in; devices have numbers only within one.</summary>
    public ulong NetnsInode;
}

/// <summary>Sends and receives <see cref="ForwarderMessage"/>s with file descriptors (unix(7), SCM_RIGHTS). Allocates nothing.</summary>
public static unsafe class ForwarderChannel
{
    /// <summary>Most descriptors that one message carries.</summary>
    public const int FdsMax = 4;

    /// <summary>Name of the forwarder's socket in the run-dir.</summary>
    public const string SocketName = "forwarder.sock";

    private const int ControlBytes = 64;

    /// <summary>Sends one message. False if the peer is gone.</summary>
    public static bool Send(int fd, in ForwarderMessage message, ReadOnlySpan<int> fds = default)
    {
        byte* control = stackalloc byte[ControlBytes];
        msghdr header = default;
        iovec vector = default;
        fixed (ForwarderMessage* m = &message)
        {
            vector.iov_base = m;
            vector.iov_len = sizeof(ForwarderMessage);
            header.msg_iov = &vector;
            header.msg_iovlen = 1;
            if (!fds.IsEmpty)
            {
                header.msg_control = control;
                header.msg_controllen = CMSG_SPACE(fds.Length * sizeof(int));
                cmsghdr* rights = CMSG_FIRSTHDR(&header);
                rights->cmsg_level = SOL_SOCKET;
                rights->cmsg_type = SCM_RIGHTS;
                // Not CMSG_LEN(bytes): Tmds.LibC rounds it up, and an odd number of descriptors would take a stray one along.
                rights->cmsg_len = CMSG_LEN(0) + fds.Length * sizeof(int);
                fds.CopyTo(new Span<int>(CMSG_DATA(rights), fds.Length));
            }

            while (sendmsg(fd, &header, MSG_NOSIGNAL) < 0)
            {
                if (Errno.Last != Errno.EINTR)
                    return false;
            }

            return true;
        }
    }

    /// <summary>
    /// Receives one message; blocks. The descriptors that came with it are the caller's to close; <paramref name="fdCount"/> says how
    /// many of <paramref name="fds"/> are valid. False, and none are left, if the peer is gone, does not speak this protocol, or
    /// says nothing within the socket's time limit.
    /// </summary>
    public static bool Receive(int fd, out ForwarderMessage message, Span<int> fds, out int fdCount)
    {
        byte* control = stackalloc byte[ControlBytes];
        msghdr header = default;
        iovec vector = default;
        message = default;
        fdCount = 0;
        fixed (ForwarderMessage* m = &message)
        {
            vector.iov_base = m;
            vector.iov_len = sizeof(ForwarderMessage);
            header.msg_iov = &vector;
            header.msg_iovlen = 1;
            header.msg_control = control;
            header.msg_controllen = ControlBytes;
            long length;
            while ((length = (long)recvmsg(fd, &header, MSG_CMSG_CLOEXEC)) < 0)
            {
                if (Errno.Last != Errno.EINTR)
                    return false;
            }

            bool isWhole = length == sizeof(ForwarderMessage);
            cmsghdr* rights = CMSG_FIRSTHDR(&header);
            if (rights != null && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS)
            {
                int received = (int)((long)(ulong)rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                int* values = (int*)CMSG_DATA(rights);
                for (int i = 0; i < received; i++)
                {
                    if (isWhole && i < fds.Length)
                        fds[fdCount++] = values[i];
                    else
                        close(values[i]);
                }
            }

            return isWhole;
        }
    }
}
