/* SPDX-License-Identifier: GPL-2.0 */
/*
 * rig.bpf.c - the bench rig's own BPF programs: the generator (run by BPF_PROG_RUN with live frames), the counting sink, and a devmap
 * redirect without any lookup, which is what a frame costs when nothing has to be decided.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define SIZES_MAX	12

/* One entry of the pattern of sizes; what the IPv4 header must say for it, in network order. */
struct rig_size {
	__u16 bytes;		/* Ethernet frame without FCS */
	__u16 total_length;
	__u16 checksum;
	__u16 pad;
};

/* Written by user space before a run; RigBpf.cs has the same layout. */
struct rig_config {
	__u64 interval_ns;	/* between two frames; 0: as fast as it goes */
	__u64 burst_ns;		/* how much of the schedule may be made up for after a pause */
	__u32 out_ifindex;
	__u32 destinations;	/* addresses in the range; the last four octets count from 0 */
	__u32 sources;
	__u32 stride;		/* step through the ranges; coprime to them, so that each address has its turn */
	__u32 sizes;
	__u32 base;		/* where the ranges begin */
	__u64 limit;		/* no more frames than that; 0: no limit */
	struct rig_size size[SIZES_MAX];
};

/* What the generator keeps between frames. One CPU runs it. */
struct rig_state {
	__u64 sent;
	__u64 due_ns;		/* when the next frame may leave */
	__u32 index;
	__u32 slot;		/* in the pattern of sizes */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rig_config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rig_state);
} state SEC(".maps");

/* Row 0: test frames to this port's addresses; row 1: other test frames, which were flooded. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} output SEC(".maps");

/* Test frames are IPv4 to 198.18.0.0/15 (RFC 2544); the second octet of a MAC is its port's number. */
#define TEST_NET	0xc612
#define TEST_NET_MASK	0xfffe
#define IPV4_OFFSET	ETH_HLEN

SEC("xdp")
int rig_generate(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct rig_config *c = bpf_map_lookup_elem(&config, &zero);
	struct rig_state *s = bpf_map_lookup_elem(&state, &zero);

	if (!c || !s)
		return XDP_ABORTED;
	if (c->limit && s->sent >= c->limit)
		return XDP_DROP;
	if (c->interval_ns) {
		__u64 now = bpf_ktime_get_ns();

		if (now < s->due_ns)
			return XDP_DROP;	/* too early: the frame is used again */
		if (now - s->due_ns > c->burst_ns)
			s->due_ns = now - c->burst_ns;
		s->due_ns += c->interval_ns;
	}
	if (c->sizes > 1) {
		__u32 slot = s->slot;

		if (slot >= c->sizes || slot >= SIZES_MAX)
			slot = 0;
		s->slot = slot + 1;

		struct rig_size *size = &c->size[slot];
		int delta = (int)size->bytes - (int)(ctx->data_end - ctx->data);

		if (delta && bpf_xdp_adjust_tail(ctx, delta))
			return XDP_ABORTED;

		__u8 *frame = (void *)(long)ctx->data;

		if (frame + 42 > (__u8 *)(long)ctx->data_end)
			return XDP_ABORTED;
		*(__u16 *)(frame + IPV4_OFFSET + 2) = size->total_length;
		*(__u16 *)(frame + IPV4_OFFSET + 10) = size->checksum;
	}

	__u8 *data = (void *)(long)ctx->data;

	if (data + ETH_HLEN > (__u8 *)(long)ctx->data_end)
		return XDP_ABORTED;

	__u32 index = s->index;
	__u32 destination = c->destinations > 1 ? c->base + index % c->destinations : 0;
	__u32 source = c->sources > 1 ? c->base + index % c->sources : 0;

	s->index = index + c->stride;
	*(__u16 *)(data + 2) = bpf_htons(destination >> 16);
	*(__u16 *)(data + 4) = bpf_htons(destination);
	*(__u16 *)(data + 8) = bpf_htons(source >> 16);
	*(__u16 *)(data + 10) = bpf_htons(source);
	s->sent++;
	return bpf_redirect(c->out_ifindex, 0);
}

/* Counts a test frame; 0: it is none. config.sources is the number of the port, as in the second octet of its addresses. */
static __always_inline int counted(__u8 *data, __u8 *end)
{
	__u32 zero = 0;

	if (data + IPV4_OFFSET + 20 > end)
		return 0;
	if (*(__u16 *)(data + 12) != bpf_htons(ETH_P_IP))
		return 0;
	if ((*(__u16 *)(data + IPV4_OFFSET + 16) & bpf_htons(TEST_NET_MASK)) != bpf_htons(TEST_NET))
		return 0;

	struct rig_config *c = bpf_map_lookup_elem(&config, &zero);
	__u32 row = c && data[1] == c->sources ? 0 : 1;
	__u64 *count = bpf_map_lookup_elem(&counts, &row);

	if (count)
		(*count)++;
	return 1;
}

/* Attached to a station's end. */
SEC("xdp")
int rig_count(struct xdp_md *ctx)
{
	return counted((void *)(long)ctx->data, (void *)(long)ctx->data_end) ? XDP_DROP : XDP_PASS;
}

SEC("tc")
int rig_count_skb(struct __sk_buff *skb)
{
	return counted((void *)(long)skb->data, (void *)(long)skb->data_end) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

SEC("xdp")
int rig_devmap(struct xdp_md *ctx)
{
	return bpf_redirect_map(&output, 0, XDP_PASS);
}

char _license[] SEC("license") = "GPL";
