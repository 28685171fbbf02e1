#!/usr/bin/env bash
# Measures the control plane at scale, as root: see Program.cs for what, and --help for how much of it.
#   bench/scale/run.sh [--networks N] [--vifs N] [--rounds N] [--macs N] [--only PARTS] [--bin DIR]
# Builds what it measures (packaging/build.sh) unless --bin names a folder with the programs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ "$(id -u)" = 0 ] || { echo "bench/scale: needs root (namespaces, BPF): sudo $0" >&2; exit 1; }
case " $* " in
	*' --bin '*|*' --help '*) ;;
	*) packaging/build.sh ;;
esac
dotnet build bench/scale -c Release --nologo -v quiet >&2
work=$(mktemp -d)
# Ends what is left of the run: what lives in its namespaces, the namespaces, its folders. Nothing is left unless it was stopped.
cleanup() {
	local status=$? namespace pid
	trap '' EXIT INT TERM HUP
	set +e
	if [ -n "${scale:-}" ]; then
		kill -TERM "$scale" 2>/dev/null
		wait "$scale" 2>/dev/null
		for namespace in $(ip netns list | awk -v tag="xfps$scale-" 'index($1, tag) == 1 { print $1 }'); do
			for pid in $(ip netns pids "$namespace"); do kill -KILL "$pid"; done 2>/dev/null
			ip netns del "$namespace"
		done
	fi
	umount "$work"/*/*/bpf 2>/dev/null
	rm -rf "$work"
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
gcc -O2 -Wall -o "$work/probe" bench/scale/probe.c
TMPDIR=$work artifacts/build/bin/XenFastPath.Scale/release/XenFastPath.Scale --probe "$work/probe" "$@" &
scale=$!
wait "$scale"
