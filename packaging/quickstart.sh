#!/usr/bin/env bash
# XenFastPath in three minutes: installs what is missing, builds, and shows guests on two Networks exchanging real traffic
# through the AF_XDP forwarder, in network namespaces that it makes and removes again.
#
#     [g1 eth0]--vif1.0--+                                  private Network "private":
#     [g2 eth0]--vif2.0--+--xenbr0--eth0----[world wan]     [g4 eth0]--vif4.0--+
#     [g3 eth0]--vif3.0--+    external, the PIF             [g5 eth0]--vif5.0--+--private
#
#   sudo packaging/quickstart.sh          leaves nothing behind, on failure and on Ctrl-C too
#   sudo packaging/quickstart.sh --keep   leaves everything up and says how to talk to it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. packaging/packages.sh

keep=no
case ${1:-} in
	'') ;;
	--keep) keep=yes ;;
	*) echo "usage: packaging/quickstart.sh [--keep]" >&2; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || { echo "quickstart: needs root (namespaces, BPF, AF_XDP): sudo $0" >&2; exit 1; }

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

install_missing "${BUILD_PACKAGES[@]}" "${DEMO_PACKAGES[@]}"
packaging/build.sh

bin=$PWD/artifacts/bin
lab=$(mktemp -d /tmp/xfp-quickstart.XXXXXX)
tag=xfpq$$
dom0=$tag-dom0
namespaces=()
daemon=
forwarder=
xfp() { "$bin/xfp" --socket "$lab/run/xenfastpath.sock" "$@"; }
in_guest() { local guest=$1; shift; ip netns exec "$tag-$guest" "$@"; }

# Ends what this script started, by pid, and removes what it made. Runs once, however the script ends.
cleanup() {
	local status=$?
	trap '' EXIT INT TERM HUP
	if [ $keep = yes ] && [ $status = 0 ]; then return; fi
	set +e
	local pid
	for pid in $(jobs -p) $daemon $forwarder; do kill -CONT "$pid"; kill -KILL "$pid"; done 2>/dev/null
	# A forwarder that was started after the one we know of: found by its run-dir, which is ours alone.
	for pid in $(pgrep -f -- "--run-dir $lab/run"); do kill -KILL "$pid"; done 2>/dev/null
	local namespace
	for namespace in "${namespaces[@]}"; do
		# iperf3 servers and the like: whoever still lives there would keep the namespace alive.
		for pid in $(ip netns pids "$namespace"); do kill -KILL "$pid"; done 2>/dev/null
		ip netns del "$namespace" 2>/dev/null
	done
	wait 2>/dev/null
	umount "$lab/bpf" 2>/dev/null
	if [ $status = 130 ] || [ $status = 143 ]; then
		printf '\nquickstart: interrupted; everything it made is removed\n' >&2
	elif [ $status != 0 ]; then
		printf '\nquickstart: FAILED (status %s); the end of the log:\n' "$status" >&2
		tail -n 20 "$lab/log" >&2
	fi
	rm -rf "$lab"
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

make_namespace() {
	ip netns add "$1"
	namespaces+=("$1")
	ip -n "$1" link set lo up
}

# make_guest NAME DEVICE-IN-DOM0 DEVICE-IN-GUEST ADDRESS
make_guest() {
	make_namespace "$tag-$1"
	ip -n "$dom0" link add "$2" type veth peer name "$3" netns "$tag-$1"
	ip -n "$tag-$1" address add "$4/24" dev "$3"
	ip -n "$tag-$1" link set "$3" up
}

say "A dom0 with five guests and a world behind its network card, all in namespaces"
mkdir -p "$lab/bpf" "$lab/run"
mount -t bpf bpf "$lab/bpf"
make_namespace "$dom0"
for table in iptables ip6tables arptables; do
	ip netns exec "$dom0" sysctl -qw "net.bridge.bridge-nf-call-$table=0" 2>/dev/null || true
done
for n in 1 2 3; do make_guest g$n vif$n.0 eth0 10.99.0.$n; done
for n in 4 5; do make_guest g$n vif$n.0 eth0 10.98.0.$n; done
make_guest world eth0 wan 10.99.0.254
echo "namespaces: ${namespaces[*]}"

say "Start xenfastpathd; it starts the forwarder"
nsenter --net=/run/netns/"$dom0" "$bin/xenfastpathd" --run-dir "$lab/run" --state-dir "$lab/state" --bpffs "$lab/bpf" 2>"$lab/log" &
daemon=$!
until xfp show >/dev/null 2>&1; do
	kill -0 $daemon 2>/dev/null || { cat "$lab/log" >&2; exit 1; }
	read -rt 0.05 <> <(:) || true
done
running_forwarder() { xfp --json show | sed -n 's/.*"forwarder":{"state":"running","pid":\([0-9]*\).*/\1/p'; }
forwarder=$(running_forwarder)
[ -n "$forwarder" ] || { echo "no forwarder runs" >&2; exit 1; }
echo "xenfastpathd is pid $daemon, xenfastpath-forwarder pid $forwarder"

say "An external Network on eth0, asked to use AF_XDP, and a private one"
show_xfp() { echo "# xfp $*"; xfp "$@"; }
show_xfp network create xenbr0 --pif eth0 --datapath afxdp
show_xfp network create private --datapath afxdp
for n in 1 2 3; do show_xfp vif plug vif$n.0 --network xenbr0; done
for n in 4 5; do show_xfp vif plug vif$n.0 --network private; done

# Waits for the event, not for a time: every port must forward.
forwarding() { [ "$(xfp --json vif list | grep -o '"state":"forwarding"' | wc -l)" = 5 ]; }
for _ in $(seq 200); do forwarding && break; read -rt 0.05 <> <(:) || true; done
forwarding || { echo "the vifs do not forward:"; xfp vif list; exit 1; }

say "Ping: guest to guest, guest to world, guest to guest on the private Network"
in_guest g1 ping -q -c 5 -i 0.2 10.99.0.2
in_guest g2 ping -q -c 5 -i 0.2 10.99.0.254
in_guest g4 ping -q -c 5 -i 0.2 10.98.0.5
if in_guest g1 ping -q -c 1 -W 1 10.98.0.4 >/dev/null 2>&1; then echo "a frame reached another Network" >&2; exit 1; fi
xfp fdb sync

# traffic FROM TO ADDRESS LABEL [IPERF3-ARGUMENT ...]
traffic() {
	local from=$1 to=$2 address=$3 label=$4
	shift 4
	in_guest "$to" iperf3 -s -1 -D --pidfile "$lab/iperf3.$to"
	local server
	for _ in $(seq 100); do
		server=$(in_guest "$to" ss -Hltn 'sport = :5201')
		[ -n "$server" ] && break
		read -rt 0.02 <> <(:) || true
	done
	[ -n "$server" ] || { echo "the iperf3 server in $to did not start" >&2; exit 1; }
	in_guest "$from" iperf3 -c "$address" -t 3 -f m "$@" | awk -v label="$label" '/receiver/ { print label ": " $7, $8 }'
}

say "TCP and UDP with the guests' default offloads (iperf3)"
traffic g1 g2 10.99.0.2 "TCP vif1.0 -> vif2.0 "
traffic g3 world 10.99.0.254 "TCP vif3.0 -> eth0   "
traffic g1 g3 10.99.0.3 "UDP vif1.0 -> vif3.0 " -u -b 200M
traffic g4 g5 10.98.0.5 "TCP vif4.0 -> vif5.0 "
errors=$(for g in g1 g2 g3 g4 g5 world; do in_guest $g nstat -asz; done | awk '/Csum/ { n += $2 } END { print n + 0 }')
echo "checksum errors at all receivers: $errors"
[ "$errors" = 0 ]

say "brctl show"
xfp brctl show
say "xfp show, while a guest pings the world"
in_guest g3 ping -q -i 0.002 -c 500 10.99.0.254 >/dev/null &
ping=$!
xfp show
wait $ping
say "The forwarding database"
xfp fdb list
say "Frames by path"
port='s/^"device":"\([^"]*\)","network":"\([^"]*\)","path":"\([^"]*\)".*/\1 \2 \3/p'
frames='s/.*"fastRxFrames":\([0-9]*\),"fastTxFrames":\([0-9]*\),"kernelFrames":\([0-9]*\).*/\1 \2 \3/p'
xfp --json stats | tr '{' '\n' | sed -n "$port; $frames" |
	paste - - | awk 'BEGIN { printf "%-8s %-8s %-6s %15s %12s\n", "PORT", "NETWORK", "PATH", "BY FORWARDER", "BY BRIDGE" }
		{ printf "%-8s %-8s %-6s %15d %12d\n", $1, $2, $3, $4, $6; fast += $4 }
		END { if (fast < 1000) { print "the afxdp path has carried no frames"; exit 1 } }'

say "Kill the forwarder (SIGKILL) under a 1 kHz ping"
in_guest g1 ping -D -i 0.001 -c 4000 10.99.0.2 >"$lab/ping" &
ping=$!
read -rt 1.5 <> <(:) || true
kill -KILL "$forwarder"
wait $ping || true
sent=$(awk '/transmitted/ { print $1 }' "$lab/ping")
received=$(awk '/transmitted/ { print $4 }' "$lab/ping")
gap=$(awk -F'[][]' '/bytes from/ { if (last && $2 - last > gap) gap = $2 - last; last = $2 } END { printf "%d", gap * 1000 }' "$lab/ping")
echo "replies lost: $((sent - received)) of $sent, longest time without a reply: $gap ms"
[ $((sent - received)) -le 200 ]
for _ in $(seq 200); do
	forwarder=$(running_forwarder)
	[ -n "$forwarder" ] && break
	read -rt 0.05 <> <(:) || true
done
xfp show --no-rates | sed -n 2p

if [ $keep = yes ]; then
	say "Kept"
	echo "talk to it:  $bin/xfp --socket $lab/run/xenfastpath.sock show"
	echo "a guest:     ip netns exec $tag-g1 bash"
	echo "the log:     $lab/log"
	# The daemon first, and waited for: it would start another forwarder.
	echo "remove it:   kill $daemon; tail --pid=$daemon -f /dev/null; kill $forwarder"
	echo "             for n in ${namespaces[*]}; do ip netns del \$n; done; umount $lab/bpf; rm -r $lab"
	disown -a
fi
echo
echo "quickstart: OK"
