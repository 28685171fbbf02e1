// SPDX-License-Identifier: GPL-2.0
/*
 * xenfastpath.bpf.c - decides, for each frame that enters a port, whether the fast path is sure of it.
 *
 * One classifier, two entry points:
 *   xfp_xdp     on ports whose path is afxdp: what the fast path is sure of goes to the port's AF_XDP socket. On ports of path
 *               redirect that carry XDP frames: it goes to the output's driver, if that takes XDP frames.
 *   xfp_policy  tc ingress, on every port: the rules that hold on all paths, also while both processes are down. On ports of
 *               path redirect it then sends what the fast path is sure of to the output (redirect.bpf.h).
 *
 * A frame that comes in by a bond's member is judged as the bond's; the member's socket takes it.
 * A frame with the tag of one of our VLANs is judged as the VLAN port's, from behind the tag; the trunk's socket takes it.
 *
 * "Sure" means: unicast, source known on this port, destination known on another forwarding port of the same Network and path,
 * no tag but such a one, no longer than that port's MTU allows, and with a checksum that is complete or can be completed by who
 * takes the frame. Everything else is PASS and goes the kernel bridge's way, so a fault here can only cost speed.
 *
 * Order in the kernel: XDP, tc ingress, VLAN upper device, bridge. See the kernel's Documentation/networking/af_xdp.rst
 * and net/bridge/br_input.c.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "xenfastpath.h"

typedef __u64 u64;
typedef __s64 s64;
typedef __u32 u32;
typedef __u16 u16;
typedef __u8 u8;

#include "maps.bpf.h"

#define MAC_MASK	0x0000ffffffffffffULL
#define GROUP_BIT	1ULL			/* first bit on the wire = lowest bit of the first byte */

/* The same for low ifindexes, which nearly all are: an array costs a tenth of a hash. 0: no port. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XFP_NEAR_IFINDEXES);
	__type(key, u32);			/* ifindex */
	__type(value, u32);			/* port id */
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} xfp_near_ids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, XFP_PORTS_MAX);
	__type(key, u32);
	__type(value, struct xfp_port);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} xfp_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, XFP_XSKS_MAX);
	__type(key, u32);
	__type(value, u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} xfp_xsks SEC(".maps");

/* What judging a frame has found on the way. */
struct found {
	struct xfp_fdb_entry *source;	/* NULL: unknown here, or suspect */
	struct xfp_port *output;
	u32 output_id;
};

/*
 * Has the compiler keep it on the stack. As values it sets them anew in front of each branch that may end the judging, on the stack too:
 * an eighth of the program, and 2 of its 59 ns.
 */
static __always_inline void keep_in_memory(struct found *found)
{
	asm volatile("" : : "r"(found) : "memory");
}

#define SURE	XFP_C_TO_FORWARDER	/* as a verdict, on either path; each reason for PASS or drop is greater */

#include "checksum.bpf.h"
#include "clock.bpf.h"
#include "fdb.bpf.h"
#include "vlan.bpf.h"

static __always_inline void count(u32 port_id, u32 what)
{
	struct xfp_counters *row = bpf_map_lookup_elem(&xfp_counts, &port_id);

	if (row)
		row->c[what & (XFP_C_SLOTS - 1)]++;	/* per CPU: no atomic needed */
}

static __always_inline struct xfp_port *port_of(u32 ifindex, u32 *id)
{
	u32 *found;

	if (ifindex < XFP_NEAR_IFINDEXES) {
		found = bpf_map_lookup_elem(&xfp_near_ids, &ifindex);
		/* Keeps the compiler from making one call of both, with a chosen map: the kernel would not inline that. */
		asm volatile("");
	} else {
		found = bpf_map_lookup_elem(&xfp_port_ids, &ifindex);
	}
	if (!found || !*found)
		return NULL;
	*id = *found;
	return bpf_map_lookup_elem(&xfp_ports, id);
}

static __always_inline u64 fdb_word(u64 port_word, u32 port_id)
{
	return (port_word & 0xffffffff00000000ULL) | port_id;
}

/*
 * Notes the source of a frame. Returns its FDB entry if it is known on this port, NULL with the reason otherwise.
 * A source that is known on another port is marked there: until control has followed the kernel, both directions of
 * that MAC go the kernel's way.
 */
static __always_inline struct xfp_fdb_entry *known_source(const struct xfp_fdb_head *head, u64 word, u32 id, const void *mac, u64 now,
							  u32 *why)
{
	u64 found = 0;
	struct xfp_fdb_entry *source = fdb_find(head, word, mac, &found);

	if (!source) {
		*why = XFP_C_PASS_SOURCE_UNKNOWN;
		return NULL;
	}
	if ((found & 0xffffffff0000ffffULL) != fdb_word(word, id)) {
		if (!(word & XFP_PORT_LOOPS))
			source->suspect = fdb_tick(now) ?: 1;
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

static __always_inline int is_suspect(const struct xfp_fdb_entry *entry, u64 now)
{
	return entry->suspect && fdb_since(now, entry->suspect) < (s64)XFP_SUSPECT_NS;
}

/*
 * Must one frame of this source go the kernel's way now, so that the kernel's entry does not age out? Rather in a pause of
 * `quiet_ns`, where no earlier frame can still be under way; at twice the interval in any case.
 */
static __always_inline int refresh_due(const struct xfp_fdb_entry *source, const struct xfp_port *port, s64 quiet_ns, u64 now)
{
	s64 passed = fdb_since(now, source->passed);

	return passed > (s64)port->refresh_ns &&
	       (fdb_since(now, source->seen) >= quiet_ns || passed > 2 * (s64)port->refresh_ns);
}

/* A frame of this source goes the kernel's way: no refresh is needed for a while. */
static __always_inline void note_passed(struct xfp_fdb_entry *source, u64 now)
{
	u32 tick = fdb_tick(now);

	source->seen = tick;
	source->passed = tick;
}

/* Where the destination lies: SURE with the output, or why not. */
static __always_inline u32 known_destination(const struct xfp_fdb_head *head, u64 word, u32 id, const void *mac, u64 now,
					     struct found *found)
{
	u64 found_word = 0, output_word;
	struct xfp_fdb_entry *destination = fdb_find(head, word, mac, &found_word);
	struct xfp_port *output;
	u32 output_id;

	if (!destination)
		return XFP_C_PASS_UNKNOWN;
	if (is_suspect(destination, now))
		return XFP_C_PASS_SUSPECT;
	output_id = found_word & 0xffff;
	if (output_id == id)
		return XFP_C_PASS_SAME_PORT;
	output = bpf_map_lookup_elem(&xfp_ports, &output_id);
	if (!output)
		return XFP_C_PASS_OUTPUT_OFF;
	output_word = output->word;
	if ((output_word ^ found_word) >> 32 || !(output_word & XFP_PORT_EGRESS) || (output_word ^ word) & XFP_PORT_REDIRECT)
		return XFP_C_PASS_OUTPUT_OFF;
	if (output_word & word & XFP_PORT_ISOLATED)
		return XFP_C_PASS_ISOLATED;
	found->output = output;
	found->output_id = output_id;
	return SURE;
}

/* Both addresses of a frame that belongs to this port: SURE with what was found, or the reason for PASS. */
static __always_inline u32 judge(const struct xfp_port *port, u32 id, const struct ethhdr *eth, s64 quiet_ns, u64 now,
				 struct found *found)
{
	const struct xfp_fdb_head *head = fdb_head();
	u64 word = port->word;
	struct xfp_fdb_entry *source;
	u32 tick = fdb_tick(now);
	u32 why;

	if (!(word & XFP_PORT_INGRESS))
		return XFP_C_PASS_PATH_OFF;
	source = known_source(head, word, id, eth->h_source, now, &why);
	if (!source)
		return why;
	if (is_suspect(source, now))
		return XFP_C_PASS_SUSPECT;
	found->source = source;
	/* Once per tick, not for each frame: the answer would be the same. */
	if (source->seen != tick) {
		if (refresh_due(source, port, quiet_ns, now))
			return XFP_C_PASS_REFRESH;
		source->seen = tick;
	}
	if (eth->h_dest[0] & GROUP_BIT)
		return XFP_C_PASS_GROUP;
	return known_destination(head, word, id, eth->h_dest, now, found);
}

/*
 * The classifier of whole frames: SURE, or the reason for PASS or drop. `port` and `id` come in as those of the device and go
 * out as those of the port that the frame belongs to.
 */
static __always_inline u32 classify(struct xfp_port **port, u32 *id, void *data, void *end, u64 now, struct found *found)
{
	struct ethhdr *eth = data;
	u16 ethertype;
	u64 header = sizeof(*eth);	/* 64 bits: the verifier allows no narrower sums with pointers */
	u64 word, length;
	enum checksum_need need;
	u32 why;

	if (data + sizeof(*eth) > end)
		return XFP_C_PASS_PROTOCOL;
	ethertype = *(u16 *)(data + 2 * ETH_ALEN);	/* struct ethhdr is packed: its field would be read by the byte */
	if (is_tag(ethertype)) {
		why = untag(port, id, data, end);
		if (why)
			return why;
		header += VLAN_TAG_BYTES;
		if (data + sizeof(*eth) + VLAN_TAG_BYTES > end)
			return XFP_C_PASS_PROTOCOL;
		ethertype = *(u16 *)(data + sizeof(*eth) + sizeof(u16));
	}
	why = judge(*port, *id, eth, XFP_QUIET_NS, now, found);
	if (why)
		return why;
	word = (*port)->word;
	length = end - data - (header - sizeof(*eth));
	if (length > found->output->frame_max)
		return XFP_C_PASS_OVERSIZE;
	if (!(word & XFP_PORT_UNFINISHED))
		return SURE;
	need = word & XFP_PORT_REDIRECT ? CHECKSUM_WHOLE : CHECKSUM_SURE;
	return checksum_has(need, data + header, end, ethertype) ? SURE : XFP_C_PASS_PROTOCOL;
}

/* Does control vouch for the tables? 0 or the reason for PASS. */
static __always_inline u32 control_stale(const struct xfp_heartbeat *beat, u64 now)
{
	return beat && since(now, beat->control_ns) <= (s64)XFP_CONTROL_STALE_NS ? 0 : XFP_C_PASS_CONTROL_STALE;
}

static __always_inline struct xfp_heartbeat *heartbeat(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&xfp_heartbeats, &zero);
}

/*
 * Are both processes alive? 0 or the reason for PASS. All workers of the forwarder are asked: which of them a frame meets
 * depends on its queue, and on the member that its bond chooses.
 */
static __always_inline u32 stale(u64 now)
{
	struct xfp_heartbeat *beat = heartbeat();
	u32 i;

	if (!beat || control_stale(beat, now))
		return XFP_C_PASS_CONTROL_STALE;
	if (!beat->forwarder_up || !beat->workers)
		return XFP_C_PASS_FORWARDER_STALE;
	for (i = 0; i < XFP_WORKERS_MAX && i < beat->workers; i++) {
		if (since(now, beat->worker[i].ns) > (s64)XFP_FORWARDER_STALE_NS)
			return XFP_C_PASS_FORWARDER_STALE;
	}
	return 0;
}

#include "redirect.bpf.h"

/*
 * The port that the frames of a device belong to: its own or, if it is a member of a bond, the bond's; NULL if the member
 * has to rest, as the passive one of active-backup: what it receives the kernel drops.
 */
static __always_inline struct xfp_port *owner_of(struct xfp_port *port, u32 *id)
{
	u32 bond = port->bond;

	if (!bond)
		return port;
	if (!(port->word & XFP_PORT_INGRESS))
		return NULL;
	*id = bond;
	return bpf_map_lookup_elem(&xfp_ports, &bond);
}

SEC("xdp")
int xfp_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	u64 now = now_ns();
	struct xfp_port *port, *owner;		/* the device's, and the frame's: its bond's, and its VLAN's if it has a tag */
	struct found found = {};
	u32 id, verdict, dead;
	long action = XDP_PASS;

	port = port_of(ctx->ingress_ifindex, &id);
	if (!port)
		return XDP_PASS;
	owner = owner_of(port, &id);
	if (!owner) {
		count(id, XFP_C_PASS_PATH_OFF);
		return XDP_PASS;
	}
	keep_in_memory(&found);
	verdict = classify(&owner, &id, data, end, now, &found);
	/* What XDP cannot redirect it leaves alone: at tc ingress the frame is judged again, and counted. */
	if (owner->word & XFP_PORT_REDIRECT)
		return verdict == SURE ? redirect_frame(ctx, owner, id, &found, now) : XDP_PASS;
	if (found.source && verdict != SURE)
		note_passed(found.source, now);
	if (verdict == SURE) {
		dead = stale(now);
		if (dead)
			verdict = dead;
		else if (ctx->rx_queue_index >= port->queues)
			verdict = XFP_C_PASS_NO_SOCKET;
		else
			action = bpf_redirect_map(&xfp_xsks, port->xsk_base + ctx->rx_queue_index, XDP_PASS);
		if (!dead && action != XDP_REDIRECT)
			verdict = XFP_C_PASS_NO_SOCKET;
	} else if (verdict == XFP_C_DROP_TAGGED || verdict == XFP_C_DROP_NO_VLAN) {
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
	why = tag_refused(skb, word, id);
	if (why) {
		count(id, why);
		return TC_ACT_SHOT;
	}
	if (word & XFP_PORT_REDIRECT) {
		int action = redirect_skb(skb, port, id, now_ns());

		if (action != TC_ACT_UNSPEC)
			return action;
	} else if ((word & XFP_PORT_WATCH) && data + ETH_HLEN <= end) {
		/* A MAC that moves to a port that is not on the fast path must be marked too. */
		known_source(fdb_head(), word, id, data + ETH_ALEN, now_ns(), &why);
	}
	count(id, XFP_C_POLICY_OK);
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "GPL";
