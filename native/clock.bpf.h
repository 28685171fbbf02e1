/* SPDX-License-Identifier: GPL-2.0 */
/*
 * clock.bpf.h - CLOCK_MONOTONIC as of the last tick, without a call for each frame.
 *
 * bpf_ktime_get_coarse_ns() cost a quarter of what the program took: two calls, whose returns a kernel that mitigates "SRSO" makes
 * slow. Its answer changes only when jiffies do, and those the JIT loads from memory. So the answer is kept for as long.
 *
 * A part of xenfastpath.bpf.c, which includes it behind its types.
 */
#ifndef XFP_CLOCK_BPF_H
#define XFP_CLOCK_BPF_H

#define CLOCK_JIFFIES_BITS	24	/* come round after 18 hours at 250 Hz; without a frame in all that time one in 2^24 could be misled */
#define CLOCK_JIFFIES_MASK	((1ULL << CLOCK_JIFFIES_BITS) - 1)

/* Time in FDB ticks << CLOCK_JIFFIES_BITS | the jiffies at which it was asked for: one word, so that CPUs need no order among them. */
static volatile u64 clock_word;

/*
 * Nanoseconds, whole FDB ticks: at most a kernel's tick and 1.05 ms behind CLOCK_MONOTONIC. The kernel raises jiffies some
 * 100 ns before the clock; what is asked for just then is behind by one pause of all CPUs, as it is in the kernel, but until the next tick.
 */
static __always_inline u64 now_ns(void)
{
	u64 jiffies = bpf_jiffies64();
	u64 word = clock_word;

	if ((word ^ jiffies) & CLOCK_JIFFIES_MASK) {
		word = bpf_ktime_get_coarse_ns() >> XFP_FDB_TICK_SHIFT << CLOCK_JIFFIES_BITS | (jiffies & CLOCK_JIFFIES_MASK);
		clock_word = word;
	}
	return word >> CLOCK_JIFFIES_BITS << XFP_FDB_TICK_SHIFT;
}

#endif
