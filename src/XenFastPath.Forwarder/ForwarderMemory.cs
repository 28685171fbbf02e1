// The two pieces of memory that the forwarder shows to control: its counters, and the lifeline.
using XenFastPath.Dataplane;
using XenFastPath.Interop;

namespace XenFastPath.Forwarder;

/// <summary>
/// Counters (control maps them read-only) and the lifeline, a robust mutex that the thread which made this object holds until it
/// dies; control waits for it and so learns of our death before the kernel starts to close our sockets.
/// </summary>
internal sealed unsafe class ForwarderMemory : IDisposable
{
    public ForwarderMemory(ReadOnlySpan<byte> instructionSet)
    {
        Counters = SharedMemory.Create("xenfastpath-counters", CounterMemory.Bytes);
        Lifeline = SharedMemory.Create("xenfastpath-lifeline", Environment.SystemPageSize);
        Status->LayoutVersion = Layout.Version;
        Status->Pid = Environment.ProcessId;
        ForwarderStatus.SetInstructionSet(Status, instructionSet);
        Pthread.InitRobust(Lifeline.Address);
        Pthread.Lock(Lifeline.Address);
    }

    public SharedMemory Counters { get; }

    public SharedMemory Lifeline { get; }

    public ForwarderStatus* Status => (ForwarderStatus*)Counters.Address;

    public ulong* Loop => ForwarderStatus.Loop(Status);

    public ulong* Row(uint port) => CounterMemory.Row(Counters.Address, (int)port);

    public void Dispose()
    {
        Counters.Dispose();
        Lifeline.Dispose();
    }
}
