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

    /// <summary>Sockets that the forwarder has for it; 0: it does not serve the port.</summary>
    public int Queues { get; set; }

    public bool IsZeroCopy { get; set; }

    public bool IsNativeXdp { get; set; }

    /// <summary>Is it on the fast path, or would be if it forwarded?</summary>
    public bool IsServed => Queues > 0;

    /// <summary>May frames leave the kernel's way on it now?</summary>
    public bool IsFast => IsServed && Settings is { Path: PortPath.Afxdp, IsForwarding: true };

    public PortFlags Flags
    {
        get
        {
            PortFlags flags = PortFlags.None;
            if (IsFast)
                flags |= PortFlags.Ingress | PortFlags.Egress;
            if (Settings.IsIsolated)
                flags |= PortFlags.Isolated;
            if (Settings.MayBeUnfinished)
                flags |= PortFlags.Unfinished;
            if (Settings.DropsTags)
                flags |= PortFlags.NoTags;
            if (Settings.IsWatched && !IsFast)
                flags |= PortFlags.Watch;
            return flags;
        }
    }

    public MirrorPort Mirror => new(Ifindex, Device, Settings.BridgeIfindex, Settings.NetworkId, Id, Generation, IsFast, Settings.IsPhysical);
}
