// What went wrong, in the kernel's words: errno and the extended ack (Documentation/userspace-api/netlink/intro.rst).
using System.Runtime.InteropServices;
using System.Text;
using XenFastPath.Interop;
using static XenFastPath.Interop.Netlink;

namespace XenFastPath.Netlink;

/// <summary>
/// The outcome of a request; <c>default</c> is success. <paramref name="Text"/> is the kernel's own explanation,
/// <paramref name="Offset"/> where in the request the offending attribute is, <paramref name="MissingAttribute"/> the
/// type of one that should be there.
/// </summary>
public readonly record struct NetlinkError(
    int Errno, string? Text = null, int? Offset = null, int? MissingAttribute = null)
{
    public bool IsFailure => Errno != 0;

    /// <summary>Reads NLMSG_ERROR (an acknowledgement when the code is 0) or NLMSG_DONE, the end of a dump.</summary>
    public static NetlinkError Read(NetlinkMessage message)
    {
        ReadOnlySpan<byte> payload = message.Payload;
        if (!MemoryMarshal.TryRead(payload, out int code) || code >= 0)
            return default;
        string? text = null;
        int? offset = null, missing = null;
        foreach (NetlinkAttribute attribute in new NetlinkAttributes(ExtendedAck(message)))
        {
            switch (attribute.Type)
            {
                case NLMSGERR_ATTR_MSG: text = attribute.Text; break;
                case NLMSGERR_ATTR_OFFS: offset = attribute.S32; break;
                case NLMSGERR_ATTR_MISS_TYPE: missing = attribute.S32; break;
            }
        }
        return new NetlinkError(-code, text, offset, missing);
    }

    // The attributes stand behind the error code and, in NLMSG_ERROR, behind the request: its header only if it was
    // capped.
    private static ReadOnlySpan<byte> ExtendedAck(NetlinkMessage message)
    {
        ReadOnlySpan<byte> rest = message.Payload[sizeof(int)..];
        if ((message.Flags & NLM_F_ACK_TLVS) == 0)
            return default;
        if (message.Type == NLMSG_DONE)
            return rest;
        if (!MemoryMarshal.TryRead(rest, out nlmsghdr request))
            return default;
        uint echoed = (message.Flags & NLM_F_CAPPED) != 0 ? NLMSG_HDRLEN : request.nlmsg_len;
        return echoed < (uint)rest.Length ? rest[Math.Min(NetlinkWriter.Align((int)echoed), rest.Length)..] : default;
    }
}

/// <summary>
/// A netlink request failed. The message reads: operation, object, errno, and the kernel's explanation if it gave one.
/// </summary>
public sealed class NetlinkException : Exception
{
    public NetlinkException(string operation, string? objectName, NetlinkError error)
        : base(Compose(operation, objectName, error))
    {
        Operation = operation;
        ObjectName = objectName;
        Error = error;
    }

    public NetlinkException(string operation, string? objectName, int errno, string? text = null)
        : this(operation, objectName, new NetlinkError(errno, text))
    {
    }

    /// <summary>What was tried, such as "set master of".</summary>
    public string Operation { get; }

    /// <summary>On what, such as "vif1.0".</summary>
    public string? ObjectName { get; }

    public NetlinkError Error { get; }

    public int Errno => Error.Errno;

    /// <summary>
    /// "modprobe NAME" if this is how the kernel says that it does not know links of <paramref name="kind"/> (or, for
    /// tun, that /dev/net/tun has no driver); null if it is something else.
    /// </summary>
    public string? ModuleHint(string kind)
    {
        bool unknownKind = Errno == Interop.Errno.EOPNOTSUPP && Error.Text == "Unknown device type";
        bool noDevice = kind is "tun" or "tap"
            && Errno is Interop.Errno.ENOENT or Interop.Errno.ENODEV or Interop.Errno.ENXIO;
        return unknownKind || noDevice
            ? "modprobe " + kind switch { "vlan" => "8021q", "bond" => "bonding", "tap" => "tun", _ => kind }
            : null;
    }

    private static string Compose(string operation, string? objectName, NetlinkError error)
    {
        var text = new StringBuilder(operation);
        if (objectName is not null)
            text.Append(' ').Append(objectName);
        text.Append(": ").Append(Interop.Errno.Describe(error.Errno));
        if (error.Text is not null)
            text.Append(": ").Append(error.Text);
        if (error.MissingAttribute is { } missing)
            text.Append($" (attribute {missing} is missing)");
        else if (error.Offset is { } offset)
            text.Append($" (at byte {offset} of the request)");
        return text.ToString();
    }
}
