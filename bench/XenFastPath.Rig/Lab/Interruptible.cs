// A thread that sits in a system call for long, and can be called out of it: tgkill(2) with a signal whose handler does nothing.
using System.Runtime.InteropServices;
using static Tmds.Linux.LibC;

namespace XenFastPath.Rig.Lab;

/// <summary>Made by the thread itself. The call ends with EINTR.</summary>
internal sealed class Interruptible
{
    private const int SIGWINCH = 28;

    // A signal that is ignored interrupts nothing: this one has a handler from now on.
    private static readonly PosixSignalRegistration s_handler = PosixSignalRegistration.Create(PosixSignal.SIGWINCH, c => c.Cancel = true);
    private static readonly bool s_isArm = RuntimeInformation.ProcessArchitecture == Architecture.Arm64;

    private readonly int _thread = (int)(long)syscall(s_isArm ? 178 : 186);     // gettid

    public void Interrupt()
    {
        GC.KeepAlive(s_handler);
        syscall(s_isArm ? 131 : 234, Environment.ProcessId, _thread, SIGWINCH);     // tgkill
    }
}
