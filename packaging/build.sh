#!/usr/bin/env bash
# Builds XenFastPath: installs what is missing (apt), compiles the BPF program, publishes the NativeAOT binaries to
# artifacts/bin/{xenfastpathd,xenfastpath-forwarder,xenfastpath-forwarder-v3,xfp}.
#   packaging/build.sh              everything
#   packaging/build.sh --deps-only  only install what is missing
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=$PWD/artifacts/bin
. packaging/packages.sh

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*"; }

need_dotnet
install_missing "${BUILD_PACKAGES[@]}"
[ "${1:-}" = --deps-only ] && exit 0

case $(uname -m) in
	x86_64) rid=linux-x64 ;;
	aarch64) rid=linux-arm64 ;;
	*) echo "build.sh: $(uname -m) is neither x86_64 nor aarch64" >&2; exit 1 ;;
esac

# publish PROJECT NAME [ARGUMENT ...]: the binary of one project, under its final name.
publish() {
	local project=$1 name=$2 folder=$work/$2 log=$work/$2.log
	shift 2
	if ! dotnet publish "src/XenFastPath.$project" -c Release -r "$rid" -o "$folder" --nologo "$@" >"$log" 2>&1; then
		cat "$log" >&2
		return 1
	fi
	# Warnings of the AOT compiler are promises broken at run time.
	if grep -E 'warning (IL|AOT)' "$log" >&2; then return 1; fi
	local built
	built=$(find "$folder" -maxdepth 1 -type f -perm -100 ! -name '*.dbg' ! -name '*.so' | head -1)
	install -D -m 0755 "$built" "$out/$name.new"
	mv "$out/$name.new" "$out/$name"	# a running binary is replaced, not overwritten
	say "built artifacts/bin/$name"
}

mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say "building (${rid}); the first time takes about a minute and a half"
publish Daemon xenfastpathd
publish Forwarder xenfastpath-forwarder
[ "$rid" = linux-x64 ] && publish Forwarder xenfastpath-forwarder-v3 -p:XfpInstructionSet=x86-64-v3
publish Cli xfp
