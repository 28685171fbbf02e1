#!/usr/bin/python3
"""Writes the frames that PcapTests feeds to the packet loop, and what must come out. Needs python3-scapy.

Run it after changing a case:  tests/XenFastPath.Tests/Pcap/make_pcaps.py
The tests read only what is committed in frames/:
  CASE.inN.pcap   what arrives on port N; the seconds of the time stamps give the order over all ports
  CASE.outN.pcap  what must leave by port N, in this order
  CASE.counters   "port counter value": every counter that is not 0, and no other
Checksums and lengths of the expected frames are computed by scapy, not by anything in this repository.
"""
import os
import struct
from collections import Counter

from scapy.all import (ARP, ICMP, IP, IPOption_RR, IPv6, TCP, UDP, Dot1Q, Ether, GRE, ICMPv6EchoRequest, ICMPv6ND_NS,
                       IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, Raw, SCTP, SCTPChunkData, VXLAN, RawPcapWriter,
                       checksum, fragment, fragment6, in4_pseudoheader, in6_pseudoheader, raw)

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "frames")
FRAME_MIN = 60      # IEEE 802.3 without FCS: shorter frames leave with zeros behind them

# Ports, as PcapTests sets them up: 1, 2 guests; 3 a NIC, whose frames have whole checksums; 4 a guest with MTU 400;
# 5 a guest of another Network.
MAC = {n: "02:00:00:00:00:%02x" % (0x0a + n) for n in range(1, 6)}
MAC_NOBODY = "02:00:00:00:00:f0"       # in no table
MAC_FOREIGN = "02:00:00:00:00:f1"      # entry of this Network that names port 5
MAC_GONE = "02:00:00:00:00:f2"         # entry that names an earlier owner of port 2's id
MAC_OTHER_NETWORK = MAC[5]             # known, but in the other Network only


def text(count):
    """Payload that never repeats with a period of a power of two."""
    return bytes((i * 7 + i // 251) % 256 for i in range(count))


def ip4(**fields):
    return IP(src="192.0.2.1", dst="198.51.100.2", id=0x1234, **fields)


def ip6(**fields):
    return IPv6(src="2001:db8::1", dst="2001:db8:0:1::2", fl=0x12345, **fields)


def ether(destination, upper, source=1, **fields):
    return Ether(dst=destination if isinstance(destination, str) else MAC[destination], src=MAC[source], **fields) / upper


def pseudo_sum(packet):
    """What a sender with checksum offload leaves in the field: the pseudo-header's sum, not complemented."""
    network = packet[1]
    protocol, segment = (17, network[UDP]) if UDP in network else (6, network[TCP])
    if isinstance(network, IP):
        pseudo = in4_pseudoheader(protocol, network.__class__(raw(network)), len(raw(segment)))
    else:
        pseudo = raw(in6_pseudoheader(protocol, network, len(raw(segment))))
    return ~checksum(pseudo) & 0xffff


def partial(packet):
    """The same frame as it comes from a guest: the field of the outermost TCP or UDP header holds the pseudo-header's sum."""
    frame = bytearray(raw(packet))
    start = 14 + (frame[14] & 15) * 4 if frame[12:14] == b"\x08\x00" else 54
    protocol = frame[23] if frame[12:14] == b"\x08\x00" else frame[20]
    struct.pack_into("!H", frame, start + {6: 16, 17: 6}[protocol], pseudo_sum(packet))
    assert bytes(frame) != raw(packet), "the whole checksum is that sum by chance: choose another payload"
    return bytes(frame)


class Case:
    """Frames in, frames out and what is counted for them."""

    def __init__(self, name):
        self.name, self.clock, self.frames, self.counters = name, 0, {}, Counter()

    def record(self, direction, port, frame):
        self.frames.setdefault("%s%d" % (direction, port), []).append((self.clock, frame))

    def receive(self, port, frame):
        self.clock += 1
        self.record("in", port, frame)
        self.counters[port, "RxFrames"] += 1
        self.counters[port, "RxBytes"] += len(frame)

    def passes(self, output, packet, port=1, finished=None):
        """A frame that leaves by `output`: as it came or, if `finished` is given, as that; padded in any case."""
        frame = raw(packet)
        self.receive(port, frame)
        expected = raw(finished) if finished is not None else frame
        if finished is not None:
            self.counters[output, "ChecksumBySoftware"] += 1
        if len(expected) < FRAME_MIN:
            self.counters[output, "Padded"] += 1
            expected = expected.ljust(FRAME_MIN, b"\0")
        self.record("out", output, expected)
        self.counters[output, "TxFrames"] += 1
        self.counters[output, "TxBytes"] += len(expected)

    def finishes(self, output, packet, port=1):
        """A frame that comes with a partial checksum and leaves with the whole one, as scapy has it."""
        self.passes(output, partial(packet), port, finished=packet)

    def drops(self, reason, packet, port=1):
        frame = raw(packet)
        self.receive(port, frame)
        self.counters[port, reason] += 1

    def write(self):
        for name, packets in self.frames.items():
            with RawPcapWriter(os.path.join(FOLDER, "%s.%s.pcap" % (self.name, name)), linktype=1, endianness="<") as pcap:
                pcap.write_header(None)
                for second, frame in packets:
                    pcap.write_packet(frame, sec=second, usec=0)
        with open(os.path.join(FOLDER, self.name + ".counters"), "w", encoding="ascii") as file:
            file.writelines("%d %s %d\n" % (port, name, value) for (port, name), value in sorted(self.counters.items()))


def unicast(case):
    """Whole frames of every sort leave untouched by the port of their destination."""
    case.passes(2, ether(2, ip4() / TCP(sport=1024, dport=80, flags="S", options=[("MSS", 1460), ("SAckOK", b"")])))
    case.passes(2, ether(2, ip4() / TCP(sport=1024, dport=80, flags="PA") / text(1460)))
    case.passes(3, ether(3, ip4() / UDP(sport=53, dport=53) / text(33)))
    case.passes(2, ether(2, ip6() / TCP(sport=1024, dport=443, flags="A") / text(77)))
    case.passes(3, ether(3, ip6() / UDP(sport=53, dport=53) / text(101)))
    case.passes(2, ether(2, ip4() / ICMP(id=7, seq=1) / text(56)))
    case.passes(2, ether(2, ip6() / ICMPv6EchoRequest(id=7, seq=1, data=text(56))))
    case.passes(1, ether(1, ip4() / UDP(sport=1, dport=2) / text(40), source=2), port=2)
    case.passes(1, ether(1, ip4() / TCP(sport=80, dport=1024, flags="A") / text(1460), source=3), port=3)
    case.passes(2, ether(2, Raw(text(46)), type=0x88b5))
    case.passes(2, ether(2, Raw(text(100)), type=100))             # 802.3: the type field is a length


def partial_checksums(case):
    """What offload left open is finished, whatever the lengths, options and padding."""
    for count in (0, 1, 18, 19, 1440):
        case.finishes(2, ether(2, ip4() / TCP(sport=1024, dport=80, flags="PA") / text(count)))
        case.finishes(3, ether(3, ip4() / UDP(sport=5000, dport=5001) / text(count)))
        case.finishes(2, ether(2, ip6() / TCP(sport=1024, dport=80, flags="PA") / text(count)))
        case.finishes(3, ether(3, ip6() / UDP(sport=5000, dport=5001) / text(count)))
    timestamps = [("NOP", None), ("NOP", None), ("Timestamp", (0x01020304, 0x05060708))]
    case.finishes(2, ether(2, ip4() / TCP(sport=1024, dport=80, flags="PA", options=timestamps) / text(1401)))
    case.finishes(2, ether(2, ip4(options=[IPOption_RR(length=39, routers=["192.0.2.9"] * 9)]) / UDP(sport=9, dport=9) / text(64)))
    case.finishes(2, ether(2, ip4(flags="DF", tos=0xb9, ttl=1) / UDP(sport=9, dport=9) / text(7)))
    # A guest that pads by itself: the zeros behind the datagram are no part of it.
    short = ether(2, ip4() / UDP(sport=9, dport=9) / text(3))
    case.passes(2, partial(short).ljust(60, b"\0"), finished=raw(short).ljust(60, b"\0"))
    # The sum that is 0: UDP writes 0xffff for it, since 0 means "no checksum".
    zero = ether(2, ip4() / UDP(sport=9, dport=9) / struct.pack("!H", 0))
    left = zero[UDP].__class__(raw(zero[UDP])).chksum
    zero = ether(2, ip4() / UDP(sport=9, dport=9) / struct.pack("!H", left))
    assert UDP(raw(zero[UDP])).chksum == 0xffff
    case.finishes(2, zero)


def left_alone(case):
    """What is not for the loop to finish leaves as it came, byte for byte."""
    no_sum = ether(2, ip4() / UDP(sport=9, dport=9, chksum=0) / text(64))
    case.passes(2, no_sum)
    # A NIC's frames have whole checksums: one that looks partial is the sender's business.
    case.passes(1, partial(ether(1, ip4() / UDP(sport=9, dport=9) / text(64), source=3)), port=3)
    case.passes(1, partial(ether(1, ip6() / TCP(sport=9, dport=9) / text(64), source=3)), port=3)
    wrong = ether(2, ip4() / TCP(sport=9, dport=9, chksum=0xdead) / text(64))
    case.passes(2, wrong)
    tagged = raw(ether(2, Dot1Q(vlan=5) / ip4() / UDP(sport=9, dport=9) / text(64)))
    case.passes(2, tagged)
    # Headers that lie about their lengths.
    whole = bytearray(partial(ether(2, ip4() / UDP(sport=9, dport=9) / text(64))))
    for offset, value in ((14, 0x4f), (14, 0x44), (14, 0x65), (16, 0xff)):
        lie = bytearray(whole)
        lie[offset] = value
        case.passes(2, bytes(lie))
    case.passes(2, bytes(whole[:14 + 20 + 7]))                     # cut inside the UDP header


def encapsulated(case):
    """Tunnels inside a guest: the outer checksum is finished, the inner frame is payload."""
    inner = Ether(dst="06:00:00:00:00:01", src="06:00:00:00:00:02") / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=1, dport=2) / text(200)
    case.passes(3, ether(3, ip4() / UDP(sport=50000, dport=4789, chksum=0) / VXLAN(vni=42, flags=8) / inner))
    case.passes(3, ether(3, ip4() / UDP(sport=50000, dport=4789) / VXLAN(vni=42, flags=8) / inner))
    case.finishes(3, ether(3, ip4() / UDP(sport=50000, dport=4789) / VXLAN(vni=42, flags=8) / inner))
    case.finishes(3, ether(3, ip6() / UDP(sport=50000, dport=4789) / VXLAN(vni=42, flags=8) / inner))
    case.passes(3, ether(3, ip4() / GRE() / inner[IP]))
    case.passes(3, ether(3, ip4() / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / text(20)))
    case.passes(3, ether(3, ip4() / SCTP(sport=7, dport=7) / SCTPChunkData(data=text(100))))


def extension_headers(case):
    """Behind an extension header nothing is finished; the program lets no open checksum come this far."""
    for header in (IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), IPv6ExtHdrFragment(id=9)):
        case.passes(2, ether(2, ip6() / header / UDP(sport=9, dport=9) / text(90)))
        case.passes(2, ether(2, ip6() / header / TCP(sport=9, dport=9) / text(90)))
    case.passes(2, ether(2, ip6(nh=59)))                           # no next header
    case.passes(2, ether(2, ip6() / ICMPv6ND_NS(tgt="2001:db8:0:1::2")))


def fragments(case):
    """Fragments are whole already: their sender could not leave the sum of a cut datagram to a device."""
    for piece in fragment(ip4() / UDP(sport=9, dport=9) / text(3000), fragsize=1400):
        case.passes(2, ether(2, piece))
    for piece in fragment6(ip6() / IPv6ExtHdrFragment(id=77) / UDP(sport=9, dport=9) / text(3000), 1400):
        case.passes(2, ether(2, piece))
    # The first fragment with the very sum in it that an unfinished datagram of its length would have.
    first = bytearray(partial(ether(2, ip4() / UDP(sport=9, dport=9) / text(64))))
    first[20] |= 0x20
    case.passes(2, bytes(first))


def runts(case):
    """Nothing shorter than 60 bytes leaves, and what is added is zeros, not another guest's data."""
    case.passes(2, ether(2, ARP(psrc="192.0.2.1", pdst="192.0.2.2", hwsrc=MAC[1])))
    for length in (14, 15, 59, 60, 61):
        case.passes(3, raw(ether(3, Raw(text(100)), type=0x88b5))[:length])
    for length in (1, 6, 13):
        case.drops("DropRunt", raw(ether(2, Raw(text(100)), type=0x88b5))[:length])


def sizes(case):
    """A frame may be as long as the output's MTU allows with its Ethernet header, not one byte longer."""
    for output, mtu in ((2, 1500), (4, 400)):
        for length in (mtu - 1, mtu):
            case.passes(output, ether(output, ip4() / UDP(sport=9, dport=9) / text(length - 28)))
        case.finishes(output, ether(output, ip6() / UDP(sport=9, dport=9) / text(mtu - 48)))
        case.drops("DropOversize", ether(output, ip4() / UDP(sport=9, dport=9) / text(mtu + 1 - 28)))
        case.drops("DropOversize", partial(ether(output, ip6() / UDP(sport=9, dport=9) / text(mtu + 1 - 48))))
    # Only the output's MTU counts: port 4 may send what it could not receive.
    case.passes(1, ether(1, ip4() / UDP(sport=9, dport=9) / text(1472), source=4), port=4)
    case.drops("DropOversize", ether(2, Dot1Q(vlan=5) / ip4() / UDP(sport=9, dport=9) / text(1472)))


def destinations(case):
    """Who is not known in this Network, on another port and still there, gets nothing; nothing is flooded here."""
    packet = ip4() / UDP(sport=9, dport=9) / text(64)
    case.drops("DropUnknown", ether(MAC_NOBODY, packet))
    case.drops("DropUnknown", ether("ff:ff:ff:ff:ff:ff", ARP(psrc="192.0.2.1", pdst="192.0.2.2", hwsrc=MAC[1])))
    case.drops("DropUnknown", ether("01:00:5e:00:00:fb", packet))
    case.drops("DropUnknown", ether("33:33:00:00:00:01", ip6() / UDP(sport=9, dport=9) / text(64)))
    case.drops("DropUnknown", ether("01:80:c2:00:00:00", Raw(text(46)), type=46))
    case.drops("DropUnknown", ether("00:00:00:00:00:00", packet))
    case.drops("DropUnknown", ether(MAC_OTHER_NETWORK, packet))
    case.drops("DropUnknown", ether(2, packet, source=5), port=5)
    case.drops("DropOtherNetwork", ether(MAC_FOREIGN, packet))
    case.drops("DropOutputGone", ether(MAC_GONE, packet))
    case.drops("DropSamePort", ether(1, packet))
    # Sources are the program's business: it has passed on a moved one to the kernel before this loop could see it.
    case.passes(2, ether(2, packet, source=3))
    case.passes(2, ether(2, packet, source=2))


def main():
    for name in os.listdir(FOLDER):
        os.remove(os.path.join(FOLDER, name))
    for build in (unicast, partial_checksums, left_alone, encapsulated, extension_headers, fragments, runts, sizes, destinations):
        case = Case(build.__name__)
        build(case)
        case.write()


if __name__ == "__main__":
    main()
