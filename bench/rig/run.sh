#!/usr/bin/env bash
# Measures XenFastPath beside the kernel bridge, Open vSwitch, DPDK's testpmd and a bare XDP redirect, in network namespaces that it makes
# and removes again, also on Ctrl-C. Writes tables, plots and every sample to bench/results. As root; nothing else should run meanwhile.
#   bench/rig/run.sh                    everything, about half an hour
#   bench/rig/run.sh --quick            the main cells, a few minutes
#   bench/rig/run.sh --only PATTERN     what has PATTERN in "workload/cell" (throughput, tcp, turns, latency, zero-loss, learning); begin
#                                       with the workload. Tables of other workloads stay as they were measured.
#   --arms A,B  --repetitions N         some arms only; how often each
#   --results DIR                       where to write
#   --report                            only writes tables and plots again, from the samples
#   --install-peers                     installs Debian's Open vSwitch and DPDK first; without them those arms are left out by name
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. packaging/packages.sh

[ "$(id -u)" = 0 ] || { echo "rig: needs root (namespaces, BPF, AF_XDP): sudo $0" >&2; exit 1; }
arguments=()
for argument in "$@"; do
	case $argument in
		--install-peers) install_missing "${PEER_PACKAGES[@]}" ;;
		--help|-h) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
		*) arguments+=("$argument") ;;
	esac
done
need_dotnet
install_missing "${BUILD_PACKAGES[@]}" "${DEMO_PACKAGES[@]}"
case " ${arguments[*]} " in
	*' --report '*) ;;
	*) packaging/build.sh ;;	# what is measured is this tree
esac
dotnet build bench/XenFastPath.Rig -c Release --nologo -v quiet

tag=xfprig$$
# Ends what is left of the run: what lives in its namespaces, the namespaces, its folders. The rig does this itself unless it is killed.
cleanup() {
	local status=$? namespace pid folder
	trap '' EXIT INT TERM HUP
	set +e
	[ -z "${rig:-}" ] || { kill -TERM "$rig" 2>/dev/null; wait "$rig" 2>/dev/null; }
	for namespace in $(ip netns list | awk -v tag="$tag-" 'index($1, tag) == 1 { print $1 }'); do
		for pid in $(ip netns pids "$namespace"); do kill -KILL "$pid"; done 2>/dev/null
		ip netns del "$namespace"
	done
	for folder in /tmp/"$tag"-*; do
		[ -d "$folder" ] || continue
		umount "$folder/bpf" 2>/dev/null
		rm -rf "$folder"
	done
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

artifacts/build/bin/XenFastPath.Rig/release/XenFastPath.Rig --tag "$tag" --bin artifacts/bin --results bench/results "${arguments[@]}" &
rig=$!
wait "$rig"
