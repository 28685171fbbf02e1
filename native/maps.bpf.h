/* SPDX-License-Identifier: GPL-2.0 */
/*
 * maps.bpf.h - the maps that more than one object has: whoever is loaded later finds them pinned.
 *
 * A part of xenfastpath.bpf.c and lost.bpf.c, which include it behind their types.
 */
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
