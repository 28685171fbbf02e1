// What a bulk look-up of DPDK's rte_hash costs: 8-byte keys and data, random hits, 64 keys a call. Prints nanoseconds for each key,
// one line for each round. The counterpart is PeerLoops in bench/XenFastPath.Bench.
//   gcc -O3 -march=native rte_hash_bulk.c $(pkg-config --cflags --libs libdpdk) -o rte_hash_bulk
//   rte_hash_bulk ENTRIES ROUNDS -- EAL arguments
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <rte_eal.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>

enum { BATCH = 64, KEYS = 1 << 20 };

static double now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

/* As the keys of the other side: network 1 and the entry's number as a MAC. */
static uint64_t key_of(uint64_t i) { return 1ULL << 48 | i << 8; }

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	uint64_t entries = strtoull(argv[1], NULL, 0), rounds = strtoull(argv[2], NULL, 0);
	if (rte_eal_init(argc - 3, argv + 3) < 0)
		return 1;
	struct rte_hash_parameters parameters = {
		.name = "macs", .entries = entries, .key_len = sizeof(uint64_t), .hash_func = rte_hash_crc, .socket_id = 0,
	};
	struct rte_hash *hash = rte_hash_create(&parameters);
	if (!hash)
		return 1;
	for (uint64_t i = 1; i <= entries; i++) {
		uint64_t key = key_of(i);
		if (rte_hash_add_key_data(hash, &key, (void *)(uintptr_t)i) < 0)
			return 1;
	}

	uint64_t *keys = malloc(KEYS * sizeof(uint64_t)), state = 88172645463325252ULL, sum = 0;
	for (int i = 0; i < KEYS; i++) {
		state ^= state << 13; state ^= state >> 7; state ^= state << 17;
		keys[i] = key_of(state % entries + 1);
	}

	for (uint64_t round = 0; round < rounds; round++) {
		double start = now_ns();
		for (int at = 0; at < KEYS; at += BATCH) {
			const void *batch[BATCH];
			void *data[BATCH];
			uint64_t hits;
			for (int i = 0; i < BATCH; i++)
				batch[i] = keys + at + i;
			if (rte_hash_lookup_bulk_data(hash, batch, BATCH, &hits, data) != BATCH)
				return 1;
			for (int i = 0; i < BATCH; i++)
				sum += (uintptr_t)data[i];
		}
		printf("%.2f\n", (now_ns() - start) / KEYS);
	}

	fprintf(stderr, "sum %lu\n", sum);
	return 0;
}
