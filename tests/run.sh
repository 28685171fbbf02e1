#!/usr/bin/env bash
# Installs what is missing, builds, runs the tests, and ends with the line "N passed, N failed, N skipped".
#   sudo tests/run.sh                 every rung
#   sudo tests/run.sh unit            no root needed once packages are installed; seconds
#   sudo tests/run.sh kernel          namespaces, BPF, AF_XDP, with the published binaries; minutes
# XFP_PAUSE=1 stops at a failing kernel test with everything still up.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. packaging/packages.sh

rungs=("$@")
((${#rungs[@]})) || rungs=(unit kernel)
for rung in "${rungs[@]}"; do
	case $rung in
		unit|kernel) ;;
		*) echo "usage: tests/run.sh [unit] [kernel]" >&2; exit 2 ;;
	esac
done

passed=0 failed=0 skipped=0

# run RUNG PROJECT: runs a test program, shows failures and skips with their reason, adds to the totals.
run() {
	local rung=$1 project=$2 report totals
	report=$(mktemp)
	printf '\n== rung %s\n' "$rung"
	local status=0
	"artifacts/build/bin/$project/release/$project" -noColor -noLogo -diagnostics -result-xml "$report" || status=$?
	# Totals of the whole run: <assembly total= passed= failed= skipped= errors= ...>
	totals=$(grep -o '<assembly [^>]*>' "$report" || true)
	rm -f "$report"
	if [ -z "$totals" ]; then
		echo "rung $rung: the test program ended without a report" >&2
		failed=$((failed + 1))
		return
	fi
	count() { sed -n "s/.* $1=\"\([0-9]*\)\".*/\1/p" <<<"$totals"; }
	local bad=$(($(count failed) + $(count errors)))
	if [ "$bad" = 0 ] && { [ "$status" != 0 ] || [ "$(count passed)" = 0 ]; }; then
		echo "rung $rung: status $status with $(count passed) tests passed" >&2
		bad=1
	fi
	passed=$((passed + $(count passed)))
	failed=$((failed + bad))
	skipped=$((skipped + $(count skipped)))
}

need_dotnet
install_missing "${BUILD_PACKAGES[@]}"
[[ " ${rungs[*]} " != *" kernel "* ]] || install_missing "${TEST_PACKAGES[@]}"
printf '== build\n'
dotnet build XenFastPath.sln -c Release --nologo -v quiet

for rung in "${rungs[@]}"; do
	case $rung in
		unit) run unit XenFastPath.Tests ;;
		kernel)
			if [ "$(id -u)" != 0 ]; then
				echo "rung kernel needs root (namespaces, BPF, AF_XDP)" >&2
				failed=$((failed + 1))
				continue
			fi
			packaging/build.sh
			run kernel XenFastPath.KernelTests
			;;
	esac
done

printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
