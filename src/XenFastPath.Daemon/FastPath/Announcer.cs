// After a failover: tells the switch where our addresses are now, before they send a frame of their own.
using System.Buffers.Binary;
using Tmds.Linux;
using XenFastPath.Dataplane;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;

namespace XenFastPath.Daemon.FastPath;

/// <summary>
/// Sends a RARP request (RFC 903) from each address by the member that it has when its turn comes: the frame that Open vSwitch sends
/// (compose_rarp). Paced, so that many addresses do not fill the member's queue. Bonds are numbers of the caller's.
/// </summary>
internal sealed unsafe class Announcer(Func<int, ulong, int> memberOf) : IDisposable
{
    /// <summary>Frames at each call of <see cref="Send"/>, ten times a second: 5120 frames of 60 bytes a second are 2.5 Mbit/s.</summary>
    public const int FramesPerTurn = 512;

    public const int FrameBytesMax = 64;

    private const ushort EthertypeRarp = 0x8035, EthertypeVlan = 0x8100;

    private readonly Queue<(int Bond, ulong Address)> _waiting = [];
    private readonly HashSet<(int Bond, ulong Address)> _queued = [];
    private readonly Dictionary<int, long> _sent = [];
    private int _socket = -1;
    private bool _hasFailed;

    /// <summary>Frames sent since the bond came.</summary>
    public long SentOf(int bond) => _sent.GetValueOrDefault(bond);

    public bool IsIdle => _waiting.Count == 0;

    /// <summary>An address that waits already waits once: the member that it has when its turn comes is the right one.</summary>
    public void Add(int bond, ulong address)
    {
        if (_queued.Add((bond, address)))
            _waiting.Enqueue((bond, address));
    }

    /// <summary>A bond is gone: its number may be another's next.</summary>
    public void Forget(int bond)
    {
        _sent.Remove(bond);
        for (int left = _waiting.Count; left > 0; left--)
        {
            (int Bond, ulong Address) next = _waiting.Dequeue();
            if (next.Bond != bond)
                _waiting.Enqueue(next);
            else
                _queued.Remove(next);
        }
    }

    /// <summary>Sends what may be sent now.</summary>
    public void Send()
    {
        Span<byte> frame = stackalloc byte[FrameBytesMax];
        for (int i = 0; i < FramesPerTurn && _waiting.TryPeek(out (int Bond, ulong Address) next); i++)
        {
            int member = memberOf(next.Bond, next.Address);
            if (member != 0 && !TrySend(member, frame[..Compose(frame, next.Address)]))
                return;     // a full queue: later
            _queued.Remove(_waiting.Dequeue());
            if (member != 0)
                _sent[next.Bond] = SentOf(next.Bond) + 1;
        }
    }

    /// <summary>Writes the frame, tagged if the address is in a VLAN and padded to 60 bytes without the tag; returns its length.</summary>
    public static int Compose(Span<byte> frame, ulong address)
    {
        const int frameBytesMin = 60, macBytes = 6;
        frame.Clear();
        Span<byte> mac = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(mac, address);
        mac = mac[..macBytes];
        frame[..macBytes].Fill(0xff);
        mac.CopyTo(frame[macBytes..]);
        int at = 2 * macBytes;
        if (SlbAddress.VlanOf(address) is var vlan and not 0)
        {
            BinaryPrimitives.WriteUInt16BigEndian(frame[at..], EthertypeVlan);
            BinaryPrimitives.WriteUInt16BigEndian(frame[(at + 2)..], vlan);
            at += 4;
        }

        BinaryPrimitives.WriteUInt16BigEndian(frame[at..], EthertypeRarp);
        // Hardware Ethernet, protocol IPv4, their lengths, request reverse; both IP addresses are unknown.
        ReadOnlySpan<byte> head = [0, 1, 8, 0, macBytes, 4, 0, 3];
        head.CopyTo(frame[(at + 2)..]);
        mac.CopyTo(frame[(at + 10)..]);
        mac.CopyTo(frame[(at + 20)..]);
        return frameBytesMin + (at - 2 * macBytes);
    }

    public void Dispose()
    {
        if (_socket >= 0)
            close(_socket);
        _socket = -1;
    }

    /// <summary>False: the member's queue is full. A member that is down or gone takes nothing: the frame is lost.</summary>
    private bool TrySend(int member, ReadOnlySpan<byte> frame)
    {
        if (_socket < 0)
            _socket = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (_socket < 0)
        {
            // The switch learns from the addresses' own frames then, as it does without us.
            if (!_hasFailed)
                Log.Error($"packet socket for learning packets: {Errno.Describe(Errno.Last)}");
            _hasFailed = true;
            return true;
        }

        sockaddr_ll address = new() { sll_family = (ushort)AF_PACKET, sll_ifindex = member };
        // Safety: the kernel copies frame and address before sendto returns.
        fixed (byte* data = frame)
        {
            return Libc.sendto(_socket, data, (nuint)frame.Length, Libc.MSG_DONTWAIT, &address, (uint)sizeof(sockaddr_ll)) >= 0
                || Errno.Last is not (Errno.ENOBUFS or Errno.EAGAIN);
        }
    }
}
