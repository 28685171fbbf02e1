/* SPDX-License-Identifier: GPL-2.0 */
/*
 * redirect.bpf.h - the in-kernel shortcut: frames that the fast path is sure of go straight to their output's device.
 *
 *   redirect_skb    at tc ingress, any device. GSO, an unfinished checksum and the tag beside the frame stay what they are, and the
 *                   frame leaves as if the bridge had sent it: a VLAN's device puts the tag on, a bond chooses the member, and what
 *                   hangs on the device's tc egress sees it.
 *   redirect_frame  in XDP, from driver to driver, where both ends carry XDP frames: the tag comes off and goes on here.
 *
 * A part of xenfastpath.bpf.c, which includes it behind its classifier.
 */
#ifndef XFP_REDIRECT_BPF_H
#define XFP_REDIRECT_BPF_H

#define FRAME_BYTES_MIN	60	/* a driver need not pad an XDP frame (net/ethernet/eth.c does so for an skb) */

/*
 * Not pinned: the kernel adds BPF_F_RDONLY_PROG to its flags, by which older libbpf takes a pinned one for another map. The next
 * control process fills its own; meanwhile a slot is empty, and tc ingress redirects.
 */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, XFP_PORTS_MAX);
	__type(key, u32);			/* port id */
	__type(value, u32);			/* ifindex */
} xfp_devs SEC(".maps");

/*
 * Is the packet too long for its output? 0 or the reason for PASS. A GSO packet is as long as its segments, for which the
 * kernel knows the headers; is_skb_forwardable() of the bridge lets all of them pass, so they are its business then.
 */
static __always_inline u32 too_long(struct __sk_buff *skb, const struct xfp_port *output)
{
	u32 mtu = 0;

	if (skb->len <= output->frame_max)
		return 0;
	if (!skb->gso_size || bpf_check_mtu(skb, output->ifindex, &mtu, 0, BPF_MTU_CHK_SEGS))
		return XFP_C_PASS_OVERSIZE;
	return 0;
}

/* TC_ACT_REDIRECT, or TC_ACT_UNSPEC: the kernel's way. Counts why. */
static __always_inline int redirect_skb(struct __sk_buff *skb, const struct xfp_port *port, u32 id, u64 now)
{
	struct ethhdr *eth = (void *)(long)skb->data;
	struct found found = {};
	u32 why;

	if (skb->vlan_present || is_tag(skb->protocol)) {
		/* A VLAN's device has a hook of its own. */
		if (!(port->word & XFP_PORT_TRUNK))
			count(id, XFP_C_PASS_TAGGED);
		return TC_ACT_UNSPEC;
	}
	if ((void *)(eth + 1) > (void *)(long)skb->data_end) {
		count(id, XFP_C_PASS_PROTOCOL);
		return TC_ACT_UNSPEC;
	}
	/*
	 * What is redirected here is through before the next frame is looked at: no pause is needed to let one pass. (The time at
	 * which a source was seen may lie a little ahead of now.)
	 */
	why = judge(port, id, eth, -(s64)XFP_QUIET_NS, now, &found);
	if (!why)
		why = too_long(skb, found.output);
	if (!why)
		why = control_stale(heartbeat(), now);
	if (found.source && why != SURE)
		note_passed(found.source, now);
	if (why) {
		count(id, why);
		return TC_ACT_UNSPEC;
	}
	count(id, XFP_C_REDIRECT_SKB);
	count(found.output_id, XFP_C_REDIRECT_OUT);
	return bpf_redirect(found.output->ifindex, 0);
}

/* Both addresses of a frame, to be moved when a tag comes or goes. */
struct addresses {
	u64 low;
	u32 high;
} __attribute__((packed));

/*
 * Takes a frame's tag off, puts one on, or changes it; a tag of 0 is none. Returns 0, or -1: there is no room, and nothing has
 * been touched. Afterwards pointers into the frame are void.
 */
static __always_inline int retag(struct xdp_md *ctx, u16 old, u16 new)
{
	struct addresses *from = (void *)(long)ctx->data, saved;
	int delta = (old ? VLAN_TAG_BYTES : 0) - (new ? VLAN_TAG_BYTES : 0);
	void *data, *end;

	if ((void *)(from + 1) > (void *)(long)ctx->data_end)
		return -1;
	saved = *from;
	if (delta && bpf_xdp_adjust_head(ctx, delta))
		return -1;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + sizeof(struct ethhdr) + VLAN_TAG_BYTES > end)
		return -1;			/* never: the frame has its least length without a tag */
	*(struct addresses *)data = saved;
	if (new) {
		*(u16 *)(data + sizeof(saved)) = bpf_htons(ETH_P_8021Q);
		*(u16 *)(data + sizeof(struct ethhdr)) = bpf_htons(new);
	}
	return 0;
}

/*
 * A frame of port `owner` with this id, of which the classifier is sure. XDP_REDIRECT, or XDP_PASS: the output is no XDP device
 * now, or the frame is not fit for one. The frame is then untouched, and tc ingress decides.
 */
static __always_inline int redirect_frame(struct xdp_md *ctx, const struct xfp_port *owner, u32 id, const struct found *found, u64 now)
{
	const struct xfp_port *output = found->output;
	u32 device = output->tag ? output->trunk : found->output_id;
	u64 least = FRAME_BYTES_MIN + (owner->tag ? VLAN_TAG_BYTES : 0);
	int tags = owner->tag || output->tag;

	if (!(output->word & XFP_PORT_XMIT) || ctx->data_end - ctx->data < least || control_stale(heartbeat(), now))
		return XDP_PASS;
	if (tags && (!bpf_map_lookup_elem(&xfp_devs, &device) || retag(ctx, owner->tag, output->tag)))
		return XDP_PASS;
	if (bpf_redirect_map(&xfp_devs, device, XDP_PASS) != XDP_REDIRECT) {
		if (!tags)
			return XDP_PASS;
		count(found->output_id, XFP_C_REDIRECT_LOST);	/* the device has gone between the two looks */
		return XDP_DROP;
	}
	count(id, XFP_C_REDIRECT_XDP);
	count(found->output_id, XFP_C_REDIRECT_OUT);
	return XDP_REDIRECT;
}

#endif
