/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * xenfastpath.h - what the BPF program, the control process and the forwarder agree on.
 *
 * C# mirrors every struct in src/XenFastPath.Dataplane/Layout.cs; a unit test compiles this header and compares sizes,
 * offsets and constants. Whoever changes a layout raises XFP_LAYOUT_VERSION: maps of another version are replaced,
 * never reused.
 *
 * Byte order: everything is host order; a MAC is the six bytes of the frame loaded as a little-endian integer. The
 * project runs on little-endian machines only (x86-64, arm64).
 */
#ifndef XENFASTPATH_H
#define XENFASTPATH_H

#define XFP_LAYOUT_VERSION	7

#define XFP_PORTS_MAX		8192	/* ports of one daemon; a port id is an index below it, 0 is never used */
#define XFP_NEAR_IFINDEXES	65536	/* devices below it are found without hashing */
#define XFP_XSKS_MAX		16384	/* AF_XDP sockets (port queues) of one daemon */
#define XFP_MACS_MAX		1048576	/* addresses that the FDB map may be asked to hold */
#define XFP_FDB_SLOTS		4	/* entries of one of its buckets, two cache lines */
#define XFP_FDB_TICK_SHIFT	20	/* its times are CLOCK_MONOTONIC ns >> this: 1.05 ms; 32 bits of them come round after 52 days */
#define XFP_VLANS_MAX		16384	/* tags of all trunks together */
#define XFP_WORKERS_MAX		16

/*
 * When a process counts as dead. The forwarder writes its time at least every 20 ms, control every 250 ms.
 * A frame that was redirected just before the forwarder stopped waits at most FORWARDER_STALE in a ring; the
 * forwarder throws such frames away when it wakes up later than STALL, which therefore must be the smaller.
 */
#define XFP_FORWARDER_STALE_NS	75000000ULL
#define XFP_STALL_NS		60000000ULL
#define XFP_CONTROL_STALE_NS	1500000000ULL
/*
 * A MAC seen on another port than its own is not trusted until control has rewritten its entry. Longer than
 * CONTROL_STALE: if control is dead, everything is PASS before the mark runs out.
 */
#define XFP_SUSPECT_NS		3000000000ULL
/*
 * A source that was silent this long has no frame left inside the forwarder, or in a device's bulk of redirected frames, that
 * a PASSed one could overtake.
 */
#define XFP_QUIET_NS		10000000ULL

/* Flags of a port, low 16 bits of xfp_port.word. */
#define XFP_PORT_INGRESS	0x0001	/* its frames may take the fast path */
#define XFP_PORT_EGRESS		0x0002	/* it may be the output of the fast path */
#define XFP_PORT_ISOLATED	0x0004	/* IFLA_BRPORT_ISOLATED: never between two such ports */
#define XFP_PORT_UNFINISHED	0x0008	/* its frames may carry unfinished checksums (vif, veth, tap) */
#define XFP_PORT_NO_TAGS	0x0010	/* policy: frames with a VLAN tag are dropped (every VIF); with XFP_PORT_TRUNK, but those in xfp_vlans */
#define XFP_PORT_WATCH		0x0020	/* not on the fast path itself, but others of its Network are: note moved sources */
#define XFP_PORT_TRUNK		0x0040	/* policy: frames with an 802.1Q tag that is not in xfp_vlans are dropped; VID 0 is none */
#define XFP_PORT_LOOPS		0x0080	/* balance-slb: the switch sends our own frames back, which slb.bpf.c drops; no sign of a move */
#define XFP_PORT_REDIRECT	0x0100	/* path redirect: INGRESS and EGRESS are the program's own doing, not the forwarder's */
#define XFP_PORT_XMIT		0x0200	/* its device, or its trunk's, takes XDP frames now and has its slot in xfp_devs */

/*
 * A port as the data path sees it. `word` is written with one store: generation << 32 | network << 16 | flags,
 * so a reader never sees the flags of one owner of this id with the network of another. One cache line.
 */
struct xfp_port {
	unsigned long long word;
	unsigned long long refresh_ns;	/* PASS one frame of each active source this often: the kernel's entry must not age */
	unsigned int ifindex;
	unsigned int frame_max;		/* longest frame it may be given as an output, bytes: MTU + 14 */
	unsigned short xsk_base;	/* XSKMAP slot of its queue 0 */
	unsigned short queues;		/* AF_XDP sockets it has, from xsk_base on; other queues PASS */
	unsigned short reserved;
	unsigned short tag;		/* a VLAN subinterface: its VID; 0 for every other port */
	unsigned int bridge;		/* ifindex of its bridge; for the next control process, the program does not read it */
	unsigned short trunk;		/* a VLAN subinterface: id of the port that carries its frames */
	unsigned short bond;		/* a bond's member: id of the bond's port, whose its frames are while it has INGRESS */
	unsigned long long pad[3];
};

/*
 * Key of the map xfp_vlans: port id of the trunk << 16 | VID. Its value: the id of the VLAN's port, or 0 for a tag that
 * somebody else's VLAN device on the trunk takes. A VLAN's port has id, generation, Network, addresses and counters of
 * its own; only its frames come and go through the trunk's sockets.
 */

/*
 * The FDB, xfp_fdb: a hash table in an array that control maps and the program reads. An array's look-up is inlined, and a hit costs
 * a cache line, rarely two more; the kernel's hash map costs a call and two or three. A key (network << 48 | MAC; 0: free slot) lies in one of the
 * two buckets that the halves of its hash name, each by its upper bits: half >> shift, counted from bucket 1; in the second only if
 * the first was full.
 *
 * word: generation (32) << 32 | reserved, 0 (16) << 16 | output port id (16), as in the shared-memory table. 0 is "no entry".
 * Control writes the word before the key; a reader looks at the key again after the word: the slot may have changed hands.
 */
struct xfp_fdb_entry {
	unsigned long long key;
	unsigned long long word;
	unsigned int seen;		/* written by the program: last frame with this source on this port */
	unsigned int passed;		/* written by the program: last time one of them went the kernel's way */
	unsigned int suspect;		/* written by the program: last time this source came in on another port; 0: never */
	unsigned int reserved;
};

struct xfp_fdb_bucket {
	struct xfp_fdb_entry entry[XFP_FDB_SLOTS];
};

/* Lies in bucket 0. Written once, by the control process that makes the map. */
struct xfp_fdb_head {
	unsigned long long seed;	/* mixed into every hash, so that a guest cannot choose MACs that meet in one bucket */
	unsigned int buckets;		/* without bucket 0; a power of two */
	unsigned int shift;		/* 32 - its binary logarithm */
};

/* One page shared by control, forwarder and program. Each writer has its own cache lines. */
struct xfp_heartbeat {
	unsigned long long control_ns;	/* CLOCK_MONOTONIC at which the FDB mirror was last caught up */
	unsigned int forwarder_up;	/* written by control: 1 when all ports are in the forwarder, 0 when it died */
	unsigned int netns;		/* inode of the network namespace whose devices the ports are; for lost.bpf.c */
	unsigned int workers;		/* written by the forwarder when it takes the maps: how many of the slots below are in use */
	unsigned int pad0;
	unsigned long long pad1[5];
	struct {
		unsigned long long ns;	/* CLOCK_MONOTONIC of the thread's latest round, at most a millisecond older */
		unsigned long long pad[7];
	} worker[XFP_WORKERS_MAX];
};

/*
 * What became of a frame; one counter each, per port. The names are what `xfp stats` prints, without the prefix and in
 * lower case. XFP_C_TO_FORWARDER and the XFP_C_REDIRECT_ are those that leave the kernel's way.
 */
enum xfp_counter {
	XFP_C_TO_FORWARDER,		/* redirected to the port's AF_XDP socket */
	XFP_C_PASS_PATH_OFF,		/* this port is not on the fast path (now) */
	XFP_C_PASS_CONTROL_STALE,	/* control's heartbeat is old: the tables may be wrong */
	XFP_C_PASS_FORWARDER_STALE,	/* the forwarder's heartbeat is old, or it is known to be dead */
	XFP_C_PASS_NO_SOCKET,		/* the XSKMAP slot is empty or the queue has none */
	XFP_C_PASS_GROUP,		/* broadcast and multicast, reserved addresses included */
	XFP_C_PASS_TAGGED,		/* a VLAN tag that is not one VLAN's of ours: the kernel's way */
	XFP_C_PASS_PROTOCOL,		/* may carry a checksum that only the kernel can finish, or cannot be parsed */
	XFP_C_PASS_SOURCE_UNKNOWN,
	XFP_C_PASS_SOURCE_MOVED,	/* source known on another port: the kernel must learn it here */
	XFP_C_PASS_SUSPECT,		/* source or destination was seen on another port a moment ago */
	XFP_C_PASS_REFRESH,		/* sent the kernel's way so that its FDB entry stays young */
	XFP_C_PASS_UNKNOWN,		/* destination unknown, or an address of dom0 */
	XFP_C_PASS_SAME_PORT,
	XFP_C_PASS_OUTPUT_OFF,		/* destination port not forwarding, gone, or not on the fast path */
	XFP_C_PASS_ISOLATED,
	XFP_C_PASS_OVERSIZE,		/* longer than the output's MTU allows */
	XFP_C_DROP_TAGGED,		/* policy: tagged frame from a plain VIF */
	XFP_C_DROP_NO_VLAN,		/* policy: a tag that no VLAN device of this trunk takes */
	XFP_C_POLICY_OK,		/* seen by the policy hook (tc ingress) and let through */
	XFP_C_REDIRECT_SKB,		/* redirected to its output's transmit side at tc ingress */
	XFP_C_REDIRECT_XDP,		/* redirected to its output's driver in XDP */
	XFP_C_REDIRECT_OUT,		/* of an output: frames that were redirected to it */
	XFP_C_REDIRECT_LOST,		/* of an output: those that its driver refused; of an input: those whose output could take none */
	XFP_C_COUNT
};
#define XFP_C_SLOTS		32	/* size of a port's counter row; a power of two, so that an index can be masked */

struct xfp_counters {
	unsigned long long c[XFP_C_SLOTS];
};

#endif
