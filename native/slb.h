/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * slb.h - what the programs of balance-slb bonds, the control process and whoever transmits for a bond agree on.
 *
 * C# mirrors it in src/XenFastPath.Dataplane/SlbLayout.cs; a unit test compiles this header and compares. Whoever
 * changes a layout raises XFP_LAYOUT_VERSION of xenfastpath.h.
 *
 * An address is VLAN (12 bits) << 48 | MAC, the MAC as in xenfastpath.h; VLAN 0 is "untagged", priority tags too.
 * Its bucket, one of 256, is the top byte of
 *
 *	h = address * XFP_SLB_HASH_A;  h ^= h >> 32;  h *= XFP_SLB_HASH_B;
 *
 * (64-bit arithmetic). All addresses of a bucket leave by one member, whichever path their frames take.
 */
#ifndef XENFASTPATH_SLB_H
#define XENFASTPATH_SLB_H

#define XFP_SLB_BONDS_MAX	16	/* 4 bits of a source's key */
#define XFP_SLB_DEVICES_MAX	1024	/* bonds and members together */
#define XFP_SLB_BUCKETS		256
#define XFP_SLB_HASH_A		0x9e3779b97f4a7c15ULL
#define XFP_SLB_HASH_B		0xd6e8feb86659fd93ULL

/*
 * Sources seen on our side. A device may add BURST of them at once and one each INTERVAL after that: within the default
 * ageing time of 300 s 2224 of them, so 58 devices that flood at once are needed until the table (least recently used
 * goes first) loses an entry of somebody else that is still of use. What is over the budget is sent, but not noted.
 */
#define XFP_SLB_SOURCES_MAX	131072
#define XFP_SLB_ORIGINS_MAX	4096
#define XFP_SLB_BURST		1024
#define XFP_SLB_INTERVAL_NS	250000000ULL

/* As Open vSwitch: a gratuitous ARP that we sent may come back this late without being taken for a move. */
#define XFP_SLB_LOCK_NS		5000000000ULL
/* Control confirms the table every 100 ms. If it does not, the kernel's own choice of a member is the better one. */
#define XFP_SLB_STALE_NS	5000000000ULL

/* A bond. Control writes each field with one store, so that no frame meets half of a change. */
struct xfp_slb_bond {
	unsigned int ifindex;		/* of the bonding device; 0: nobody's */
	unsigned int active;		/* the member on which multicast and broadcast are received; 0: none */
	unsigned long long ageing_ns;	/* how long a source counts as being on our side */
	unsigned long long confirmed_ns; /* CLOCK_MONOTONIC at which control last stood by the table */
	unsigned long long reserved;
	unsigned int member[XFP_SLB_BUCKETS]; /* ifindex of the member, by bucket; 0: the kernel chooses */
	unsigned long long fast_bytes[XFP_SLB_BUCKETS]; /* routed by the forwarder, which alone writes it; the program counts in xfp_slb_load */
};

/* Key of the sources: index of the bond << 60 | address. */
struct xfp_slb_source {
	unsigned long long seen_ns;	/* last frame that went out of the bond with this source */
	unsigned long long locked_ns;	/* last gratuitous ARP among them; 0: none */
	unsigned int origin;		/* ifindex of the port it came in by; 0: dom0 itself */
	unsigned int reserved;
};

/* Bytes that went out, by bucket. */
struct xfp_slb_bytes {
	unsigned long long b[XFP_SLB_BUCKETS];
};

/* What became of a frame; one counter each, per bond. `bond show` prints the names without the prefix, in lower case. */
enum xfp_slb_counter {
	XFP_SLB_C_OUT_BUCKET,		/* sent by its bucket's member */
	XFP_SLB_C_OUT_REPORT,		/* IGMP or MLD report: sent by the active member, where multicast is received */
	XFP_SLB_C_OUT_NO_MEMBER,	/* no member is usable: left to the kernel */
	XFP_SLB_C_OUT_STALE,		/* control is not there: left to the kernel, which hashes source and VLAN too */
	XFP_SLB_C_OUT_RESERVED,		/* link-local (01:80:c2:00:00:0x): left to the kernel */
	XFP_SLB_C_OUT_OVER_BUDGET,	/* sent, but its source is not noted: its port shows too many new ones */
	XFP_SLB_C_IN_OK,
	XFP_SLB_C_IN_RESERVED,		/* link-local: the kernel's bond and bridge know what is for them alone */
	XFP_SLB_C_IN_MOVED,		/* gratuitous ARP of an address that was on our side: it has moved away */
	XFP_SLB_C_IN_DROP_GROUP,	/* multicast or broadcast on a member that is not the active one */
	XFP_SLB_C_IN_DROP_LOOPED,	/* our own frame, come back through the switch */
	XFP_SLB_C_COUNT
};
#define XFP_SLB_C_SLOTS		16	/* a power of two, so that an index can be masked */

struct xfp_slb_counters {
	unsigned long long c[XFP_SLB_C_SLOTS];
};

#endif
