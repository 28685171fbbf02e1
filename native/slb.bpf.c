// SPDX-License-Identifier: GPL-2.0
/*
 * slb.bpf.c - balance-slb: a bond to a switch that knows nothing of it. Each source address leaves by one member, and
 * what the switch sends back to us is thrown away. After Open vSwitch's ofproto/bond.c; the kernel has no such mode.
 *
 *   xfp_slb_out  tc egress of the bonding device: notes who is on our side, and redirects the frame to the member of
 *                its source's bucket. A redirect keeps GSO, unfinished checksums and the tag beside the frame.
 *   xfp_slb_in   tc ingress of each member, before the bond takes the frame: bond_check_admissibility of Open vSwitch.
 *
 * Link-local frames (01:80:c2:00:00:0x) pass both: where Open vSwitch keeps them from being forwarded unless it is told to,
 * the bridge does so by its group_fwd_mask, and who listens to them on a member must hear them.
 *
 * All of it works while control is dead, but for the choice of members, which needs somebody who watches carriers: of the one
 * to send by the kernel's own, by source MAC and VLAN too, is used until control is back; the one that receives multicast and
 * broadcast stays the same, so there is none of these if that one loses its carrier meanwhile.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "slb.h"

typedef __u64 u64;
typedef __s64 s64;
typedef __u32 u32;
typedef __u16 u16;
typedef __u8 u8;

#define ENODEV		19
#define VID_MASK	0x0fff
#define GROUP_BIT	1	/* first bit on the wire = lowest bit of the first byte */
#define BROADCAST	0xffffffffffffULL
#define RESERVED	0x00000000c28001ULL	/* 01:80:c2:00:00:00 */
#define RESERVED_MASK	0xf0ffffffffffULL
#define ARP_ETHERNET	1
#define ARP_REQUEST	1
#define ARP_REPLY	2
#define IGMP_REPORT_V1	0x12
#define IGMP_REPORT_V2	0x16
#define IGMP_REPORT_V3	0x22
#define MLD_REPORT_V1	131
#define MLD_REPORT_V2	143

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XFP_SLB_DEVICES_MAX);
	__type(key, u32);			/* ifindex of a bond or a member */
	__type(value, u32);			/* index of the bond */
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} xfp_slb_devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, XFP_SLB_BONDS_MAX);
	__type(key, u32);
	__type(value, struct xfp_slb_bond);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} xfp_slb_bonds SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, XFP_SLB_SOURCES_MAX);
	__type(key, u64);
	__type(value, struct xfp_slb_source);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} xfp_slb_sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, XFP_SLB_ORIGINS_MAX);
	__type(key, u32);			/* ifindex of the port that a frame came in by */
	__type(value, u64);			/* its budget is whole again at this time */
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} xfp_slb_budgets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, XFP_SLB_BONDS_MAX);
	__type(key, u32);
	__type(value, struct xfp_slb_bytes);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} xfp_slb_load SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, XFP_SLB_BONDS_MAX);
	__type(key, u32);
	__type(value, struct xfp_slb_counters);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} xfp_slb_counts SEC(".maps");

/* What has to be known of a frame. */
struct frame {
	u64 destination;
	u64 address;		/* of the source */
	u32 l3;			/* where the network header begins */
	u16 ethertype;
	u8 is_group;
	u8 is_reserved;
};

/* linux/if_arp.h would bring in libc: an ARP packet for IPv4 over Ethernet. */
struct arp_ip4 {
	u16 hardware;
	u16 protocol;
	u8 hardware_bytes;
	u8 protocol_bytes;
	u16 operation;
	u8 sender_mac[ETH_ALEN];
	u8 sender_ip[4];
	u8 target_mac[ETH_ALEN];
	u8 target_ip[4];
};

static __always_inline u32 slb_bucket(u64 address)
{
	u64 h = address * XFP_SLB_HASH_A;

	h ^= h >> 32;
	h *= XFP_SLB_HASH_B;
	return h >> 56;
}

static __always_inline u64 slb_address(u16 vlan, const void *mac)
{
	return (u64)vlan << 48 | *(u32 *)mac | (u64)*(u16 *)(mac + 4) << 32;
}

static __always_inline u64 slb_key(u32 bond, u64 address)
{
	return (u64)bond << 60 | address;
}

static __always_inline void count(u32 bond, u32 what)
{
	struct xfp_slb_counters *row = bpf_map_lookup_elem(&xfp_slb_counts, &bond);

	if (row)
		row->c[what & (XFP_SLB_C_SLOTS - 1)]++;		/* per CPU: no atomic needed */
}

static __always_inline struct xfp_slb_bond *bond_of(u32 ifindex, u32 *index)
{
	u32 *found = bpf_map_lookup_elem(&xfp_slb_devices, &ifindex);

	if (!found)
		return NULL;
	*index = *found;
	return bpf_map_lookup_elem(&xfp_slb_bonds, index);
}

/* Control writes CLOCK_MONOTONIC, the program reads its last tick: a time may lie a little ahead of now. */
static __always_inline s64 since(u64 now, u64 then)
{
	return (s64)(now - then);
}

/* False for a frame whose header is not there. A tag is beside the frame, or in it if somebody sent it so. */
static __always_inline int parse(struct __sk_buff *skb, struct frame *frame)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	u16 vlan = 0;

	if (data + sizeof(*eth) > end)
		return 0;
	frame->ethertype = eth->h_proto;
	frame->l3 = ETH_HLEN;
	if (skb->vlan_present) {
		vlan = skb->vlan_tci & VID_MASK;
	} else if (eth->h_proto == bpf_htons(ETH_P_8021Q) || eth->h_proto == bpf_htons(ETH_P_8021AD)) {
		u16 *tag = data + sizeof(*eth);

		if ((void *)(tag + 2) > end)
			return 0;
		vlan = bpf_ntohs(tag[0]) & VID_MASK;
		frame->ethertype = tag[1];
		frame->l3 = ETH_HLEN + 4;
	}
	frame->destination = slb_address(0, eth->h_dest);
	frame->address = slb_address(vlan, eth->h_source);
	frame->is_group = eth->h_dest[0] & GROUP_BIT;
	frame->is_reserved = (frame->destination & RESERVED_MASK) == RESERVED;
	return 1;
}

/* A broadcast ARP reply, or a request of a host for itself: "I am here now". */
static __always_inline int is_gratuitous(struct __sk_buff *skb, const struct frame *frame)
{
	struct arp_ip4 arp;

	if (frame->ethertype != bpf_htons(ETH_P_ARP) || frame->destination != BROADCAST ||
	    bpf_skb_load_bytes(skb, frame->l3, &arp, sizeof(arp)))
		return 0;
	if (arp.hardware != bpf_htons(ARP_ETHERNET) || arp.protocol != bpf_htons(ETH_P_IP) ||
	    arp.hardware_bytes != ETH_ALEN || arp.protocol_bytes != 4)
		return 0;
	return arp.operation == bpf_htons(ARP_REPLY) || (arp.operation == bpf_htons(ARP_REQUEST) &&
	       !__builtin_memcmp(arp.sender_ip, arp.target_ip, sizeof(arp.sender_ip)));
}

/* Who joins a multicast group must do so where multicast is received. MLD comes behind a hop-by-hop header. */
static __always_inline int is_report(struct __sk_buff *skb, const struct frame *frame)
{
	u8 type = 0, next[2];
	u32 at;

	if (frame->ethertype == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, frame->l3, &ip, sizeof(ip)) || ip.protocol != IPPROTO_IGMP ||
		    bpf_skb_load_bytes(skb, frame->l3 + ip.ihl * 4, &type, 1))
			return 0;
		return type == IGMP_REPORT_V1 || type == IGMP_REPORT_V2 || type == IGMP_REPORT_V3;
	}
	if (frame->ethertype != bpf_htons(ETH_P_IPV6) ||
	    bpf_skb_load_bytes(skb, frame->l3 + __builtin_offsetof(struct ipv6hdr, nexthdr), &next[0], 1))
		return 0;
	at = frame->l3 + sizeof(struct ipv6hdr);
	if (next[0] == IPPROTO_HOPOPTS) {
		if (bpf_skb_load_bytes(skb, at, next, sizeof(next)))
			return 0;
		at += (next[1] + 1) * 8;
	}
	if (next[0] != IPPROTO_ICMPV6 || bpf_skb_load_bytes(skb, at, &type, 1))
		return 0;
	return type == MLD_REPORT_V1 || type == MLD_REPORT_V2;
}

/* May this port show one more new address? dom0 itself always. */
static __always_inline int within_budget(u32 origin, u64 now)
{
	u64 *whole, due = now;

	if (!origin)
		return 1;
	whole = bpf_map_lookup_elem(&xfp_slb_budgets, &origin);
	if (whole && since(*whole, now) > 0)
		due = *whole;
	if (since(due, now) >= (s64)(XFP_SLB_BURST * XFP_SLB_INTERVAL_NS))
		return 0;
	due += XFP_SLB_INTERVAL_NS;
	bpf_map_update_elem(&xfp_slb_budgets, &origin, &due, BPF_ANY);
	return 1;
}

static __always_inline void note_source(u32 bond, u64 address, u32 origin, u64 now, int gratuitous)
{
	u64 key = slb_key(bond, address);
	struct xfp_slb_source *known = bpf_map_lookup_elem(&xfp_slb_sources, &key);

	if (known) {
		if (known->seen_ns != now)	/* one store per tick, not one per frame */
			known->seen_ns = now;
		if (known->origin != origin)
			known->origin = origin;
		if (gratuitous)
			known->locked_ns = now;
	} else if (within_budget(origin, now)) {
		struct xfp_slb_source fresh = { .seen_ns = now, .locked_ns = gratuitous ? now : 0, .origin = origin };

		bpf_map_update_elem(&xfp_slb_sources, &key, &fresh, BPF_ANY);
	} else {
		count(bond, XFP_SLB_C_OUT_OVER_BUDGET);
	}
}

SEC("tc")
int xfp_slb_out(struct __sk_buff *skb)
{
	u64 now = bpf_ktime_get_coarse_ns();
	struct xfp_slb_bond *bond;
	struct xfp_slb_bytes *load;
	struct frame frame;
	u32 index, bucket, member, verdict;

	bond = bond_of(skb->ifindex, &index);
	if (!bond || !parse(skb, &frame))
		return TC_ACT_UNSPEC;
	if (frame.is_reserved) {
		count(index, XFP_SLB_C_OUT_RESERVED);
		return TC_ACT_UNSPEC;
	}
	if (!(frame.address & GROUP_BIT))
		note_source(index, frame.address, skb->ingress_ifindex, now, is_gratuitous(skb, &frame));
	bucket = slb_bucket(frame.address) & (XFP_SLB_BUCKETS - 1);
	load = bpf_map_lookup_elem(&xfp_slb_load, &index);
	if (load)
		load->b[bucket] += skb->len;
	member = bond->member[bucket];
	verdict = XFP_SLB_C_OUT_BUCKET;
	if (since(now, bond->confirmed_ns) > (s64)XFP_SLB_STALE_NS) {
		verdict = XFP_SLB_C_OUT_STALE;
		member = 0;
	} else if (!member) {
		verdict = XFP_SLB_C_OUT_NO_MEMBER;
	} else if (frame.is_group && bond->active && is_report(skb, &frame)) {
		verdict = XFP_SLB_C_OUT_REPORT;
		member = bond->active;
	}
	count(index, verdict);
	return member ? bpf_redirect(member, 0) : TC_ACT_UNSPEC;
}

/* Is this source on our side? An entry is void when it is old, and when the device of its origin is gone. */
static __always_inline struct xfp_slb_source *ours(struct __sk_buff *skb, struct xfp_slb_bond *bond, u64 *key, u64 now)
{
	struct xfp_slb_source *source = bpf_map_lookup_elem(&xfp_slb_sources, key);
	u32 mtu = 0;

	if (!source || since(now, source->seen_ns) > (s64)bond->ageing_ns)
		return NULL;
	if (source->origin && bpf_check_mtu(skb, source->origin, &mtu, 0, 0) == -ENODEV) {
		bpf_map_delete_elem(&xfp_slb_sources, key);
		return NULL;
	}
	return source;
}

SEC("tc")
int xfp_slb_in(struct __sk_buff *skb)
{
	u64 now = bpf_ktime_get_coarse_ns(), key;
	struct xfp_slb_source *source;
	struct xfp_slb_bond *bond;
	struct frame frame;
	u32 index, verdict = XFP_SLB_C_IN_OK;

	bond = bond_of(skb->ifindex, &index);
	if (!bond || !parse(skb, &frame))
		return TC_ACT_UNSPEC;
	if (frame.is_reserved) {
		count(index, XFP_SLB_C_IN_RESERVED);
		return TC_ACT_UNSPEC;
	}
	if (frame.is_group && skb->ifindex != bond->active) {
		count(index, XFP_SLB_C_IN_DROP_GROUP);
		return TC_ACT_SHOT;
	}
	key = slb_key(index, frame.address);
	source = ours(skb, bond, &key, now);
	if (source) {
		if (!is_gratuitous(skb, &frame) ||
		    (source->locked_ns && since(now, source->locked_ns) < (s64)XFP_SLB_LOCK_NS)) {
			count(index, XFP_SLB_C_IN_DROP_LOOPED);
			return TC_ACT_SHOT;
		}
		bpf_map_delete_elem(&xfp_slb_sources, &key);
		verdict = XFP_SLB_C_IN_MOVED;
	}
	count(index, verdict);
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "GPL";
