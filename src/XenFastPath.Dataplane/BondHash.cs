// Which member of a bond a frame leaves by: the kernel's own formulas, so that both ways choose alike.
using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace XenFastPath.Dataplane;

/// <summary>The kernel's xmit_hash_policy (IFLA_BOND_XMIT_HASH_POLICY, <c>BOND_XMIT_POLICY_*</c> in linux/if_bonding.h), as far as it is used here.</summary>
public enum BondPolicy : byte
{
    Layer2 = 0,
    Layer34 = 1,
    Layer23 = 2,
    VlanSourceMac = 5,
}

/// <summary>
/// bond_xmit_hash() of drivers/net/bonding/bond_main.c. An ICMP error is not followed to the flow that it tells of, as the kernel
/// does: it is not lost for that, and rare.
/// </summary>
public static unsafe class BondHash
{
    private const int SourceOffset = 6, EtherTypeOffset = 12, L3Offset = Limits.EthernetHeaderBytes;
    private const int Ipv4HeaderBytesMin = 20, Ipv6HeaderBytes = 40;
    private const byte Icmp = 1, Tcp = 6, Udp = 17, Dccp = 33, Esp = 50, Ah = 51, IcmpV6 = 58, Sctp = 132, UdpLite = 136;

    // As they lie in memory on a little-endian machine.
    private const ushort EtherTypeIpv4 = 0x0008, EtherTypeIpv6 = 0xdd86, FragmentMask = 0xff3f;

    /// <summary>The hash of an untagged frame of <paramref name="length"/> bytes, at least 14, that will get <paramref name="tag"/> (0: none).</summary>
    public static uint Of(BondPolicy policy, byte* frame, uint length, ushort tag)
    {
        if (policy == BondPolicy.VlanSourceMac)
            return tag ^ Big24(frame + SourceOffset) ^ Big24(frame + SourceOffset + 3);
        bool hasPorts = policy == BondPolicy.Layer34;
        if (policy == BondPolicy.Layer2 || !Dissect(frame, length, hasPorts, out uint addresses, out uint ports))
            return Addresses(frame);
        uint hash = (hasPorts ? ports : Addresses(frame)) ^ addresses;
        hash ^= hash >> 16;
        hash ^= hash >> 8;
        return hasPorts ? hash >> 1 : hash;
    }

    private static uint Addresses(byte* frame) =>
        (uint)(frame[5] ^ frame[11]) ^ BinaryPrimitives.ReverseEndianness(Unsafe.ReadUnaligned<ushort>(frame + EtherTypeOffset));

    private static uint Big24(byte* bytes) => (uint)(bytes[0] << 16 | bytes[1] << 8 | bytes[2]);

    /// <summary>Both addresses, xored and folded to 32 bits, and the ports as they lie in the frame; false: neither IPv4 nor IPv6.</summary>
    private static bool Dissect(byte* frame, uint length, bool wantsPorts, out uint addresses, out uint ports)
    {
        ushort etherType = Unsafe.ReadUnaligned<ushort>(frame + EtherTypeOffset);
        byte* l3 = frame + L3Offset;
        uint l3Length = length - L3Offset, header;
        addresses = ports = 0;
        byte protocol;
        if (etherType == EtherTypeIpv4 && l3Length >= Ipv4HeaderBytesMin)
        {
            addresses = Unsafe.ReadUnaligned<uint>(l3 + 12) ^ Unsafe.ReadUnaligned<uint>(l3 + 16);
            if ((Unsafe.ReadUnaligned<ushort>(l3 + 6) & FragmentMask) != 0)
                return true;
            protocol = l3[9];
            header = (uint)(*l3 & 0xf) * 4;
        }
        else if (etherType == EtherTypeIpv6 && l3Length >= Ipv6HeaderBytes)
        {
            for (int i = 8; i < Ipv6HeaderBytes; i += 4)
                addresses ^= Unsafe.ReadUnaligned<uint>(l3 + i);
            protocol = l3[6];
            header = Ipv6HeaderBytes;
        }
        else
        {
            return false;
        }

        if (wantsPorts)
            ports = Ports(l3 + header, (long)l3Length - header, protocol);
        return true;
    }

    /// <summary>The first four bytes of the L4 header where they tell flows apart; for an echo its type, code and identifier; otherwise 0.</summary>
    private static uint Ports(byte* l4, long length, byte protocol)
    {
        switch (protocol)
        {
            case Tcp or Udp or Dccp or Esp or Sctp or UdpLite:
                return length >= 4 ? Unsafe.ReadUnaligned<uint>(l4) : 0;
            case Ah:
                return length >= 8 ? Unsafe.ReadUnaligned<uint>(l4 + 4) : 0;
            case Icmp or IcmpV6 when length >= 8 && *l4 is 0 or 8 or 13 or 14 or 128 or 129:
                uint id = BinaryPrimitives.ReverseEndianness(Unsafe.ReadUnaligned<ushort>(l4 + 4));
                return *l4 | (uint)l4[1] << 8 | (id == 0 ? 1 : id) << 16;
            default:
                return 0;
        }
    }
}
