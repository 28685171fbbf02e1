// SPDX-License-Identifier: GPL-2.0
/*
 * lost.bpf.c - counts what is lost behind a redirect in XDP, where no return value tells of it: what an output's driver refuses, and
 * frames whose output takes none any more. On the kernel's tracepoints, which fire once for a bulk; include/trace/events/xdp.h.
 *
 * Loaded when the first port gets XDP on path redirect, and only where the kernel has BTF. Its maps are those of xenfastpath.bpf.c, pinned (maps.bpf.h).
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "xenfastpath.h"

typedef __u32 u32;

/* Of the kernel's structs what is read here; where it lies in them is found when the program is loaded. */
struct ns_common {
	unsigned int inum;
} __attribute__((preserve_access_index));

struct net {
	struct ns_common ns;
} __attribute__((preserve_access_index));

struct namespace_pointer {
	struct net *net;
};

struct net_device {
	int ifindex;
	struct namespace_pointer nd_net;
} __attribute__((preserve_access_index));

#include "maps.bpf.h"

static __always_inline void lost(const struct net_device *device, u32 frames)
{
	u32 zero = 0, ifindex = device->ifindex;
	struct xfp_heartbeat *beat = bpf_map_lookup_elem(&xfp_heartbeats, &zero);
	struct xfp_counters *row;
	u32 *id;

	if (!beat || device->nd_net.net->ns.inum != beat->netns)
		return;
	id = bpf_map_lookup_elem(&xfp_port_ids, &ifindex);
	row = id ? bpf_map_lookup_elem(&xfp_counts, id) : NULL;
	if (row)
		row->c[XFP_C_REDIRECT_LOST] += frames;
}

SEC("tp_btf/xdp_devmap_xmit")
int BPF_PROG(xfp_devmap_xmit, const struct net_device *from, const struct net_device *to, int sent, int drops, int error)
{
	if (drops > 0)
		lost(to, drops);
	return 0;
}

SEC("tp_btf/xdp_redirect_err")
int BPF_PROG(xfp_redirect_err, const struct net_device *device, const void *program, const void *target, int error,
	     int map_type, u32 map_id, u32 index)
{
	/* A full ring of an AF_XDP socket ends here too, and has counters of its own. */
	if (map_type == BPF_MAP_TYPE_DEVMAP)
		lost(device, 1);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
