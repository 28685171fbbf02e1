// linux/if_xdp.h: AF_XDP sockets. Kernel spelling; the meaning of each field is in Documentation/networking/af_xdp.rst.
using System.Runtime.InteropServices;

namespace XenFastPath.Interop;

/// <summary>Constants of linux/if_xdp.h and the socket level it uses.</summary>
public static class IfXdp
{
    public const int AF_XDP = 44, SOL_XDP = 283;

    // sockopts
    public const int XDP_MMAP_OFFSETS = 1, XDP_RX_RING = 2, XDP_TX_RING = 3, XDP_UMEM_REG = 4, XDP_UMEM_FILL_RING = 5,
        XDP_UMEM_COMPLETION_RING = 6, XDP_STATISTICS = 7, XDP_MAX_TX_SKB_BUDGET = 9;

    // sockaddr_xdp.sxdp_flags
    public const ushort XDP_SHARED_UMEM = 1, XDP_COPY = 2, XDP_ZEROCOPY = 4, XDP_USE_NEED_WAKEUP = 8;

    // xdp_umem_reg.flags
    public const uint XDP_UMEM_TX_METADATA_LEN = 4;

    // ring flags
    public const uint XDP_RING_NEED_WAKEUP = 1;

    // xdp_desc.options
    public const uint XDP_TX_METADATA = 2;

    // xsk_tx_metadata.flags
    public const ulong XDP_TXMD_FLAGS_CHECKSUM = 2;

    // mmap offsets
    public const long XDP_PGOFF_RX_RING = 0, XDP_PGOFF_TX_RING = 0x80000000, XDP_UMEM_PGOFF_FILL_RING = 0x100000000,
        XDP_UMEM_PGOFF_COMPLETION_RING = 0x180000000;

    /// <summary>The kernel leaves this much room before a received frame (XDP_PACKET_HEADROOM, linux/bpf.h).</summary>
    public const int XDP_PACKET_HEADROOM = 256;
}

[StructLayout(LayoutKind.Sequential)]
public struct sockaddr_xdp
{
    public ushort sxdp_family;
    public ushort sxdp_flags;
    public uint sxdp_ifindex;
    public uint sxdp_queue_id;
    public uint sxdp_shared_umem_fd;
}

[StructLayout(LayoutKind.Sequential)]
public struct xdp_umem_reg
{
    public ulong addr;
    public ulong len;
    public uint chunk_size;
    public uint headroom;
    public uint flags;
    public uint tx_metadata_len;
}

[StructLayout(LayoutKind.Sequential)]
public struct xdp_ring_offset
{
    public ulong producer;
    public ulong consumer;
    public ulong desc;
    public ulong flags;
}

[StructLayout(LayoutKind.Sequential)]
public struct xdp_mmap_offsets
{
    public xdp_ring_offset rx;
    public xdp_ring_offset tx;
    public xdp_ring_offset fr;
    public xdp_ring_offset cr;
}

/// <summary>One entry of an RX or TX ring.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct xdp_desc
{
    public ulong addr;
    public uint len;
    public uint options;
}

[StructLayout(LayoutKind.Sequential)]
public struct xdp_statistics
{
    public ulong rx_dropped;
    public ulong rx_invalid_descs;
    public ulong tx_invalid_descs;
    public ulong rx_ring_full;
    public ulong rx_fill_ring_empty_descs;
    public ulong tx_ring_empty_descs;
}

/// <summary>Stands in the 24 bytes before a frame whose descriptor has XDP_TX_METADATA; the checksum request.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct xsk_tx_metadata
{
    public ulong flags;
    public ushort csum_start;
    public ushort csum_offset;
    public uint pad;
    public ulong launch_time;
}
