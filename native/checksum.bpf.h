/* SPDX-License-Identifier: GPL-2.0 */
/*
 * checksum.bpf.h - tells whether a frame's checksum is complete, or can be completed from its headers, as the forwarder does
 * (src/XenFastPath.Dataplane/Checksum.cs).
 *
 * A part of xenfastpath.bpf.c, which includes it behind its types.
 */
#ifndef XFP_CHECKSUM_BPF_H
#define XFP_CHECKSUM_BPF_H

#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#define IP_FRAGMENT	bpf_htons(0x3fff)	/* more-fragments bit and offset */

static __always_inline u16 fold(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* What is asked of a frame from a port that may leave checksums unfinished. */
enum checksum_need {
	CHECKSUM_SURE,			/* whole, or to be finished from its headers */
	CHECKSUM_WHOLE,			/* whole: nobody finishes it */
};

/* The least that a tunnel's datagram holds: an IPv4 header and the UDP header whose checksum could be unfinished. */
#define TUNNEL_BYTES_MIN	28

/*
 * The checks of one L4 header: protocol `proto`, starting at `l4`, `length` bytes by the IP header; `pseudo` is the sum
 * over both addresses. The forwarder (Checksum.cs) recognises by that same length, and only what lies in the
 * frame as a whole: what it would leave alone must not be called sure here.
 */
static __always_inline int l4_has(enum checksum_need need, void *l4, void *end, u8 proto, u64 pseudo, s64 length)
{
	if (proto == IPPROTO_ICMP)
		return 1;
	if (length > end - l4)
		return 0;
	if (proto == IPPROTO_TCP) {
		struct tcphdr *tcp = l4;

		if (need == CHECKSUM_SURE)
			return length >= (s64)sizeof(*tcp);
		return l4 + sizeof(*tcp) <= end && length >= (s64)sizeof(*tcp) &&
		       tcp->check != fold(pseudo + bpf_htons(length) + bpf_htons(IPPROTO_TCP));
	}
	if (proto == IPPROTO_UDP) {
		struct udphdr *udp = l4;
		int unfinished;

		if (l4 + sizeof(*udp) > end || bpf_ntohs(udp->len) != length || length < (s64)sizeof(*udp))
			return 0;
		unfinished = udp->check == fold(pseudo + udp->len + bpf_htons(IPPROTO_UDP));
		/*
		 * A guest's own datagram comes with the pseudo-header sum in the field. One that comes with a whole
		 * checksum, or none, may be a tunnel whose inner checksum is the unfinished one: only the kernel,
		 * which has the skb, knows where that is. Too short for a tunnel, it is what it looks like.
		 */
		return need == CHECKSUM_SURE ? unfinished : !unfinished && length < (s64)sizeof(*udp) + TUNNEL_BYTES_MIN;
	}
	return 0;
}

/*
 * Is this frame, from a port that may leave checksums unfinished, what is needed? Fragments are whole: the sender cannot
 * leave the checksum of a datagram to a device once it has cut it.
 */
static __always_inline int checksum_has(enum checksum_need need, void *l3, void *end, u16 ethertype)
{
	if (ethertype == bpf_htons(ETH_P_ARP))
		return 1;
	if (ethertype == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = l3;
		u32 header;

		if (l3 + sizeof(*ip) > end || ip->version != 4 || ip->ihl < 5)
			return 0;
		header = ip->ihl * 4;
		if (ip->frag_off & IP_FRAGMENT)
			return ip->protocol == IPPROTO_UDP || ip->protocol == IPPROTO_TCP ||
			       ip->protocol == IPPROTO_ICMP;
		return l4_has(need, l3 + header, end, ip->protocol, (u64)ip->saddr + ip->daddr,
			      (s64)bpf_ntohs(ip->tot_len) - header);
	}
	if (ethertype == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = l3;
		u64 sum = 0;
		int i;

		if (l3 + sizeof(*ip) > end || ip->version != 6)
			return 0;
		if (ip->nexthdr == IPPROTO_ICMPV6)
			return 1;
		if (ip->nexthdr == IPPROTO_FRAGMENT) {
			u8 *fragment = l3 + sizeof(*ip);

			return (void *)(fragment + 8) <= end && (fragment[0] == IPPROTO_UDP ||
			       fragment[0] == IPPROTO_TCP || fragment[0] == IPPROTO_ICMPV6);
		}
		if (ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP)
			return 0;
#pragma unroll
		for (i = 0; i < 4; i++)
			sum += (u64)ip->saddr.in6_u.u6_addr32[i] + ip->daddr.in6_u.u6_addr32[i];
		return l4_has(need, l3 + sizeof(*ip), end, ip->nexthdr, sum, bpf_ntohs(ip->payload_len));
	}
	return 0;
}

#endif
