// The packet loop between two ports in ordinary memory: what a frame costs without the kernel's part.
using System.Runtime.InteropServices;
using BenchmarkDotNet.Attributes;
using XenFastPath.Dataplane;
using XenFastPath.Interop;

namespace XenFastPath.Bench;

/// <summary>
/// One round with a full batch from one port to another; each operation is one frame. The kernel's side of the rings, which puts
/// the frames there and takes them away, is part of the time and the same in all cases.
/// </summary>
[MemoryDiagnoser]
public unsafe class LoopBench
{
    private const int Frames = Limits.BatchFrames, Size = 128;
    private const ushort Input = 1, Output = 2, Vlan = 3, Tag = 100;
    private const uint Generation = 1;
    private const ulong Destination = 0x0b_00_00_00_00_02, Source = 0x0a_00_00_00_00_02;

    private PacketLoop _loop = null!;
    private PacketLoop? _other;
    private Arena _arena = null!;
    private MemoryPort _input, _output;
    private byte[] _frame = [];

    /// <summary>
    /// "plain": untagged between two ports. "pop": tagged on a trunk, untagged out. "push": the other way round. "handover": as plain, but
    /// another worker serves the output; both rounds run here, so this is what both workers' CPUs spend, less what lines cost on their way.
    /// </summary>
    [Params("plain", "pop", "push", "handover")]
    public string Case { get; set; } = "";

    [GlobalSetup]
    public void Setup()
    {
        _arena = new Arena(1024 * Limits.FrameBytes);
        PortEntry* ports = (PortEntry*)NativeMemory.AllocZeroed(Layout.PortsMax, (nuint)sizeof(PortEntry));
        ulong* counters = (ulong*)NativeMemory.AllocZeroed(64, sizeof(ulong));
        _loop = new PacketLoop(_arena, ports, counters + 40, counters, &Now);
        bool isHandedOver = Case == "handover";
        if (isHandedOver)
        {
            ulong* others = (ulong*)NativeMemory.AllocZeroed(64, sizeof(ulong));
            _other = new PacketLoop(_arena, ports, others + 40, others, &Now, number: 1) { Wake = &Ignore };
            PacketLoop.Join([_loop, _other]);
        }

        MacTableWriter table = new(1024);
        _loop.PostSetTable(SharedMemory.OpenReadOnly(Tmds.Linux.LibC.dup(table.Fd), table.Bytes, "macs").Address);
        _loop.Round(1);
        _input = Attach(ports, Input, 0, worker: 0);
        _output = Attach(ports, Output, 1, worker: (ushort)(isHandedOver ? 1 : 0));
        ushort destinationPort = Output;
        if (Case is "pop" or "push")
        {
            ports[Vlan] = Entry();
            MemoryPort trunk = Case == "pop" ? _input : _output;
            OutputPort vlan = OutputOf(trunk);
            vlan.Tag = Tag;
            _loop.PostAttachVlan(Vlan, vlan, (ushort*)NativeMemory.AllocZeroed(PacketLoop.VlanTableEntries, sizeof(ushort)));
            _loop.Round(1);
            destinationPort = Case == "pop" ? Output : Vlan;
        }

        table.TrySet(FdbKey.Make(1, Destination), FdbWord.Make(Generation, destinationPort));
        _frame = new byte[Case == "pop" ? 68 : 64];
        BitConverter.TryWriteBytes(_frame, Destination);
        BitConverter.TryWriteBytes(_frame.AsSpan(6), Source);
        ReadOnlySpan<byte> behind = [0x08, 0, 0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        if (Case == "pop")
            new byte[] { 0x81, 0, 0, (byte)Tag }.CopyTo(_frame, 12);
        behind.CopyTo(_frame.AsSpan(Case == "pop" ? 16 : 12));
    }

    [Benchmark(OperationsPerInvoke = Frames)]
    public uint Forward()
    {
        uint count = _input.KernelFill.Peek(Frames);
        _input.KernelRx.Reserve(count);
        for (uint i = 0; i < count; i++)
        {
            ulong address = _input.KernelFill.Address(i) + IfXdp.XDP_PACKET_HEADROOM;
            _frame.CopyTo(new Span<byte>(_arena.Base + address, _frame.Length));
            _input.KernelRx.PutDescriptor(address, (uint)_frame.Length, 0);
        }

        _input.KernelFill.Release(count);
        _input.KernelRx.Submit();
        _loop.Round(1);
        _other?.Round(1);
        uint sent = _output.KernelTx.Peek(Frames);
        _output.KernelCompletion.Reserve(sent);
        for (uint i = 0; i < sent; i++)
            _output.KernelCompletion.PutAddress(_output.KernelTx.Descriptor(i)->addr);
        _output.KernelTx.Release(sent);
        _output.KernelCompletion.Submit();
        return sent == Frames ? sent : throw new InvalidOperationException($"{sent} of {count} frames were forwarded");
    }

    private static ulong Now() => 1;

    private static void Ignore(nint argument)
    {
    }

    private static PortEntry Entry() =>
        new() { Word = PortEntry.Pack(Generation, 1, PortFlags.Ingress | PortFlags.Egress | PortFlags.Unfinished), FrameBytesMax = 1514 };

    private static OutputPort OutputOf(MemoryPort rings) =>
        new() { Queues = rings.Queue, Counters = rings.Queue->Counters, Generation = Generation, QueueCount = 1 };

    private MemoryPort Attach(PortEntry* ports, ushort id, ushort index, ushort worker)
    {
        MemoryPort rings = new(id, index, Size);
        rings.Queue->Worker = worker;
        ports[id] = Entry();
        foreach (PacketLoop? loop in (PacketLoop?[])[_loop, _other])
        {
            loop?.PostAttach(id, OutputOf(rings));
            loop?.Round(1);
        }

        return rings;
    }
}
