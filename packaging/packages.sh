# Sourced by build.sh, quickstart.sh and tests/run.sh: the Debian packages each needs, and how to get them.
# shellcheck shell=bash disable=SC2034
BUILD_PACKAGES=(clang libbpf-dev zlib1g-dev gcc libc6-dev)
DEMO_PACKAGES=(iproute2 iputils-ping iperf3 bridge-utils ethtool procps)
# What the bench rig compares with.
PEER_PACKAGES=(openvswitch-switch dpdk-dev librte-net-af-xdp23)
TEST_PACKAGES=("${DEMO_PACKAGES[@]}" nftables bpftool dnsmasq-base udhcpc)

# need_dotnet: the SDK is the one thing that apt of Debian 12 has not.
need_dotnet() {
	command -v dotnet >/dev/null && return
	echo "the .NET 10 SDK is missing: https://learn.microsoft.com/dotnet/core/install/linux-debian" >&2
	[ -z "${SUDO_USER:-}" ] || echo "if it is in a home folder, sudo does not see it: sudo env PATH=\"\$PATH\" $0" >&2
	exit 1
}

# install_missing PACKAGE...: installs those that dpkg does not know as installed; quiet when there are none.
install_missing() {
	local missing=() package
	for package in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
	done
	((${#missing[@]})) || return 0
	[ "$(id -u)" = 0 ] || { echo "missing packages: ${missing[*]}; run as root, or: apt-get install ${missing[*]}" >&2; return 1; }
	echo "installing ${missing[*]}"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
