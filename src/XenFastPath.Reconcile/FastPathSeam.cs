// The seam between reconciling and the fast path: what a port is to be, said without any word of BPF or AF_XDP.
using XenFastPath.Model;

namespace XenFastPath.Reconcile;

/// <summary>The path that a port's frames take, as decided; see <see cref="PathRule"/>.</summary>
public enum PortPath
{
    Bridge,
    Afxdp,
}

/// <summary>Everything that the program and the forwarder have to know of a port. Compared by value: a difference is an action.</summary>
public sealed record PortSettings
{
    /// <summary><see cref="Network.Id"/> of the Network.</summary>
    public required ushort NetworkId { get; init; }

    public required int BridgeIfindex { get; init; }

    public required PortPath Path { get; init; }

    /// <summary>Policy on every path: frames with a VLAN tag are dropped.</summary>
    public required bool DropsTags { get; init; }

    /// <summary>A physical port: larger quota, checksums whole.</summary>
    public required bool IsPhysical { get; init; }

    /// <summary>Its frames may carry checksums that the sender left to the device.</summary>
    public required bool MayBeUnfinished { get; init; }

    /// <summary>The bridge forwards on it now.</summary>
    public required bool IsForwarding { get; init; }

    public required bool IsIsolated { get; init; }

    /// <summary>Other ports of its Network are on the fast path.</summary>
    public required bool IsWatched { get; init; }

    /// <summary>Longest frame it may be given, bytes with Ethernet header.</summary>
    public required int FrameBytesMax { get; init; }

    /// <summary>How often a source must be seen by the kernel, so that its FDB entry does not age out.</summary>
    public required TimeSpan RefreshInterval { get; init; }

    /// <summary>Receive queues to bind.</summary>
    public required int Queues { get; init; }

    /// <summary>Has the driver native XDP? Otherwise the program is attached in generic mode.</summary>
    public required bool HasNativeXdp { get; init; }

    /// <summary>May zero-copy be tried?</summary>
    public required bool MayZeroCopy { get; init; }

    /// <summary>In zero-copy mode, can the driver finish checksums?</summary>
    public required bool HasZeroCopyChecksum { get; init; }

    /// <summary>False: putting these settings in force failed half-way. Never wanted, so that the next plan has the port again.</summary>
    public bool IsWhole { get; init; } = true;
}

/// <summary>The fast path as the reconciler drives it. All members are called on one thread.</summary>
public interface IFastPath
{
    /// <summary>The ports it has, by ifindex, as configured.</summary>
    IReadOnlyDictionary<int, PortSettings> Ports { get; }

    /// <summary>Ports that could not be put on the fast path, with the reason. They stay on the bridge until <see cref="Forgive"/>.</summary>
    IReadOnlyDictionary<int, string> Failures { get; }

    /// <summary>Networks whose fast path is off for now because a port floods source addresses, with the reason; by Network id.</summary>
    IReadOnlyDictionary<ushort, string> Muted { get; }

    /// <summary>Is the XDP program on this device ours? It may be an earlier daemon's, of a port that is not taken in yet.</summary>
    bool HasXdp(int ifindex);

    /// <summary>Takes a port in, or changes it. The policy hook is in force when this returns.</summary>
    void Configure(int ifindex, string device, PortSettings settings);

    /// <summary>Lets a port go; its device may be gone already.</summary>
    void Remove(int ifindex, string device);

    /// <summary>Forgets a failure, so that the path is tried again.</summary>
    void Forgive(int ifindex);
}
