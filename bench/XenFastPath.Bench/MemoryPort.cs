// A port whose rings lie in ordinary memory.
using System.Runtime.InteropServices;
using XenFastPath.Dataplane;
using XenFastPath.Interop;

namespace XenFastPath.Bench;

/// <summary>Both sides of a port's four rings; the benchmark is the kernel. Lives as long as the process.</summary>
internal unsafe struct MemoryPort
{
    public PortQueue* Queue;
    public Ring KernelRx, KernelTx, KernelFill, KernelCompletion;

    public MemoryPort(ushort port, ushort index, uint size)
    {
        Queue = (PortQueue*)NativeMemory.AllocZeroed((nuint)sizeof(PortQueue));
        Queue->Fd = -1;
        Queue->Port = port;
        Queue->Index = index;
        Queue->FillQuota = Queue->TxQuota = Queue->TxLimit = size;
        Queue->Counters = (ulong*)NativeMemory.AllocZeroed(CounterMemory.RowSlots, sizeof(ulong));
        Make(&Queue->Rx, out KernelRx, sizeof(xdp_desc), size);
        Make(&Queue->Tx, out KernelTx, sizeof(xdp_desc), size);
        Make(&Queue->Fill, out KernelFill, sizeof(ulong), size);
        Make(&Queue->Completion, out KernelCompletion, sizeof(ulong), size);
    }

    private static void Make(Ring* user, out Ring kernel, int entryBytes, uint size)
    {
        byte* memory = (byte*)NativeMemory.AlignedAlloc(256 + size * (nuint)entryBytes, 64);
        new Span<byte>(memory, 256 + (int)size * entryBytes).Clear();
        kernel = default;
        user->Attach((uint*)memory, (uint*)(memory + 64), (uint*)(memory + 128), memory + 256, size);
        kernel.Attach((uint*)memory, (uint*)(memory + 64), (uint*)(memory + 128), memory + 256, size);
    }
}
