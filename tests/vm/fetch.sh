#!/usr/bin/env bash
# Fetches QEMU and the kernels of the VM rung from Debian into a cache folder, and makes them ready to boot. The host is left as
# it is: apt runs with lists, sources and archives of its own, and packages are unpacked, not installed.
#   tests/vm/fetch.sh 6.1 newest      QEMU and these kernels; what is there already is not fetched again
# XFP_VM_CACHE is the folder (/var/cache/xenfastpath-vm); remove it, or one part of it, to fetch anew.
#   qemu/                QEMU 10 of bookworm-backports with the libraries that the host lacks
#   6.1/ newest/         lib/modules, vmlinux (an ELF file: boots seconds faster than a bzImage), initrd, version
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../../packaging/packages.sh"
cache=${XFP_VM_CACHE:-/var/cache/xenfastpath-vm}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf '%s vm: %s\n' "$(date +%H:%M:%S)" "$*"; }
die() { echo "tests/vm/fetch.sh: $*" >&2; exit 1; }

# mirror ARCHIVE: where this machine gets Debian's archive "debian" or "debian-security" from, or Debian's own address.
mirror() {
	local found
	found=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN)' 'Created-By: Packages' | sed -n 's|/* Debian$||p' | grep "/$1\$" | head -1 || true)
	echo "${found:-http://deb.debian.org/$1}"
}

# apt_for NAME SUITE...: apt with lists of these suites only; prints the path of its configuration.
apt_for() {
	local folder=$cache/apt/$1 suite
	shift
	mkdir -p "$folder"/{lists/partial,archives/partial,parts}
	for suite in "$@"; do
		case $suite in
			*-security) echo "deb [signed-by=$keyring] $(mirror debian-security) $suite main" ;;
			*) echo "deb [signed-by=$keyring] $(mirror debian) $suite main" ;;
		esac
	done >"$folder/sources.list"
	cat >"$folder/apt.conf" <<-END
		Dir::State "$folder";
		Dir::State::status "/var/lib/dpkg/status";
		Dir::Cache "$folder";
		Dir::Etc::sourcelist "$folder/sources.list";
		Dir::Etc::sourceparts "$folder/parts";
		Dir::Etc::preferences "$folder/preferences";
		Dir::Etc::preferencesparts "$folder/parts";
		Acquire::Languages "none";
		APT::Install-Recommends "false";
		APT::Sandbox::User "root";
		Debug::NoLocking "1";
	END
	apt-get -c "$folder/apt.conf" -qq update >&2 || die "no package lists of $*"
	echo "$folder/apt.conf"
}

fetch_qemu() {
	[ -e "$cache/qemu/ready" ] && return
	local conf started=$SECONDS
	say "fetching QEMU 10 (17 MB)"
	rm -rf "$cache/qemu"
	# Only QEMU and what it needs newer comes from backports. (dpkg's list of the host tells apt what need not be fetched.)
	mkdir -p "$cache/apt/qemu"
	cat >"$cache/apt/qemu/preferences" <<-END
		Package: src:qemu seabios ipxe-qemu libbrlapi0.8 libslirp0 libcapstone* libfuse3-3 libxdp1 libbpf1 libdw1* libelf1* libdebuginfod*
		Pin: release n=bookworm-backports
		Pin-Priority: 600
	END
	conf=$(apt_for qemu bookworm bookworm-updates bookworm-security bookworm-backports)
	apt-get -c "$conf" -qq -y -d install qemu-system-x86 >/dev/null || die "apt does not get qemu-system-x86"
	unpack "$cache/apt/qemu/archives" "$cache/qemu"
	touch "$cache/qemu/ready"
	say "fetched $("$here/qemu" --version | head -1) in $((SECONDS - started)) s"
}

# unpack ARCHIVES FOLDER: all packages of a folder, which is emptied.
unpack() {
	local package
	mkdir -p "$2"
	for package in "$1"/*.deb; do dpkg-deb -x "$package" "$2"; done
	rm -f "$1"/*.deb
}

# fetch_kernel NAME SUITE...: the kernel that linux-image-amd64 of these suites stands for. Full, not cloud: that one has no 9p.
fetch_kernel() {
	local name=$1 folder=$cache/$1 new=$cache/$1.new conf started=$SECONDS packages version
	shift
	[ -e "$folder/ready" ] && return
	say "fetching kernel $name from $* (70-120 MB)"
	rm -rf "$new" "$folder"
	conf=$(apt_for "$name" "$@")
	mapfile -t packages < <(apt-cache -c "$conf" depends --recurse --important linux-image-amd64 | grep -E '^linux-(base|image|binary|modules)-[0-9]')
	((${#packages[@]})) || die "no kernel in $*"
	(cd "$cache/apt/$name/archives" && apt-get -c "$conf" -qq download "${packages[@]}") || die "apt does not get ${packages[*]}"
	unpack "$cache/apt/$name/archives" "$new"
	[ -d "$new/lib/modules" ] || { mkdir -p "$new/lib"; mv "$new/usr/lib/modules" "$new/lib/"; }
	version=$(basename "$new"/lib/modules/*)
	echo "$version" >"$new/version"
	depmod -b "$new" "$version"
	extract "$(find "$new" -name 'vmlinuz*' -type f | head -1)" "$new/vmlinux"
	mv "$new" "$folder"
	touch "$folder/ready"
	say "fetched kernel $version in $((SECONDS - started)) s"
}

# extract VMLINUZ VMLINUX: the compressed ELF file inside of a bzImage, whichever of the usual programs packed it.
extract() {
	local kind magic command offset
	for kind in 'xz -dc:\xfd7zXZ\x00' 'zstd -dc:\x28\xb5\x2f\xfd' 'gzip -dc:\x1f\x8b\x08'; do
		command=${kind%%:*} magic=${kind#*:}
		for offset in $(LC_ALL=C grep -aobP "$magic" "$1" | cut -d: -f1); do
			# What follows the packed kernel in the file makes the unpacking program complain; its result is what counts.
			tail -c "+$((offset + 1))" "$1" | $command 2>/dev/null >"$2" || true
			[ "$(head -c 4 "$2" | tail -c 3)" = ELF ] && return
		done
	done
	die "no kernel found in $1"
}

# make_initrd NAME: busybox, the modules that reach the host's files, and tests/vm/init.
make_initrd() {
	local folder=$cache/$1 work version path
	version=$(cat "$folder/version")
	# By content: several clones share the folder.
	cmp -s "$here/init" "$folder/init" && [ "$folder/initrd" -nt "$folder/ready" ] && return
	work=$(mktemp -d)
	mkdir -p "$work"/{bin,dev,proc,sys,modules}
	cp /bin/busybox "$work/bin/"
	install -m 0755 "$here/init" "$work/init"
	local number=10
	for path in $(modprobe -d "$folder" -S "$version" -a --show-depends virtio_pci 9pnet_virtio 9p overlay | awk '$1 == "insmod" && !seen[$2]++ {print $2}'); do
		local target=$work/modules/$number-$(basename "${path%.ko*}").ko
		case $path in
			*.xz) xz -dc "$path" ;;
			*.zst) zstd -qdc "$path" ;;
			*) cat "$path" ;;
		esac >"$target"
		number=$((number + 1))
	done
	(cd "$work" && find . | busybox cpio -o -H newc 2>/dev/null) >"$folder/initrd.new"
	mv "$folder/initrd.new" "$folder/initrd"
	cp "$here/init" "$folder/init"
	rm -rf "$work"
}

[ "$(id -u)" = 0 ] || die "needs root"
[ "$(dpkg --print-architecture)" = amd64 ] || die "the VM rung exists for amd64 hosts"
install_missing busybox-static kmod xz-utils zstd debian-archive-keyring
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
fetch_qemu
for kernel in "$@"; do
	case $kernel in
		6.1) fetch_kernel 6.1 bookworm bookworm-security ;;
		newest) fetch_kernel newest trixie-backports ;;
		*) die "no kernel '$kernel'; there are: 6.1 newest" ;;
	esac
	make_initrd "$kernel"
done
