using XenFastPath.Dataplane;
using XenFastPath.Interop;

namespace XenFastPath.Tests.Dataplane;

public sealed class RingTests
{
    private const uint Size = 8;

    [Theory]
    [InlineData(0u)]
    [InlineData(0xffff_fffau)]      // the indices run through 2^32 in the middle of the test
    [InlineData(0x7fff_fffau)]
    public void Empty_full_and_everything_between(uint start)
    {
        using MemoryRing memory = new(Size, sizeof(ulong), start);
        Ring user = default;
        memory.AttachTo(ref user);
        Assert.Equal(0u, user.Peek(4));
        for (uint round = 0; round < 5; round++)
        {
            Assert.Equal(Size, memory.Kernel.Reserve(100));
            for (ulong i = 0; i < Size; i++)
                memory.Kernel.PutAddress(round * 100 + i);
            Assert.Equal(0u, user.Peek(1));             // put but not published
            memory.Kernel.Submit();
            Assert.Equal(0u, memory.Kernel.Reserve(1)); // full
            Assert.Equal(3u, user.Peek(3));
            Assert.Equal(round * 100 + 2, user.Address(2));
            user.Release(3);
            Assert.Equal(3u, memory.Kernel.Reserve(100));
            Assert.Equal(5u, user.Peek(100));
            Assert.Equal(round * 100 + 7, user.Address(4));
            user.Release(5);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Agrees_with_a_queue_under_random_use(int seed)
    {
        using MemoryRing memory = new(Size, sizeof(ulong), uint.MaxValue - 1000);
        Ring user = default;
        memory.AttachTo(ref user);
        Queue<ulong> published = new(), put = new();
        Random random = new(seed);
        ulong next = 0;
        for (int step = 0; step < 20_000; step++)
        {
            switch (random.Next(3))
            {
                case 0:
                    uint room = memory.Kernel.Reserve((uint)random.Next(1, 5));
                    Assert.True(room <= Size - published.Count - put.Count);
                    for (uint i = 0; i < room; i++)
                    {
                        memory.Kernel.PutAddress(next);
                        put.Enqueue(next++);
                    }

                    break;
                case 1:
                    memory.Kernel.Submit();
                    while (put.TryDequeue(out ulong value))
                        published.Enqueue(value);
                    Assert.Equal((uint)published.Count, memory.Kernel.Pending());
                    break;
                default:
                    uint wanted = (uint)random.Next(1, 5);
                    uint count = user.Peek(wanted);
                    Assert.Equal(Math.Min(wanted, (uint)published.Count), count);
                    for (uint i = 0; i < count; i++)
                        Assert.Equal(published.Dequeue(), user.Address(i));
                    user.Release(count);
                    break;
            }
        }
    }

    [Fact]
    public void A_mark_is_passed_when_all_that_was_published_before_it_is_released()
    {
        using MemoryRing memory = new(Size, sizeof(ulong), uint.MaxValue - 1);
        Ring user = default;
        memory.AttachTo(ref user);
        memory.Kernel.PutAddress(1);
        memory.Kernel.PutAddress(2);
        memory.Kernel.PutAddress(3);
        memory.Kernel.Submit();
        uint mark = user.Published();
        memory.Kernel.PutAddress(4);
        memory.Kernel.Submit();
        user.Peek(2);
        user.Release(2);
        Assert.False(user.HasConsumed(mark));
        user.Peek(1);
        user.Release(1);
        Assert.True(user.HasConsumed(mark));
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(uint.MaxValue - 1)]
    public unsafe void What_was_put_and_not_published_can_be_taken_back_latest_first(uint start)
    {
        using MemoryRing memory = new(Size, sizeof(xdp_desc), start);
        Ring user = default;
        memory.AttachTo(ref user);
        memory.Kernel.PutDescriptor(1, 60, 0);
        memory.Kernel.Submit();
        for (ulong address = 2; address <= 4; address++)
            memory.Kernel.PutDescriptor(address, 60, 0);
        for (ulong address = 4; address >= 2; address--)
        {
            Assert.True(memory.Kernel.TryUnput(out xdp_desc* descriptor));
            Assert.Equal(address, descriptor->addr);
        }

        Assert.False(memory.Kernel.TryUnput(out _));
        Assert.Equal(Size - 1, memory.Kernel.Reserve(Size));
        memory.Kernel.PutDescriptor(5, 60, 0);
        memory.Kernel.Submit();
        Assert.Equal(2u, user.Peek(Size));
        Assert.Equal(1ul, user.Descriptor(0)->addr);
        Assert.Equal(5ul, user.Descriptor(1)->addr);
    }

    [Fact]
    public unsafe void The_wakeup_flag_is_read_from_the_ring()
    {
        using MemoryRing memory = new(Size, sizeof(ulong), 0);
        Ring user = default;
        memory.AttachTo(ref user);
        Assert.False(user.NeedsWakeup);
        *memory.Flags = 1;
        Assert.True(user.NeedsWakeup);
    }
}
