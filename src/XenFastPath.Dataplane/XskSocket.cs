// Opening and closing AF_XDP sockets: the cold half of a port. Runs on the manager thread, never on a packet thread: bind, close
// and mmap take locks in the kernel and may wait for a grace period.
using Tmds.Linux;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;

namespace XenFastPath.Dataplane;

/// <summary>Which step of opening a socket failed; travels to control in a reply.</summary>
public enum XskStep
{
    None,
    Socket,
    RegisterUmem,
    Rings,
    MapRings,
    Bind,
    XskMap,
    Quota,
    BadRequest,
    PortAlreadyOpen,

    /// <summary>A VLAN's trunk is not served, or has that tag already.</summary>
    Trunk,

    /// <summary>A bond's member is not served, or is another bond's.</summary>
    Member,
}

/// <summary>What a new socket is to be.</summary>
public struct XskRequest
{
    public uint Ifindex;
    public uint Queue;
    public uint FillFrames;
    public uint TxFrames;

    /// <summary>Not 0: the kernel polls the driver when it is called. The time itself, us, is for calls that wait, and none of ours does.</summary>
    public int BusyPollUs;

    /// <summary>May TX metadata be used? In zero-copy mode only if the driver says so (netdev xsk-features).</summary>
    public bool ZeroCopyTxMetadata;
}

/// <summary>
/// The sockets of one mode, copy or zero-copy. The arena is registered once per mode: by the first socket, whose registration
/// the others share (XDP_SHARED_UMEM). Any bound socket of the group can vouch for it, so the group lives on when its first
/// member leaves, or loses its device. Two groups on the same memory may exchange frames by address; the ledger keeps them apart.
/// </summary>
public sealed unsafe class XskGroup(Arena arena, bool isZeroCopy)
{
    private const int MembersMax = Layout.XsksMax;
    private readonly int[] _members = new int[MembersMax];
    private int _count;
    private bool _hasTxMetadata;

    /// <summary>Opens a socket and its rings into <paramref name="q"/>. Returns 0, or an errno with the step that failed.</summary>
    public int Open(in XskRequest request, PortQueue* q, out XskStep step)
    {
        step = XskStep.Socket;
        int fd = socket(IfXdp.AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
        if (fd < 0)
            return Errno.Last;
        bool isFirst = _count == 0;
        int error = isFirst ? RegisterUmem(fd, out _hasTxMetadata) : 0;
        step = XskStep.RegisterUmem;
        if (error == 0)
            error = SetRings(fd, request, q, out step);
        if (error == 0)
        {
            step = XskStep.Bind;
            error = Bind(fd, request, isFirst);
        }

        if (error != 0)
        {
            XskSocket.UnmapRings(q);
            close(fd);
            return error;
        }

        q->Fd = fd;
        q->Flags = isZeroCopy ? QueueFlags.ZeroCopy : QueueFlags.None;
        if (_hasTxMetadata && (!isZeroCopy || request.ZeroCopyTxMetadata))
            q->Flags |= QueueFlags.TxMetadata;
        // Only kernels >= 6.17 know it; without it a kick takes 32 frames.
        int budget = Limits.TxBudgetFrames;
        setsockopt(fd, IfXdp.SOL_XDP, IfXdp.XDP_MAX_TX_SKB_BUDGET, &budget, sizeof(int));
        RaiseSendBuffer(fd, request.TxFrames);
        if (request.BusyPollUs != 0 && PollWhenCalled(fd, request.BusyPollUs))
            q->Flags |= QueueFlags.BusyPoll;
        _members[_count++] = fd;
        return 0;
    }

    /// <summary>Closes a socket of this group and unmaps its rings (a mapped ring keeps the socket and its queue taken).</summary>
    public void Close(PortQueue* q)
    {
        int index = Array.IndexOf(_members, q->Fd, 0, _count);
        if (index >= 0)
            _members[index] = _members[--_count];
        XskSocket.UnmapRings(q);
        close(q->Fd);
        q->Fd = -1;
    }

    private int RegisterUmem(int fd, out bool hasTxMetadata)
    {
        xdp_umem_reg registration = new()
        {
            addr = (ulong)arena.Base,
            len = arena.Bytes,
            chunk_size = Limits.FrameBytes,
            flags = IfXdp.XDP_UMEM_TX_METADATA_LEN,
            tx_metadata_len = (uint)sizeof(xsk_tx_metadata),
        };
        hasTxMetadata = true;
        if (setsockopt(fd, IfXdp.SOL_XDP, IfXdp.XDP_UMEM_REG, &registration, sizeof(xdp_umem_reg)) == 0)
            return 0;
        if (Errno.Last != Errno.EINVAL)
            return Errno.Last;
        // Kernels before 6.8 do not know the flag: checksums are then finished by the loop.
        hasTxMetadata = false;
        registration.flags = 0;
        registration.tx_metadata_len = 0;
        return setsockopt(fd, IfXdp.SOL_XDP, IfXdp.XDP_UMEM_REG, &registration, sizeof(xdp_umem_reg)) == 0 ? 0 : Errno.Last;
    }

    private static int SetRings(int fd, in XskRequest request, PortQueue* q, out XskStep step)
    {
        step = XskStep.Rings;
        uint fill = RingSize(request.FillFrames);
        uint tx = RingSize(request.TxFrames);
        // The RX ring holds every frame that the fill ring may have given; the completion ring every frame in flight.
        if (!SetRing(fd, IfXdp.XDP_UMEM_FILL_RING, fill) || !SetRing(fd, IfXdp.XDP_UMEM_COMPLETION_RING, tx)
            || !SetRing(fd, IfXdp.XDP_RX_RING, fill) || !SetRing(fd, IfXdp.XDP_TX_RING, tx))
            return Errno.Last;
        step = XskStep.MapRings;
        xdp_mmap_offsets offsets;
        socklen_t length = sizeof(xdp_mmap_offsets);
        if (getsockopt(fd, IfXdp.SOL_XDP, IfXdp.XDP_MMAP_OFFSETS, &offsets, &length) != 0)
            return Errno.Last;
        return XskSocket.MapRing(fd, offsets.rx, IfXdp.XDP_PGOFF_RX_RING, fill, sizeof(xdp_desc), &q->Rx)
            && XskSocket.MapRing(fd, offsets.tx, IfXdp.XDP_PGOFF_TX_RING, tx, sizeof(xdp_desc), &q->Tx)
            && XskSocket.MapRing(fd, offsets.fr, IfXdp.XDP_UMEM_PGOFF_FILL_RING, fill, sizeof(ulong), &q->Fill)
            && XskSocket.MapRing(fd, offsets.cr, IfXdp.XDP_UMEM_PGOFF_COMPLETION_RING, tx, sizeof(ulong), &q->Completion)
            ? 0 : Errno.Last;
    }

    private int Bind(int fd, in XskRequest request, bool isFirst)
    {
        sockaddr_xdp address = new()
        {
            sxdp_family = IfXdp.AF_XDP,
            sxdp_ifindex = request.Ifindex,
            sxdp_queue_id = request.Queue,
        };
        if (!isFirst)
        {
            // Mode and wake-up are inherited; any other flag beside this one is refused.
            address.sxdp_flags = IfXdp.XDP_SHARED_UMEM;
            for (int i = 0; i < _count; i++)
            {
                address.sxdp_shared_umem_fd = (uint)_members[i];
                int error = BindWhenFree(fd, address);
                if (error != Errno.EBADF)
                    return error;
                // That member's device was unregistered and its socket unbound, which control has yet to hear of: it can vouch no more.
            }

            // None is left that could: the group begins anew with this socket.
            int refused = RegisterUmem(fd, out _hasTxMetadata);
            if (refused != 0)
                return refused;
        }

        address.sxdp_flags = (ushort)(IfXdp.XDP_USE_NEED_WAKEUP | (isZeroCopy ? IfXdp.XDP_ZEROCOPY : IfXdp.XDP_COPY));
        address.sxdp_shared_umem_fd = 0;
        return BindWhenFree(fd, address);
    }

    /// <summary>The kernel frees a closed socket's queue in a work queue some 20 ms later: until then the queue is busy.</summary>
    private static int BindWhenFree(int fd, sockaddr_xdp address)
    {
        ulong deadlineNs = Clock.NowNs() + Limits.BindBusyMsMax * 1_000_000UL;
        while (bind(fd, (sockaddr*)&address, sizeof(sockaddr_xdp)) != 0)
        {
            int error = Errno.Last;
            if (error != Errno.EBUSY || Clock.NowNs() > deadlineNs)
                return error;
            poll(null, 0, 1);
        }

        return 0;
    }

    /// <summary>
    /// Every call on the socket then polls its driver once (socket(7), Documentation/networking/napi.rst). Not SO_PREFER_BUSY_POLL, which
    /// would keep the driver's interrupts away as well: with it the kernel leaves sending to that poll too, and virtio-net (7.3) sends
    /// in another one, so frames lay in the TX ring for seconds. False: this kernel's configuration does not offer it.
    /// </summary>
    private static bool PollWhenCalled(int fd, int pollUs)
    {
        int budget = Limits.BusyPollBudgetFrames;
        return setsockopt(fd, SOL_SOCKET, AsmSocket.SO_BUSY_POLL, &pollUs, sizeof(int)) == 0
            && setsockopt(fd, SOL_SOCKET, AsmSocket.SO_BUSY_POLL_BUDGET, &budget, sizeof(int)) == 0;
    }

    private static bool SetRing(int fd, int option, uint size) => setsockopt(fd, IfXdp.SOL_XDP, option, &size, sizeof(uint)) == 0;

    private static uint RingSize(uint frames) => System.Numerics.BitOperations.RoundUpToPowerOf2(frames);

    /// <summary>In copy mode skbs in flight are charged to the socket: room for a quota of full frames with their overhead.</summary>
    private static void RaiseSendBuffer(int fd, uint txFrames)
    {
        int bytes = (int)txFrames * 4096;
        if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(int)) != 0)
            setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(int));
    }
}

/// <summary>Ring mappings and the questions one can ask a bound socket.</summary>
public static unsafe class XskSocket
{
    /// <summary>Copies the kernel's own counters of a port's sockets into its row. Manager thread; only it writes these four.</summary>
    public static void ReadStatistics(PortQueue* queues, uint count)
    {
        xdp_statistics sum = default;
        for (uint i = 0; i < count; i++)
        {
            xdp_statistics one;
            socklen_t length = sizeof(xdp_statistics);
            if (getsockopt(queues[i].Fd, IfXdp.SOL_XDP, IfXdp.XDP_STATISTICS, &one, &length) != 0)
                return;
            sum.rx_dropped += one.rx_dropped;
            sum.rx_ring_full += one.rx_ring_full;
            sum.rx_fill_ring_empty_descs += one.rx_fill_ring_empty_descs;
            sum.tx_invalid_descs += one.tx_invalid_descs;
        }

        ulong* row = queues->Counters;
        row[(int)PortCounter.KernelRxDropped] = sum.rx_dropped;
        row[(int)PortCounter.KernelRxRingFull] = sum.rx_ring_full;
        row[(int)PortCounter.KernelFillEmpty] = sum.rx_fill_ring_empty_descs;
        row[(int)PortCounter.KernelTxInvalid] = sum.tx_invalid_descs;
    }

    internal static bool MapRing(int fd, in xdp_ring_offset offset, long pageOffset, uint size, int entryBytes, Ring* ring)
    {
        ulong bytes = offset.desc + size * (ulong)entryBytes;
        void* memory = mmap(null, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, pageOffset);
        if (memory == MAP_FAILED)
            return false;
        ring->Attach((uint*)((byte*)memory + offset.producer), (uint*)((byte*)memory + offset.consumer),
            (uint*)((byte*)memory + offset.flags), (byte*)memory + offset.desc, size);
        ring->Own(memory, bytes);
        return true;
    }

    internal static void UnmapRings(PortQueue* q)
    {
        Unmap(&q->Rx);
        Unmap(&q->Tx);
        Unmap(&q->Fill);
        Unmap(&q->Completion);
    }

    private static void Unmap(Ring* ring)
    {
        if (ring->Mapping != null)
            munmap(ring->Mapping, (size_t)ring->MappingBytes);
        ring->Own(null, 0);
    }
}
