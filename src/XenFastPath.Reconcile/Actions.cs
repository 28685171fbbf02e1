// The small steps that a plan is made of. Their text is what `xfp plan` prints and what tests compare; it is stable.
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

/// <summary>One step. <see cref="object.ToString"/> is one line for people.</summary>
public abstract record PlanAction
{
    /// <summary>The device or bridge that the step is about.</summary>
    public abstract string Subject { get; }

    /// <summary>One line, stable.</summary>
    public abstract string Text { get; }

    /// <inheritdoc/>
    public sealed override string ToString() => Text;
}

/// <summary>Makes the bridge of a Network, with its address pinned, learning at once, marked as ours.</summary>
public sealed record CreateBridge(Network Network, MacAddress Address) : PlanAction
{
    public override string Subject => Network.Bridge;

    public override string Text => $"create bridge {Network.Bridge} for network {Network.Label}, mtu {Network.Mtu}, address {Address}";
}

/// <summary>Deletes a bridge that bears our mark.</summary>
public sealed record DeleteBridge(string Bridge, int Ifindex) : PlanAction
{
    public override string Subject => Bridge;

    public override string Text => $"delete bridge {Bridge}";
}

/// <summary>Changes a device's MTU.</summary>
public sealed record SetMtu(string Device, int Ifindex, int Mtu) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"set mtu of {Device} to {Mtu}";
}

/// <summary>Sets a device administratively up.</summary>
public sealed record SetUp(string Device, int Ifindex) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"set {Device} up";
}

/// <summary>Puts a device into a bridge. By name: the bridge may have been made by an earlier step.</summary>
public sealed record AttachPort(string Device, int Ifindex, string Bridge) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"attach {Device} to {Bridge}";
}

/// <summary>Takes a device out of its bridge; with its IPv6 link-local address, if it had one before it came in.</summary>
public sealed record DetachPort(string Device, int Ifindex, string Bridge, bool RestoresLinkLocal = false) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"detach {Device} from {Bridge}";
}

/// <summary>Keeps the address of a bridge that we adopted: without this a new port with a lower one would change it, and dom0's with it.</summary>
public sealed record PinAddress(string Bridge, int Ifindex, MacAddress Address) : PlanAction
{
    public override string Subject => Bridge;

    public override string Text => $"pin address {Address} of {Bridge}";
}

/// <summary>Has a NIC leave VLAN tags in the frames, where the fast path can see them.</summary>
public sealed record KeepTags(string Device, int Ifindex) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"switch rx-vlan-hw-parse of {Device} off";
}

/// <summary>Has a NIC take VLAN tags out of frames again, as it did before <see cref="KeepTags"/>.</summary>
public sealed record RestoreTags(string Device, int Ifindex) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"switch rx-vlan-hw-parse of {Device} on";
}

/// <summary>Takes a port into the fast path's tables, or changes what is there.</summary>
public sealed record ConfigurePort(string Device, int Ifindex, string NetworkLabel, PortSettings Settings) : PlanAction
{
    public override string Subject => Device;

    public override string Text =>
        $"port {Device} {(Settings.BondIfindex != 0 ? "of bond" : "of network")} {NetworkLabel}: {Settings.Path.Word()}"
        + (Settings.HasXdpHook ? " with XDP" : "")
        + (Settings.BondIfindex != 0 ? "" : Settings.IsForwarding ? ", forwarding" : ", not forwarding")
        + (Settings.Tag != 0 ? $", tag {Settings.Tag}" : "")
        + (Settings.Bond is { } bond ? $", members that transmit: {bond.Usable.Members.Length}" : "")
        + (Settings.IsTrunk ? ", trunk" : "")
        + (!Settings.DropsTags ? "" : Settings.IsTrunk ? ", other tags dropped" : ", tags dropped")
        + (Settings.IsIsolated ? ", isolated" : "");
}

/// <summary>Lets a port go.</summary>
public sealed record RemovePort(string Device, int Ifindex) : PlanAction
{
    public override string Subject => Device;

    public override string Text => $"release port {Device}";
}
