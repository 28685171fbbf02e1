// One entry of a bridge's forwarding database, as RTM_NEWNEIGH and RTM_DELNEIGH of AF_BRIDGE carry it. The FDB mirror
// decodes them by the hundred thousand, so this allocates nothing.
using System.Runtime.InteropServices;
using XenFastPath.Interop;
using static XenFastPath.Interop.Neighbour;
using static XenFastPath.Interop.RtNetlink;

namespace XenFastPath.Netlink;

/// <summary>NUD_ states. An FDB entry has one of these.</summary>
[Flags]
public enum FdbState : ushort
{
    None = 0,

    /// <summary>Learned, and in use lately.</summary>
    Reachable = NUD_REACHABLE,

    /// <summary>Learned; not refreshed since the ageing time, or deleted.</summary>
    Stale = NUD_STALE,

    /// <summary>Set by somebody; does not age.</summary>
    NoArp = NUD_NOARP,

    /// <summary>An address of the bridge or of the port itself.</summary>
    Permanent = NUD_PERMANENT,
}

/// <summary>NTF_ flags.</summary>
[Flags]
public enum FdbFlags : byte
{
    None = 0,

    /// <summary>In a request: as if a frame had been received from the address now.</summary>
    Use = NTF_USE,

    /// <summary>In the device's own table, not in its bridge's.</summary>
    Self = NTF_SELF,

    /// <summary>In a request: in the table of the device's bridge.</summary>
    Master = NTF_MASTER,

    /// <summary>Learned by somebody else than the kernel, who has to delete it.</summary>
    ExternLearned = NTF_EXT_LEARNED,
    Offloaded = NTF_OFFLOADED,

    /// <summary>Does not move to another port.</summary>
    Sticky = NTF_STICKY,
}

/// <summary>An FDB entry, or the notification that it changed or went away.</summary>
public readonly struct FdbEntry
{
    /// <summary>The port.</summary>
    public int Ifindex { get; private init; }

    /// <summary>The bridge; 0 for an entry of a device's own table.</summary>
    public int MasterIndex { get; private init; }

    public MacAddress Mac { get; private init; }

    /// <summary>0: none.</summary>
    public ushort Vlan { get; private init; }

    public FdbState State { get; private init; }

    public FdbFlags Flags { get; private init; }

    /// <summary>The message was RTM_DELNEIGH.</summary>
    public bool IsDeleted { get; private init; }

    /// <summary>A locked entry of MAC authentication bypass: it does not let its address pass.</summary>
    public bool IsLocked { get; private init; }

    /// <summary>Clock ticks (hundredths of a second) since a frame was sent to it or it was set.</summary>
    public uint UsedTicks { get; private init; }

    /// <summary>Clock ticks since it was learned or refreshed as a source: what ageing looks at.</summary>
    public uint UpdatedTicks { get; private init; }

    public double UsedSeconds => (double)UsedTicks / USER_HZ;

    public double UpdatedSeconds => (double)UpdatedTicks / USER_HZ;

    public bool IsSelf => (Flags & FdbFlags.Self) != 0;

    public bool IsPermanent => (State & FdbState.Permanent) != 0;

    /// <summary>Takes a whole message, header included. False for any that is not about an FDB entry.</summary>
    public static bool TryDecode(ReadOnlySpan<byte> message, out FdbEntry entry)
    {
        entry = default;
        return NetlinkMessage.TryRead(message, out NetlinkMessage read) && TryDecode(read, out entry);
    }

    /// <summary>Takes any message. False for any that is not about an FDB entry.</summary>
    public static bool TryDecode(NetlinkMessage message, out FdbEntry entry)
    {
        entry = default;
        if (message.Type is not (RTM_NEWNEIGH or RTM_DELNEIGH)
            || !message.TryReadHeader(out ndmsg header, out NetlinkAttributes attributes)
            || header.ndm_family != AF_BRIDGE)
        {
            return false;
        }
        MacAddress? mac = null;
        ushort vlan = 0;
        int master = 0;
        uint extendedFlags = 0;
        nda_cacheinfo ages = default;
        foreach (NetlinkAttribute attribute in attributes)
        {
            switch (attribute.Type)
            {
                case NDA_LLADDR: mac = attribute.Mac; break;
                case NDA_VLAN: vlan = attribute.U16; break;
                case NDA_MASTER: master = attribute.S32; break;
                case NDA_FLAGS_EXT: extendedFlags = attribute.U32; break;
                case NDA_CACHEINFO: _ = MemoryMarshal.TryRead(attribute.Value, out ages); break;
            }
        }
        if (mac is not { } address)
            return false;
        entry = new FdbEntry
        {
            Ifindex = header.ndm_ifindex,
            MasterIndex = master,
            Mac = address,
            Vlan = vlan,
            State = (FdbState)header.ndm_state,
            Flags = (FdbFlags)header.ndm_flags,
            IsDeleted = message.Type == RTM_DELNEIGH,
            IsLocked = (extendedFlags & NTF_EXT_LOCKED) != 0,
            UsedTicks = ages.ndm_used,
            UpdatedTicks = ages.ndm_updated,
        };
        return true;
    }
}
