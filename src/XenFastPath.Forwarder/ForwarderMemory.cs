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
    public ForwarderMemory(ReadOnlySpan<byte> instructionSet, int workers)
    {
        Counters = SharedMemory.Create("xenfastpath-counters", CounterMemory.Bytes(workers));
        Lifeline = SharedMemory.Create("xenfastpath-lifeline", Environment.SystemPageSize);
        Status->LayoutVersion = Layout.Version;
        Status->Pid = Environment.ProcessId;
        Status->Workers = (uint)workers;
        ForwarderStatus.SetInstructionSet(Status, instructionSet);
        Pthread.InitRobust(Lifeline.Address);
        Pthread.Lock(Lifeline.Address);
    }

    public SharedMemory Counters { get; }

    public SharedMemory Lifeline { get; }

    public ForwarderStatus* Status => (ForwarderStatus*)Counters.Address;

    public ulong* Loop(int worker) => CounterMemory.Loop(Counters.Address, worker);

    public ulong* Row(int worker, uint port) => CounterMemory.Row(Counters.Address, worker, (int)port);

    /// <summary>A port id has a new owner: it begins with zeros.</summary>
    public void Clear(uint port)
    {
        for (int worker = 0; worker < Status->Workers; worker++)
            new Span<ulong>(Row(worker, port), CounterMemory.RowSlots).Clear();
    }

    public void Dispose()
    {
        Counters.Dispose();
        Lifeline.Dispose();
    }
}
