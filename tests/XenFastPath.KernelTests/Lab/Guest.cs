// A guest: a namespace with one end of a veth, whose other end is a vif in dom0. Sends and receives raw frames.
using System.Diagnostics;
using System.Runtime.InteropServices;
using Tmds.Linux;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;

namespace XenFastPath.KernelTests.Lab;

/// <summary>One end of a veth, far from dom0.</summary>
internal sealed class Guest : IDisposable
{
    /// <summary>
    /// A guest behind a new veth whose near end is in dom0 or in <paramref name="near"/>; or, with <paramref name="cards"/>, the world
    /// behind a real network card.
    /// </summary>
    public Guest(Lab lab, int number, string vif, string mac, string device = "eth0", int queues = 1, CardPair? cards = null, Netns? near = null)
    {
        Vif = vif;
        Mac = mac;
        Device = device;
        Number = number;
        Netns = new Netns($"{lab.Prefix}{device[0]}{number}");
        if (cards is null)
            AddVeth(near ?? lab.Dom0, queues);
        else
            cards.Move(lab.Dom0, vif, Netns, device);
        Netns.Run("ip", "link", "set", device, "address", mac, "up");
        // As a real frontend does it: tags are in the frame, never beside it.
        Netns.Run("ethtool", "-K", device, "txvlan", "off");
        Socket = Netns.Inside(() => new PacketSocket(device));
    }

    private void AddVeth(Netns near, int queues)
    {
        string[] width = queues == 1 ? [] : ["numtxqueues", $"{queues}", "numrxqueues", $"{queues}"];
        near.Run("ip", ["link", "add", Vif, .. width, "type", "veth", "peer", "name", Device, .. width, "netns", Netns.Name]);
    }

    public int Number { get; }

    public string Vif { get; }

    public string Mac { get; }

    public string Device { get; }

    public Netns Netns { get; }

    /// <summary>A raw socket on the guest's interface, in both directions.</summary>
    public PacketSocket Socket { get; }

    public string Ip { get; private set; } = "";

    /// <summary>Gives the guest an address in 10.77.0.0/24, or in 10.77.subnet.0/24.</summary>
    public void AddAddress(string? subnet = null)
    {
        Ip = $"10.77.{subnet ?? "0"}.{Number}";
        Netns.Run("ip", "address", "add", Ip + "/24", "dev", Device);
    }

    /// <summary>The receiver's checksum errors, all protocols together.</summary>
    public long ChecksumErrors() => ChecksumErrorsByName().Values.Sum();

    /// <summary>The same by the kernel's names, those that are not 0.</summary>
    public Dictionary<string, long> ChecksumErrorsByName() => Netns.Run("nstat", "-asz").Split('\n')
        .Where(l => l.Contains("Csum", StringComparison.Ordinal)).Select(l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        .Where(w => w[1] != "0").ToDictionary(w => w[0], w => long.Parse(w[1]));

    public void Dispose()
    {
        Socket.Dispose();
        Netns.Dispose();
    }
}

/// <summary>AF_PACKET on one device: sends whole frames as they are, receives what comes in.</summary>
internal sealed unsafe partial class PacketSocket : IDisposable
{
    private const int ETH_P_ALL = 3, PACKET_OUTGOING = 4, SOL_PACKET = 263, PACKET_AUXDATA = 8, PACKET_IGNORE_OUTGOING = 23;
    private const int FrameBytesMax = 70_000;

    private int _fd;
    private readonly byte[] _buffer = new byte[FrameBytesMax];

    public PacketSocket(string device)
    {
        _fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, (ushort)System.Net.IPAddress.HostToNetworkOrder((short)ETH_P_ALL));
        Assert.True(_fd >= 0, "AF_PACKET socket");
        int one = 1;
        setsockopt(_fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(int));
        setsockopt(_fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(int));
        int bytes = 64 << 20;
        setsockopt(_fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(int));
        setsockopt(_fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(int));
        sockaddr_ll address = default;
        address.sll_family = (ushort)AF_PACKET;
        address.sll_protocol = (ushort)System.Net.IPAddress.HostToNetworkOrder((short)ETH_P_ALL);
        address.sll_ifindex = IfIndex(device);
        Assert.Equal(0, bind(_fd, (sockaddr*)&address, sizeof(sockaddr_ll)));
    }

    /// <summary>Sends one frame, again if the device has dropped it; a device that always does so fails the test.</summary>
    public void Send(ReadOnlySpan<byte> frame)
    {
        const int attempts = 100_000;
        for (int i = 0; i < attempts; i++)
        {
            if (TrySend(frame))
                return;
        }

        Assert.Fail($"the device drops a frame of {frame.Length} bytes");
    }

    /// <summary>Sends one frame; false if the device drops it: a full queue, too long for the other end.</summary>
    public bool TrySend(ReadOnlySpan<byte> frame)
    {
        fixed (byte* data = frame)
        {
            if (Libc.sendto(_fd, data, (nuint)frame.Length, 0, null, 0) >= 0)
                return true;
            int error = Errno.Last;
            Assert.True(error is Errno.ENOBUFS or Errno.EAGAIN or Errno.EINTR, "send: " + Errno.Describe(error));
            return false;
        }
    }

    /// <summary>Sends the same frame many times, as fast as one thread can.</summary>
    public void SendMany(ReadOnlySpan<byte> frame, int count)
    {
        const int batch = 64;
        fixed (byte* data = frame)
        {
            iovec vector = new() { iov_base = data, iov_len = frame.Length };
            Message* messages = stackalloc Message[batch];
            for (int i = 0; i < batch; i++)
            {
                messages[i] = default;
                messages[i].Header.msg_iov = &vector;
                messages[i].Header.msg_iovlen = 1;
            }

            for (int sent = 0; sent < count;)
                sent += Math.Max(0, sendmmsg(_fd, messages, (uint)Math.Min(batch, count - sent), 0));
        }
    }

    /// <summary>Sends copies of a frame, each from another source address: 02:xx:xx:xx:xx:fe with a running number.</summary>
    public void SendFromManySources(ReadOnlySpan<byte> frame, ref int number, int count)
    {
        const int batch = 64, sourceOffset = 6;
        byte* copies = stackalloc byte[batch * frame.Length];
        iovec* vectors = stackalloc iovec[batch];
        Message* messages = stackalloc Message[batch];
        for (int i = 0; i < batch; i++)
        {
            frame.CopyTo(new Span<byte>(copies + i * frame.Length, frame.Length));
            vectors[i] = new iovec { iov_base = copies + i * frame.Length, iov_len = frame.Length };
            messages[i] = default;
            messages[i].Header.msg_iov = vectors + i;
            messages[i].Header.msg_iovlen = 1;
        }

        for (int sent = 0; sent < count; sent += batch)
        {
            for (int i = 0; i < batch; i++)
            {
                byte* source = copies + i * frame.Length + sourceOffset;
                source[0] = 2;
                *(int*)(source + 1) = number++;
                source[5] = 0xfe;
            }

            sendmmsg(_fd, messages, batch, 0);
        }
    }

    /// <summary>struct mmsghdr.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Message
    {
        public msghdr Header;
        public uint Length;
        private readonly uint _pad;
    }

    /// <summary>int sendmmsg(int, struct mmsghdr *, unsigned int, int).</summary>
    [LibraryImport("libc", SetLastError = true)]
    private static partial int sendmmsg(int fd, Message* messages, uint count, int flags);

    /// <summary>Takes the next frame that has come in, with its VLAN tag put back if the kernel keeps that beside it; null after the time.</summary>
    public byte[]? Receive(int waitMsMax)
    {
        pollfd polled = new() { fd = _fd, events = POLLIN };
        if (poll(&polled, 1, waitMsMax) <= 0)
            return null;
        fixed (byte* data = _buffer)
        {
            byte* control = stackalloc byte[64];
            iovec vector = new() { iov_base = data, iov_len = _buffer.Length };
            msghdr header = default;
            header.msg_iov = &vector;
            header.msg_iovlen = 1;
            header.msg_control = control;
            header.msg_controllen = 64;
            long length = (long)recvmsg(_fd, &header, 0);
            return length < 0 ? null : WithTag(_buffer.AsSpan(0, (int)length), &header);
        }
    }

    /// <summary>Forgets what has come in so far.</summary>
    public void Clear()
    {
        while (Receive(0) is not null)
        {
        }
    }

    /// <summary>Collects frames that <paramref name="wanted"/> likes until there are <paramref name="count"/>, or none came for a while.</summary>
    public List<byte[]> Collect(Func<byte[], bool> wanted, int count, int quietMs = 1500)
    {
        quietMs *= Math.Min(Lab.Scale, 3);
        List<byte[]> frames = [];
        Stopwatch quiet = Stopwatch.StartNew();
        while (frames.Count < count && quiet.ElapsedMilliseconds < quietMs)
        {
            byte[]? frame = Receive(quietMs / 10);
            if (frame is null || !wanted(frame))
                continue;
            frames.Add(frame);
            quiet.Restart();
        }

        return frames;
    }

    /// <summary>May come twice: the number of a closed descriptor is the next one's, and must not be closed under it.</summary>
    public void Dispose()
    {
        int fd = Interlocked.Exchange(ref _fd, -1);
        if (fd >= 0)
            close(fd);
    }

    private static byte[] WithTag(Span<byte> frame, msghdr* header)
    {
        const uint TP_STATUS_VLAN_VALID = 0x10;
        for (cmsghdr* c = CMSG_FIRSTHDR(header); c != null; c = CMSG_NXTHDR(header, c))
        {
            if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA)
                continue;
            // struct tpacket_auxdata: status, len, snaplen (u32 each), mac, net, vlan_tci, vlan_tpid (u16 each)
            byte* aux = CMSG_DATA(c);
            if ((*(uint*)aux & TP_STATUS_VLAN_VALID) == 0)
                continue;
            ushort tci = *(ushort*)(aux + 16), tpid = *(ushort*)(aux + 18);
            return [.. frame[..12], (byte)(tpid >> 8), (byte)tpid, (byte)(tci >> 8), (byte)tci, .. frame[12..]];
        }

        return frame.ToArray();
    }

    /// <summary>Of this thread's namespace; /sys would show another one's.</summary>
    private static int IfIndex(string device)
    {
        using XenFastPath.Netlink.Rtnl rtnl = new();
        return rtnl.GetLink(device)?.Index ?? throw new InvalidOperationException("no device " + device);
    }
}
