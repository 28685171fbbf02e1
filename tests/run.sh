#!/usr/bin/env bash
# Installs what is missing, builds, runs the tests, and ends with the line "N passed, N failed, N skipped".
#   sudo tests/run.sh                 every rung
#   sudo tests/run.sh unit            no root needed once packages are installed; seconds
#   sudo tests/run.sh kernel          namespaces, BPF, AF_XDP, with the published binaries; minutes
#   sudo tests/run.sh vm              the same on the oldest and the newest kernel, emulated, with what this one lacks (8021q, bonding,
#                                     zero-copy); up to 20 minutes. One kernel, chosen tests: tests/vm/README.md
# A kernel test's trait "rung" says where it runs: vm (only there), minimum (here and on the oldest kernel), or none (only here). Of the
# first, those with the trait "kernel" newest are left out on the oldest kernel, and oldest on the newest. Rows of a theory may have them too.
# XFP_PAUSE=1 stops at a failing kernel test with everything still up.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. packaging/packages.sh

rungs=("$@")
((${#rungs[@]})) || rungs=(unit kernel vm)
for rung in "${rungs[@]}"; do
	case $rung in
		unit|kernel|vm) ;;
		*) echo "usage: tests/run.sh [unit] [kernel] [vm]" >&2; exit 2 ;;
	esac
done

passed=0 failed=0 skipped=0

# tally RUNG REPORT STATUS: adds a test program's report to the totals.
tally() {
	local rung=$1 report=$2 status=$3 totals
	# Totals of the whole run: <assembly total= passed= failed= skipped= errors= ...>
	totals=$(grep -so '<assembly [^>]*>' "$report" || true)
	if [ -z "$totals" ]; then
		echo "failed: rung $rung: the test program ended without a report" | tee -a "$reports/failures" >&2
		failed=$((failed + 1))
		return
	fi
	count() { sed -n "s/.* $1=\"\([0-9]*\)\".*/\1/p" <<<"$totals"; }
	local bad=$(($(count failed) + $(count errors)))
	if [ "$bad" = 0 ] && { [ "$status" != 0 ] || [ "$(count passed)" = 0 ]; }; then
		echo "failed: rung $rung: status $status with $(count passed) tests passed" | tee -a "$reports/failures" >&2
		bad=1
	fi
	passed=$((passed + $(count passed)))
	failed=$((failed + bad))
	skipped=$((skipped + $(count skipped)))
	# What failed is said again at the end, where it is found: the test's name and its message on one line.
	awk -v RS='<test ' -v rung="$rung" '
		/result="Fail"/ {
			# The first is the name of the test; traits and the next collection have one too.
			name = match($0, / name="[^"]*"/) ? substr($0, RSTART + 7, RLENGTH - 8) : "?"
			text = $0; gsub(/\n/, " ", text)
			if (!sub(/.*<message>/, "", text)) text = ""
			sub(/<\/message>.*/, "", text); gsub(/<!\[CDATA\[|\]\]>/, "", text); gsub(/&quot;/, "\"", name)
			print "failed: rung " rung ": " name ": " substr(text, 1, 600)
		}' "$report" >>"$reports/failures"
}

# run RUNG PROJECT [ARGUMENT ...]: runs a test program here; shows failures and skips with their reason.
run() {
	local rung=$1 project=$2 status=0
	shift 2
	printf '\n== rung %s\n' "$rung"
	"artifacts/build/bin/$project/release/$project" -noColor -noLogo -diagnostics -preEnumerateTheories -result-xml "$reports/$rung" "$@" || status=$?
	tally "$rung" "$reports/$rung" "$status"
}

# by_name PREFIX: of the test program's verbose words, one line for each test that has passed, and what is said of the others.
by_name() {
	local line told=
	while IFS= read -r line; do
		case $line in
			*'[STARTING]') continue ;;
			*'[FAIL]' | *'[SKIP]') told=yes ;;
			*'[FINISHED] Time: '*)
				if [ -n "$told" ]; then
					told=
					continue
				fi
				line=${line/\[FINISHED\] Time:/[PASS]} ;;
		esac
		printf '%s: %s\n' "$1" "$line"
	done
}

# run_vms KERNEL ...: runs the kernel tests in a VM for each kernel, one after the other; shows every test by name. Two at once would have
# more virtual CPUs than there are real ones: one then spins for a lock whose holder does not run, and both take twice as long.
run_vms() {
	local kernel started status traits
	printf '\n== rung vm\n'
	tests/vm/fetch.sh "$@" || { failed=$((failed + 1)); echo "failed: rung vm: no kernels" >>"$reports/failures"; return; }
	for kernel in "$@"; do
		traits=(-trait rung=vm)
		if [ "$kernel" = newest ]; then traits+=(-trait- kernel=oldest); else traits+=(-trait rung=minimum -trait- kernel=newest); fi
		started=$SECONDS status=0
		set -m	# a process group of its own, to be ended as one
		{
			tests/vm/run.sh "$kernel" -diagnostics -preEnumerateTheories -reporter verbose \
				-result-xml "$reports/vm-$kernel" "${traits[@]}" 2>&1 </dev/null | by_name "$kernel"
		} &
		vm=$!
		set +m
		wait "$vm" || status=$?
		vm=
		echo "vm $kernel: ended after $((SECONDS - started)) s with status $status"
		tally "vm $kernel" "$reports/vm-$kernel" "$status"
	done
}

clean_up() {
	[ -z "$vm" ] || kill -- "-$vm" || true
	rm -rf "$reports"
}

reports=$(mktemp -d)
: >"$reports/failures"
vm=
trap clean_up EXIT
need_dotnet
install_missing "${BUILD_PACKAGES[@]}"
[ "${rungs[*]}" = unit ] || install_missing "${TEST_PACKAGES[@]}"
printf '== build\n'
dotnet build XenFastPath.sln -c Release --nologo -v quiet

if [[ " ${rungs[*]} " = *" kernel "* || " ${rungs[*]} " = *" vm "* ]] && [ "$(id -u)" = 0 ]; then packaging/build.sh; fi
for rung in "${rungs[@]}"; do
	if [ "$rung" != unit ] && [ "$(id -u)" != 0 ]; then
		echo "rung $rung needs root (namespaces, BPF, AF_XDP)" >&2
		failed=$((failed + 1))
		continue
	fi
	case $rung in
		unit) run unit XenFastPath.Tests ;;
		kernel) run kernel XenFastPath.KernelTests -trait- rung=vm ;;
		vm) run_vms 6.1 newest ;;
	esac
done

[ ! -s "$reports/failures" ] || { echo; cat "$reports/failures"; }
printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
