/* SPDX-License-Identifier: GPL-2.0 */
/*
 * fdb.bpf.h - looks addresses up in the table that control keeps in xfp_fdb (struct xfp_fdb_bucket in xenfastpath.h).
 *
 * A part of xenfastpath.bpf.c, which includes it.
 */
#ifndef XFP_FDB_BPF_H
#define XFP_FDB_BPF_H

/* Control sets max_entries to what its tables shall hold before it loads the object. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, XFP_MACS_MAX / 2 + 1);
	__type(key, u32);
	__type(value, struct xfp_fdb_bucket);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} xfp_fdb SEC(".maps");

/* A time may lie this much ahead: control writes CLOCK_MONOTONIC, the program reads its last tick. */
#define FDB_TICKS_AHEAD	1024

static __always_inline u32 fdb_tick(u64 now)
{
	return now >> XFP_FDB_TICK_SHIFT;
}

/* Nanoseconds since an entry's time, exact to a tick. */
static __always_inline s64 fdb_since(u64 now, u32 then)
{
	return ((s64)(u32)(fdb_tick(now) - then + FDB_TICKS_AHEAD) - FDB_TICKS_AHEAD) * (1LL << XFP_FDB_TICK_SHIFT);
}

static __always_inline u64 mac_of(const void *mac)
{
	/* Two loads, so that a source address at the end of a 14-byte frame can be read too. */
	return *(u32 *)mac | (u64)*(u16 *)(mac + 4) << 32;
}

static __always_inline u64 fdb_key(u64 port_word, u64 mac)
{
	return ((port_word & 0xffff0000ULL) << 32) | mac;
}

/*
 * The same as FdbMap.Hash. The Network comes in last: which it is the port's entry says, and while that is being looked up, the CPU
 * already mixes the address.
 */
static __always_inline u64 fdb_hash(u64 port_word, u64 mac, u64 seed)
{
	u64 h = (mac ^ seed) * 0x9e3779b97f4a7c15ULL;

	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ULL;
	h ^= h >> 29;
	return h ^ ((u32)port_word >> 16) * 0xa0761d6478bd642fULL;
}

/*
 * A slot's number, unknown to the verifier. It would go through all that follows for each slot in which the source may lie, and from
 * there for each of the destination's: three times the instructions, while the control process that starts waits.
 */
static __always_inline u64 hidden(u64 slot, u64 key)
{
	asm volatile("%0 ^= %1\n\t%0 ^= %1" : "+r"(slot) : "r"(key));
	return slot & (XFP_FDB_SLOTS - 1);
}

static __always_inline struct xfp_fdb_entry *fdb_in_bucket(u64 half, const struct xfp_fdb_head *head, u64 key)
{
	u32 index = 1 + (half >> head->shift);
	struct xfp_fdb_bucket *bucket = bpf_map_lookup_elem(&xfp_fdb, &index);
	int i;

	if (!bucket)
		return NULL;
#pragma unroll
	for (i = 0; i < XFP_FDB_SLOTS; i++) {
		if (*(volatile u64 *)&bucket->entry[i].key == key)
			return &bucket->entry[hidden(i, key)];
	}
	return NULL;
}

static __always_inline const struct xfp_fdb_head *fdb_head(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&xfp_fdb, &zero);
}

/*
 * The entry of an address in a port's Network, and its word as it was while the entry was this key's. x86 keeps loads in order;
 * elsewhere this would need load-acquire.
 */
static __always_inline struct xfp_fdb_entry *fdb_find(const struct xfp_fdb_head *head, u64 port_word, const void *address, u64 *word)
{
	struct xfp_fdb_entry *entry;
	u64 mac = mac_of(address);
	u64 key = fdb_key(port_word, mac);
	u64 hash;

	if (!head)
		return NULL;
	hash = fdb_hash(port_word, mac, head->seed);
	entry = fdb_in_bucket((u32)hash, head, key);
	if (!entry)
		entry = fdb_in_bucket(hash >> 32, head, key);
	if (!entry)
		return NULL;
	*word = *(volatile u64 *)&entry->word;
	return *word && *(volatile u64 *)&entry->key == key ? entry : NULL;
}

#endif
