// SPDX-License-Identifier: GPL-2.0
/*
 * xenfastpath.bpf.c - decides, for each frame that enters a port, whether the fast path is sure of it.
 *
 * One classifier, two entry points:
 *   xfp_xdp     on ports whose path is afxdp: what the fast path is sure of goes to the port's AF_XDP socket.
 *   xfp_policy  tc ingress, on every port: the rules that hold on all paths, also while both processes are down.
 *
 * "Sure" means: unicast, untagged, source known on this port, destination known on another forwarding port of the same
 * Network, no longer than that port's MTU allows, and with a checksum that is complete or can be completed from its
 * headers. Everything else is PASS and goes the kernel bridge's way, so a fault here can only cost speed.
 *
 * Order in the kernel: XDP, tc ingress, VLAN upper device, bridge. See the kernel's Documentation/networking/af_xdp.rst
 * and net/bridge/br_input.c.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "xenfastpath.h"

typedef __u64 u64;
typedef __s64 s64;
typedef __u32 u32;
typedef __u16 u16;
typedef __u8 u8;

#define MAC_MASK	0x0000ffffffffffffULL
#define GROUP_BIT	1ULL			/* first bit on the wire = lowest bit of the first byte */
#define IP_FRAGMENT	bpf_htons(0x3fff)	/* more-fragments bit and offset */
#define TPID_QINQ_OLD	0x9100			/* what some switches take for a tag beside 802.1Q and 802.1ad */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XFP_PORTS_MAX);
	__type(key, u32);			/* ifindex */
	__type(value, u32);			/* port id */
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} xfp_port_ids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, XFP_PORTS_MAX);
	__type(key, u32);
	__type(value, struct xfp_port);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} xfp_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, XFP_MACS_MAX);
	__type(key, u64);
	__type(value, struct xfp_fdb_value);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} xfp_fdb SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct xfp_heartbeat);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} xfp_heartbeats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, XFP_PORTS_MAX);
	__type(key, u32);
	__type(value, struct xfp_counters);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} xfp_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, XFP_XSKS_MAX);
	__type(key, u32);
	__type(value, u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} xfp_xsks SEC(".maps");

static __always_inline void count(u32 port_id, u32 what)
{
	struct xfp_counters *row = bpf_map_lookup_elem(&xfp_counts, &port_id);

	if (row)
		row->c[what & (XFP_C_SLOTS - 1)]++;	/* per CPU: no atomic needed */
}

static __always_inline struct xfp_port *port_of(u32 ifindex, u32 *id)
{
	u32 *found = bpf_map_lookup_elem(&xfp_port_ids, &ifindex);

	if (!found)
		return NULL;
	*id = *found;
	return bpf_map_lookup_elem(&xfp_ports, id);
}

static __always_inline u64 fdb_key(u64 word, const void *mac)
{
	/* Two loads, so that a source address at the end of a 14-byte frame can be read too. */
	return ((word & 0xffff0000ULL) << 32) | *(u32 *)mac | (u64)*(u16 *)(mac + 4) << 32;
}

static __always_inline u64 fdb_word(u64 port_word, u32 port_id)
{
	return (port_word & 0xffffffff00000000ULL) | port_id;
}

static __always_inline int is_tag(u16 ethertype)
{
	return ethertype == bpf_htons(ETH_P_8021Q) || ethertype == bpf_htons(ETH_P_8021AD) ||
	       ethertype == bpf_htons(TPID_QINQ_OLD);
}

static __always_inline u16 fold(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/*
 * The checks of one L4 header: protocol `proto`, starting at `l4`, `length` bytes by the IP header; `pseudo` is the sum
 * over both addresses. The forwarder (Checksum.cs) recognises and finishes by that same length, and only what lies in the
 * frame as a whole: what it would leave alone must not be called sure here.
 */
static __always_inline int l4_sure(void *l4, void *end, u8 proto, u64 pseudo, s64 length)
{
	if (proto == IPPROTO_ICMP)
		return 1;
	if (length > end - l4)
		return 0;
	if (proto == IPPROTO_TCP)
		return length >= (s64)sizeof(struct tcphdr);
	if (proto == IPPROTO_UDP) {
		struct udphdr *udp = l4;

		if (l4 + sizeof(*udp) > end || bpf_ntohs(udp->len) != length || length < (s64)sizeof(*udp))
			return 0;
		/*
		 * A guest's own datagram comes with the pseudo-header sum in the field. One that comes with a whole
		 * checksum, or none, may be a tunnel whose inner checksum is the unfinished one: only the kernel,
		 * which has the skb, knows where that is.
		 */
		return udp->check == fold(pseudo + udp->len + bpf_htons(IPPROTO_UDP));
	}
	return 0;
}

/*
 * Can this frame, from a port that may leave checksums unfinished, be finished from its headers? Fragments are whole:
 * the sender cannot leave the checksum of a datagram to a device once it has cut it.
 */
static __always_inline int checksum_sure(void *l3, void *end, u16 ethertype)
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
		return l4_sure(l3 + header, end, ip->protocol, (u64)ip->saddr + ip->daddr,
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
		return l4_sure(l3 + sizeof(*ip), end, ip->nexthdr, sum, bpf_ntohs(ip->payload_len));
	}
	return 0;
}

/*
 * Notes the source of a frame. Returns its FDB entry if it is known on this port, NULL with the reason otherwise.
 * A source that is known on another port is marked there: until control has followed the kernel, both directions of
 * that MAC go the kernel's way.
 */
static __always_inline struct xfp_fdb_value *known_source(u64 word, u32 id, const void *mac, u64 now, u32 *why)
{
	u64 key = fdb_key(word, mac);
	struct xfp_fdb_value *source = bpf_map_lookup_elem(&xfp_fdb, &key);

	if (!source) {
		*why = XFP_C_PASS_SOURCE_UNKNOWN;
		return NULL;
	}
	if ((source->word & 0xffffffff0000ffffULL) != fdb_word(word, id)) {
		source->suspect_ns = now;
		*why = XFP_C_PASS_SOURCE_MOVED;
		return NULL;
	}
	return source;
}

/* Control writes CLOCK_MONOTONIC, the program reads its last tick: a time may lie a little ahead of now. */
static __always_inline s64 since(u64 now, u64 then)
{
	return (s64)(now - then);
}

static __always_inline int is_suspect(const struct xfp_fdb_value *value, u64 now)
{
	return value->suspect_ns && since(now, value->suspect_ns) < (s64)XFP_SUSPECT_NS;
}

/* Must one frame of this source go the kernel's way now, so that the kernel's entry does not age out? */
static __always_inline int refresh_due(struct xfp_fdb_value *source, const struct xfp_port *port, u64 now)
{
	s64 quiet = since(now, source->seen_ns);
	s64 passed = since(now, source->passed_ns);

	if (source->seen_ns != now)		/* one store per tick, not one per frame */
		source->seen_ns = now;
	/* Rather in a pause, where no earlier frame can still be in the forwarder; at twice the interval in any case. */
	return passed > (s64)port->refresh_ns && (quiet >= (s64)XFP_QUIET_NS || passed > 2 * (s64)port->refresh_ns);
}

/* Where the destination lies: XFP_C_TO_FORWARDER or why not. */
static __always_inline u32 known_destination(u64 word, u32 id, const void *mac, u32 length, u64 now)
{
	u64 key = fdb_key(word, mac);
	struct xfp_fdb_value *destination = bpf_map_lookup_elem(&xfp_fdb, &key);
	struct xfp_port *output;
	u32 output_id;
	u64 output_word;

	if (!destination)
		return XFP_C_PASS_UNKNOWN;
	if (is_suspect(destination, now))
		return XFP_C_PASS_SUSPECT;
	output_id = destination->word & 0xffff;
	if (output_id == id)
		return XFP_C_PASS_SAME_PORT;
	output = bpf_map_lookup_elem(&xfp_ports, &output_id);
	if (!output)
		return XFP_C_PASS_OUTPUT_OFF;
	output_word = output->word;
	if ((output_word ^ destination->word) >> 32 || !(output_word & XFP_PORT_EGRESS))
		return XFP_C_PASS_OUTPUT_OFF;
	if (output_word & word & XFP_PORT_ISOLATED)
		return XFP_C_PASS_ISOLATED;
	if (length > output->frame_max)
		return XFP_C_PASS_OVERSIZE;
	return XFP_C_TO_FORWARDER;
}

/* The classifier: XFP_C_TO_FORWARDER, or the reason for PASS or drop. */
static __always_inline u32 classify(const struct xfp_port *port, u32 id, void *data, void *end, u64 now)
{
	struct ethhdr *eth = data;
	u64 word = port->word;
	struct xfp_fdb_value *source;
	u32 why;

	if (data + sizeof(*eth) > end)
		return XFP_C_PASS_PROTOCOL;
	if (is_tag(eth->h_proto))
		return word & XFP_PORT_NO_TAGS ? XFP_C_DROP_TAGGED : XFP_C_PASS_TAGGED;
	if (!(word & XFP_PORT_INGRESS))
		return XFP_C_PASS_PATH_OFF;
	source = known_source(word, id, eth->h_source, now, &why);
	if (!source)
		return why;
	if (is_suspect(source, now))
		return XFP_C_PASS_SUSPECT;
	if (refresh_due(source, port, now))
		why = XFP_C_PASS_REFRESH;
	else if (eth->h_dest[0] & GROUP_BIT)
		why = XFP_C_PASS_GROUP;
	else if ((word & XFP_PORT_UNFINISHED) && !checksum_sure(data + sizeof(*eth), end, eth->h_proto))
		why = XFP_C_PASS_PROTOCOL;
	else
		why = known_destination(word, id, eth->h_dest, end - data, now);
	if (why != XFP_C_TO_FORWARDER && source->passed_ns != now)
		source->passed_ns = now;	/* the kernel sees this one: no refresh needed for a while */
	return why;
}

/* Are both processes alive? 0 or the reason for PASS. */
static __always_inline u32 stale(const struct xfp_port *port, u64 now)
{
	u32 zero = 0;
	struct xfp_heartbeat *beat = bpf_map_lookup_elem(&xfp_heartbeats, &zero);

	if (!beat || since(now, beat->control_ns) > (s64)XFP_CONTROL_STALE_NS)
		return XFP_C_PASS_CONTROL_STALE;
	if (!beat->forwarder_up ||
	    since(now, beat->worker[port->worker & (XFP_WORKERS_MAX - 1)].ns) > (s64)XFP_FORWARDER_STALE_NS)
		return XFP_C_PASS_FORWARDER_STALE;
	return 0;
}

SEC("xdp")
int xfp_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	u64 now = bpf_ktime_get_coarse_ns();
	struct xfp_port *port;
	u32 id, verdict, dead;
	long action = XDP_PASS;

	port = port_of(ctx->ingress_ifindex, &id);
	if (!port)
		return XDP_PASS;
	verdict = classify(port, id, data, end, now);
	if (verdict == XFP_C_TO_FORWARDER) {
		dead = stale(port, now);
		if (dead)
			verdict = dead;
		else if (ctx->rx_queue_index >= port->queues)
			verdict = XFP_C_PASS_NO_SOCKET;
		else
			action = bpf_redirect_map(&xfp_xsks, port->xsk_base + ctx->rx_queue_index, XDP_PASS);
		if (!dead && action != XDP_REDIRECT)
			verdict = XFP_C_PASS_NO_SOCKET;
	} else if (verdict == XFP_C_DROP_TAGGED) {
		action = XDP_DROP;
	}
	count(id, verdict);
	return action;
}

SEC("tc")
int xfp_policy(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct xfp_port *port;
	u64 word;
	u32 id, why;

	port = port_of(skb->ingress_ifindex, &id);
	if (!port)
		return TC_ACT_UNSPEC;
	word = port->word;
	/* The tag of an 802.1Q or 802.1ad frame is in the skb by now; any other is still in the frame. */
	if ((word & XFP_PORT_NO_TAGS) && (skb->vlan_present || is_tag(skb->protocol))) {
		count(id, XFP_C_DROP_TAGGED);
		return TC_ACT_SHOT;
	}
	/* A MAC that moves to a port without XDP must be marked too. */
	if ((word & XFP_PORT_WATCH) && data + ETH_HLEN <= end)
		known_source(word, id, data + ETH_ALEN, bpf_ktime_get_coarse_ns(), &why);
	count(id, XFP_C_POLICY_OK);
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "GPL";
