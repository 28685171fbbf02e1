// XFP_NLDEBUG=1 prints every message to stderr as one line of hexadecimal: the form in which the tests keep golden
// messages.
namespace XenFastPath.Netlink;

internal static class NetlinkTrace
{
    private static readonly bool s_enabled = Environment.GetEnvironmentVariable("XFP_NLDEBUG") == "1";

    /// <summary>Prints the messages of a datagram, if asked to.</summary>
    public static void Write(string direction, uint portId, ReadOnlySpan<byte> datagram)
    {
        if (!s_enabled)
            return;
        var messages = new NetlinkMessages(datagram);
        while (messages.MoveNext())
            Console.Error.WriteLine($"netlink {portId} {direction} {Convert.ToHexStringLower(messages.Current.Raw)}");
        if (messages.Malformed)
            Console.Error.WriteLine(
                $"netlink {portId} {direction} malformed datagram {Convert.ToHexStringLower(datagram)}");
    }
}
