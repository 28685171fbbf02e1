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
trap 'rm -rf "$work"' EXIT
gcc -O2 -Wall -o "$work/probe" bench/scale/probe.c
artifacts/build/bin/XenFastPath.Scale/release/XenFastPath.Scale --probe "$work/probe" "$@"
