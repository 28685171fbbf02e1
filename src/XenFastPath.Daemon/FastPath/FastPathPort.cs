// A port in the fast path's tables.
using XenFastPath.Dataplane;
using XenFastPath.Reconcile;

namespace XenFastPath.Daemon.FastPath;

/// <summary>One port: what it is to be, and what it has become.</summary>
internal sealed class FastPathPort(int ifindex, string device, ushort id, PortSettings settings)
{
    public int Ifindex { get; } = ifindex;

    public string Device { get; set; } = device;

    /// <summary>Index in the port table.</summary>
    public ushort Id { get; } = id;

    /// <summary>Raised whenever the port changes Network or the id changes owner: what refers to the old one is void.</summary>
    public uint Generation { get; set; }

    public PortSettings Settings { get; set; } = settings;

    /// <summary>First XSKMAP slot.</summary>
    public ushort XskBase { get; set; }

    /// <summary>Sockets that the forwarder has for it; 0: it does not serve the port, or this is a VLAN.</summary>
    public int Queues { get; set; }

    /// <summary>A VLAN's frames come and go by its trunk's sockets.</summary>
    public bool IsVlan => Settings.TrunkIfindex != 0;

    /// <summary>A bond's frames come and go by its members' sockets.</summary>
    public bool IsBond => Settings.Bond is not null;

    /// <summary>A VLAN or a bond that the forwarder serves.</summary>
    public bool IsCarried { get; set; }

    /// <summary>A bond's member whose frames are the bond's now: the forwarder says so too, and it may transmit.</summary>
    public bool IsActiveMember { get; set; }

    public bool IsZeroCopy { get; set; }

    public bool IsNativeXdp { get; set; }

    /// <summary>It has its slot in the map of devices that take XDP frames.</summary>
    public bool HasDeviceSlot { get; set; }

    /// <summary>Does the forwarder serve it?</summary>
    public bool IsServed => Queues > 0 || IsCarried;

    /// <summary>May frames leave the kernel's way on it now? Not on a trunk without a Network of its own: its untagged frames are nobody's.</summary>
    public bool IsFast => Settings is { IsForwarding: true, NetworkId: not 0 } && (Settings.Redirects || (IsServed && Settings.Path == PortPath.Afxdp));

    public PortFlags Flags
    {
        get
        {
            PortFlags flags = PortFlags.None;
            if (IsFast)
                flags |= PortFlags.Ingress | PortFlags.Egress;
            if (Settings.Redirects)
                flags |= PortFlags.Redirect;
            if (HasDeviceSlot || (IsVlan && Settings.TakesXdpFrames))
                flags |= PortFlags.Xmit;
            if (IsActiveMember)
                flags |= PortFlags.Ingress;
            if (Settings.IsIsolated)
                flags |= PortFlags.Isolated;
            if (Settings.MayBeUnfinished)
                flags |= PortFlags.Unfinished;
            if (Settings.DropsTags)
                flags |= PortFlags.NoTags;
            if (Settings.IsTrunk)
                flags |= PortFlags.Trunk;
            if (Settings.Loops)
                flags |= PortFlags.Loops;
            if (Settings.IsWatched && !IsFast)
                flags |= PortFlags.Watch;
            return flags;
        }
    }

    public MirrorPort Mirror => new(Ifindex, Device, Settings.BridgeIfindex, Settings.NetworkId, Id, Generation, IsFast, Settings.IsPhysical);
}
