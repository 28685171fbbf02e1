// Somebody else's XDP program: two instructions that let everything pass.
using System.Runtime.InteropServices;
using XenFastPath.Netlink;

namespace XenFastPath.KernelTests.Lab;

internal static unsafe class XdpProgram
{
    private const int BPF_PROG_LOAD = 5, BPF_PROG_TYPE_XDP = 6, XDP_PASS = 2;

    /// <summary>Attaches it to a device by netlink, as `ip link set xdp` does; it stays until the device goes.</summary>
    public static void AttachPass(Netns netns, string device) => netns.Inside(() =>
    {
        // mov r0, XDP_PASS; exit
        ulong* instructions = stackalloc ulong[] { (ulong)XDP_PASS << 32 | 0xb7, 0x95 };
        byte* license = stackalloc byte[] { (byte)'M', (byte)'I', (byte)'T', 0 };
        ulong* attributes = stackalloc ulong[16];
        new Span<ulong>(attributes, 16).Clear();
        attributes[0] = (2UL << 32) | BPF_PROG_TYPE_XDP;
        attributes[1] = (ulong)instructions;
        attributes[2] = (ulong)license;
        int fd = (int)Bpf(BPF_PROG_LOAD, attributes, 128);
        Assert.True(fd >= 0, "load a program");
        using Rtnl rtnl = new();
        rtnl.SetXdp(rtnl.GetLink(device)!.Index, fd, XdpFlags.None);
        Tmds.Linux.LibC.close(fd);
        return 0;
    });

    private static nint Bpf(int command, void* attributes, uint size)
    {
        const int SYS_bpf_x64 = 321, SYS_bpf_arm64 = 280;
        int number = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? SYS_bpf_arm64 : SYS_bpf_x64;
        return (nint)(long)Tmds.Linux.LibC.syscall(number, command, attributes, size);
    }
}
