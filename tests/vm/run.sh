#!/usr/bin/env bash
# Boots a Debian kernel under QEMU (emulated, no KVM) and runs the kernel tests in it, or a script. No network of the host is touched.
#   tests/vm/run.sh 6.1                                 the tests of the VM rung
#   tests/vm/run.sh newest -method '*Name*'             some tests; any of the test program's arguments
#   tests/vm/run.sh 6.1 --shell-script FILE [ARG ...]   a bash script, as root, in the repository's folder
# Kernels: 6.1 (Debian 12, the minimum), newest (the newest in Debian). Build before, as tests/vm/README.md has it: the guest sees the
# host's files as they are, and writes to memory; only /share is written through to the host, and is thrown away afterwards.
#   XFP_VM_CACHE    folder for QEMU and kernels (/var/cache/xenfastpath-vm)
#   XFP_VM_SECONDS  time after which the VM is ended (1500)
#   XFP_VM_CPUS     virtual CPUs (2)
# Exit status: that of what ran inside; 70 if the VM died, hung or told nothing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
cache=${XFP_VM_CACHE:-/var/cache/xenfastpath-vm}
seconds=${XFP_VM_SECONDS:-1500}
tests=artifacts/build/bin/XenFastPath.KernelTests/release/XenFastPath.KernelTests

[ $# -gt 0 ] || { sed -n '2,/^set /{/^#/s/^# \?//p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
kernel=$1
shift
"$here/fetch.sh" "$kernel"

share=$(mktemp -d)
trap 'rm -rf "$share"' EXIT
echo "$repo" >"$share/repo"
report=
if [ "${1:-}" = --shell-script ]; then
	[ -r "${2:-}" ] || { echo "run.sh: no file '${2:-}'" >&2; exit 2; }
	cp "$2" "$share/script"
	shift 2
	echo "exec bash /share/script ${*@Q}" >"$share/command"
else
	arguments=()
	while (($#)); do
		case $1 in
			-result-xml) report=$2; arguments+=(-result-xml /share/report.xml); shift ;;
			*) arguments+=("$1") ;;
		esac
		shift
	done
	[ -x "$repo/$tests" ] || { echo "run.sh: $tests is missing; build first" >&2; exit 2; }
	echo "exec $tests -noColor -noLogo ${arguments[*]@Q}" >"$share/command"
fi

# Pairs of network cards, each pair joined by a wire: 52:54:00:00:<pair>:<end>. The tests use them as PIFs (Lab/Nics.cs).
# - iommu_platform without legacy: the guest's driver then uses the DMA API, without which virtio-net has no zero-copy.
# - no offloads towards the guest: a driver that gets super-frames or unfinished checksums refuses XDP.
virtio=iommu_platform=on,disable-legacy=on,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ufo=off,guest_ecn=off
nics=()
for pair in 0 1; do
	for end in 0 1; do
		nics+=(-netdev "hubport,id=net$pair$end,hubid=$pair")
		nics+=(-device "virtio-net-pci,netdev=net$pair$end,mac=52:54:00:00:0$pair:0$end,$virtio")
	done
done
# One whose driver takes VLAN tags out of received frames, as virtio-net cannot.
nics+=(-netdev hubport,id=net2,hubid=2 -device e1000e,netdev=net2,mac=52:54:00:00:02:00,romfile=)
# folder TAG PATH [OPTIONS]: a folder of the host's for the guest.
folder() { folders+=(-fsdev "local,id=$1,path=$2,security_model=none,multidevs=remap${3:-}" -device "virtio-9p-pci,fsdev=$1,mount_tag=$1"); }
folders=()
folder host / ,readonly=on
folder repo "$repo" ,readonly=on
folder modules "$cache/$kernel/lib/modules" ,readonly=on
folder share "$share"

echo "$(date +%H:%M:%S) vm: booting kernel $(cat "$cache/$kernel/version")"
status=0
timeout --foreground -k 5 "$seconds" "$here/qemu" -nodefaults -no-user-config -display none -serial stdio -no-reboot \
	-machine q35 -accel tcg,tb-size=512 -cpu max -smp "${XFP_VM_CPUS:-2}" -m 2048 \
	-kernel "$cache/$kernel/vmlinux" -initrd "$cache/$kernel/initrd" \
	-append "console=ttyS0 panic=-1 oops=panic quiet loglevel=4 mitigations=off clocksource=tsc tsc=reliable net.ifnames=0" \
	"${folders[@]}" "${nics[@]}" </dev/null 2>&1 | sed -u 's/\r$//' || status=$?
[ -z "$report" ] || [ ! -e "$share/report.xml" ] || cp "$share/report.xml" "$report"
if [ ! -s "$share/status" ]; then
	[ "$status" != 124 ] || echo "run.sh: the VM was ended after $seconds s" >&2
	echo "run.sh: the VM with kernel $kernel ended without a result (QEMU's status $status)" >&2
	exit 70
fi
exit "$(cat "$share/status")"
