#!/usr/bin/env bash
# Holds two inner loops against DPDK's on the same core, in turns: MAC table look-ups against rte_hash (a bulk call with 64 keys), and
# the packet loop over ports in memory against testpmd's "mac" over net_null. Prints medians; needs libdpdk-dev and dpdk (Debian).
#   bench/peers/run.sh [ROUNDS] [CPU]
# CPU: the last one unless named. In a virtual machine try another too: a neighbour on the core's other thread slows code that keeps the
# core busy more than code that waits for memory, so it decides ratios.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. packaging/packages.sh
rounds=${1:-5}
install_missing gcc libc6-dev pkg-config libdpdk-dev dpdk
dotnet build bench/XenFastPath.Bench -c Release --nologo -v quiet >&2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2046  # words are meant
gcc -O3 -march=native bench/peers/rte_hash_bulk.c $(pkg-config --cflags --libs libdpdk) -o "$work/rte_hash_bulk"
cpu=${2:-$(($(nproc) - 1))}
other=$((cpu == 0 ? 1 : 0))
eal=(--no-huge -m 1024 --no-pci --no-shconf --no-telemetry)
export DOTNET_TieredPGO=0 DOTNET_TieredCompilation=0

ours() { taskset -c "$cpu" artifacts/build/bin/XenFastPath.Bench/release/XenFastPath.Bench --peer "$1" "$2" 15 | tail -n 9; }
rte_hash() { "$work/rte_hash_bulk" "$1" 15 -- "${eal[@]}" -l "$cpu" 2>/dev/null | tail -n 9; }
# testpmd tells frames per second and port; there are two ports on the core.
testpmd() {
	{ timeout -s INT 7 dpdk-testpmd "${eal[@]}" --vdev net_null0,size=64 --vdev net_null1,size=64 -l "$other,$cpu" --main-lcore "$other" -- --forward-mode=mac \
		--nb-cores=1 --stats-period=1 --no-mlockall --total-num-mbufs=16384 </dev/zero 2>&1 || [ $? = 124 ]; } |
		tr -d '\0' | awk '/Rx-pps/ && $2 > 0 { printf "%.2f\n", 1e9 / (2 * $2) }' | tail -n 6
}
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { printf "%.1f (%.1f-%.1f)", v[int((NR + 1) / 2)], v[1], v[NR] }'; }
ratio() { awk -v a="$(median "$1")" -v b="$(median "$2")" 'BEGIN { printf "%.2f", a / b }'; }
row() { printf '| %s | %s | %s | %s |\n' "$1" "$(median "$work/$2")" "$(median "$work/$3")" "$(ratio "$work/$2" "$work/$3")"; }

for ((i = 0; i < rounds; i++)); do
	printf 'round %d of %d\n' $((i + 1)) "$rounds" >&2
	for entries in 1000 100000 1000000; do
		ours mac-table $entries >>"$work/ours-$entries"
		rte_hash $entries >>"$work/rte-$entries"
	done
	ours loop 10000 >>"$work/ours-loop"
	testpmd >>"$work/testpmd"
done
echo '| nanoseconds, median (least-most) | XenFastPath | DPDK | ratio |'
echo '|---|---|---|---|'
for entries in 1000 100000 1000000; do
	row "MAC table, a key of a batch of 64, $entries entries; rte_hash bulk" "ours-$entries" "rte-$entries"
done
row "packet loop over memory, a 64-byte frame, 10000 MACs; testpmd mac, net_null, no look-up" ours-loop testpmd
