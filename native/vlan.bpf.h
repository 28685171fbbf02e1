/* SPDX-License-Identifier: GPL-2.0 */
/*
 * vlan.bpf.h - VLAN tags: whose a tagged frame is, and which must not pass.
 *
 * A part of xenfastpath.bpf.c, which includes it behind its types and maps.
 */
#ifndef XFP_VLAN_BPF_H
#define XFP_VLAN_BPF_H

#define VID_MASK	0x0fff
#define TCI_DEI		0x1000			/* drop eligible; CFI before 802.1Q-2005 */
#define VLAN_TAG_BYTES	4
#define TPID_QINQ_OLD	0x9100			/* what some switches take for a tag beside 802.1Q and 802.1ad */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, XFP_VLANS_MAX);
	__type(key, u32);			/* trunk's port id << 16 | VID */
	__type(value, u32);			/* VLAN's port id; 0: somebody else's VLAN device */
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} xfp_vlans SEC(".maps");

static __always_inline u32 vlan_key(u32 trunk_id, u32 vid)
{
	return trunk_id << 16 | vid;
}

static __always_inline int is_tag(u16 ethertype)
{
	return ethertype == bpf_htons(ETH_P_8021Q) || ethertype == bpf_htons(ETH_P_8021AD) ||
	       ethertype == bpf_htons(TPID_QINQ_OLD);
}

/*
 * Whose is a frame with this 802.1Q tag? 0 with the VLAN's port id, or the reason for PASS or drop. VID 0 is only a priority.
 * VID 4095 is reserved: no VLAN device takes it, so the bridge of the untagged Network would.
 */
static __always_inline u32 vlan_of(u64 word, u32 trunk, u32 tci, u32 *id)
{
	u32 vid = tci & VID_MASK;
	u32 key = vlan_key(trunk, vid);
	u32 *found;

	if (!vid)
		return XFP_C_PASS_TAGGED;
	found = bpf_map_lookup_elem(&xfp_vlans, &key);
	if (!found)
		return word & XFP_PORT_TRUNK ? XFP_C_DROP_NO_VLAN : XFP_C_PASS_TAGGED;
	if (!*found)
		return XFP_C_PASS_TAGGED;
	*id = *found;
	return 0;
}

/*
 * The port that a tagged frame belongs to: 0 with that port and its id in place of the trunk's, or the reason for PASS or
 * drop. A second tag is the VLAN device's business, and what DEI asks for the forwarder would lose with the tag.
 */
static __always_inline u32 untag(struct xfp_port **port, u32 *id, void *data, void *end)
{
	struct ethhdr *eth = data;
	u16 *tag = data + sizeof(*eth);		/* TCI, then the type of what follows */
	struct xfp_port *vlan;
	u64 word = (*port)->word;
	u32 vlan_id, why;

	if (word & XFP_PORT_NO_TAGS)		/* a trunk VIF is never on the fast path: at most on its way off */
		return XFP_C_DROP_TAGGED;
	if (eth->h_proto != bpf_htons(ETH_P_8021Q) || (void *)(tag + 2) > end)
		return XFP_C_PASS_TAGGED;
	why = vlan_of(word, *id, bpf_ntohs(tag[0]), &vlan_id);
	if (why)
		return why;
	if (tag[0] & bpf_htons(TCI_DEI) || is_tag(tag[1]))
		return XFP_C_PASS_TAGGED;
	vlan = bpf_map_lookup_elem(&xfp_ports, &vlan_id);
	if (!vlan)
		return XFP_C_PASS_TAGGED;
	*port = vlan;
	*id = vlan_id;
	return 0;
}

/*
 * The policy on tags: 0 or the reason to drop. From a trunk VIF no tag passes but a VLAN port's of ours.
 * The tag of an 802.1Q or 802.1ad frame is in the skb by now; any other, and a second one, is still in the frame (so are all
 * of them in an skb that the kernel makes to test a program).
 */
static __always_inline u32 tag_refused(struct __sk_buff *skb, u64 word, u32 id)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	u32 tci, vlan_id, why;
	u32 strange = 0;			/* what becomes of a tag that no VLAN device of ours can take */

	if (word & XFP_PORT_NO_TAGS) {
		if (!skb->vlan_present && !is_tag(skb->protocol))
			return 0;
		strange = XFP_C_DROP_TAGGED;
	}
	if (!(word & XFP_PORT_TRUNK))
		return strange;
	if (skb->vlan_present) {
		if (skb->vlan_proto != bpf_htons(ETH_P_8021Q))
			return strange;
		tci = skb->vlan_tci;
	} else {
		if (skb->protocol != bpf_htons(ETH_P_8021Q) || data + ETH_HLEN + VLAN_TAG_BYTES > end)
			return strange;
		tci = bpf_ntohs(*(u16 *)(data + ETH_HLEN));
	}
	why = vlan_of(word, id, tci, &vlan_id);
	return why == XFP_C_PASS_TAGGED ? strange : why;
}

#endif
