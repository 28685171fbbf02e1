#!/usr/bin/env python3
"""Writes the golden messages (*.hex) beside this file: what ip, bridge, tc, nft, ethtool and bpftool really send, and what
the kernel really answers, as seen by strace in throw-away network namespaces. Run as root; needs clang for a two-line BPF
program. One line per datagram, '>' to the kernel and '<' from it. handmade.hex is not made here.
"""
import ctypes, os, re, socket, struct, subprocess, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
NS, OTHER = 'xfp-golden', 'xfp-golden2'
TMP = tempfile.mkdtemp(prefix='xfp-golden-')
BPF = f'{TMP}/bpf'

NEWLINK, DELLINK, GETLINK, SETLINK, NEWADDR, DELADDR, GETADDR = 16, 17, 18, 19, 20, 21, 22
NEWNEIGH, DELNEIGH, GETNEIGH, NEWQDISC, DELQDISC, GETQDISC = 28, 29, 30, 36, 37, 38
NEWTFILTER, DELTFILTER, GETTFILTER, NEWLINKPROP, DELLINKPROP = 44, 45, 46, 108, 109
NEWROUTE, DELROUTE, GETROUTE, NEWRULE, DELRULE, GETRULE = 24, 25, 26, 32, 33, 34
NEWCHAIN, GETCHAIN, DELCHAIN = 10 << 8 | 3, 10 << 8 | 4, 10 << 8 | 5


def sh(command, ns=NS):
    run = subprocess.run(['ip', 'netns', 'exec', ns, 'sh', '-c', command], capture_output=True, text=True)
    if run.returncode:
        print('failed:', command, run.stderr.strip())
    return run.stdout


def trace(command, seconds=None):
    """The datagrams that a command sends and receives: [(direction, bytes)]."""
    log = f'{TMP}/trace{threading.get_ident()}'
    args = ['strace', '-f', '-s', '0', '-o', log, '-e', 'trace=sendmsg,sendto,recvmsg,recvfrom', '-e', 'write=all', '-e', 'read=all']
    args = (['timeout', '-s', 'INT', str(seconds)] if seconds else []) + args
    subprocess.run(['ip', 'netns', 'exec', NS] + args + ['sh', '-c', 'exec ' + command], capture_output=True)
    found, current = [], None
    for line in open(log):
        call = re.match(r'^(?:\d+\s+)?(sendmsg|sendto|recvmsg|recvfrom)\(', line)
        dump = re.match(r'^\s*\|\s[0-9a-f]{5,}\s\s(.{49})', line)
        if call:
            current = None if 'MSG_PEEK' in line else ['>' if call[1].startswith('send') else '<', bytearray()]
            found += [current] if current else []
        elif dump and current:
            current[1] += bytes.fromhex(dump[1].replace(' ', ''))
    return [(direction, bytes(data)) for direction, data in found if len(data) >= 16]


def messages(data):
    while len(data) >= 16:
        length, kind, _, sequence, _ = struct.unpack_from('=IHHII', data)
        yield kind, sequence, data[:length]
        data = data[(length + 3) & ~3:]


def save(name, comments, datagrams):
    if not datagrams:
        print('nothing captured for', name)
    with open(f'{HERE}/{name}.hex', 'w') as file:
        file.writelines(f'# {comment}\n' for comment in comments if comment)
        file.writelines(f'{direction} {data.hex()}\n' for direction, data in datagrams)


def request(name, command, *types, note=None):
    """Keeps the last request of the given types."""
    sent = [m for d, data in trace(command) if d == '>' for t, _, m in messages(data) if t in types]
    save(name, [command, note], [('>', m) for m in sent[-1:]])


def exchange(name, command, *types, note=None, genl=None, first=False):
    """Keeps the last (or first) request of the given types (and generic netlink command) and every datagram that answers it."""
    kept, wanted = [], None
    for direction, data in trace(command):
        kind, sequence, message = next(messages(data))
        if direction == '>' and kept and first:
            break
        if direction == '>':
            wanted = sequence if kind in types and (genl is None or message[16] == genl) else None
            kept = [(direction, data)] if wanted is not None else kept
        elif wanted == sequence:
            kept.append((direction, data))
    save(name, [command, note], kept)


def notifications(name, command, actions, *types, note=None):
    """Keeps the notifications that a monitor receives while the actions are done."""
    result = []
    thread = threading.Thread(target=lambda: result.extend(trace(command, seconds=4)))
    thread.start()
    time.sleep(1.2)
    for action in actions:
        sh(action)
        time.sleep(0.15)
    thread.join()
    kept = [('<', m) for d, data in result if d == '<' for t, _, m in messages(data) if t in types and not m[6] & 2]
    save(name, [command + ', while:', *actions, note], kept)


def program(kind, result):
    source, target = f'{TMP}/{kind}.c', f'{TMP}/{kind}.o'
    with open(source, 'w') as file:
        file.write(f'__attribute__((section("{kind}"), used)) int pass(void *c) {{ return {result}; }}\n'
                   'char _license[] __attribute__((section("license"), used)) = "GPL";\n')
    subprocess.run(['clang', '-O2', '-g', '-target', 'bpf', '-c', source, '-o', target], check=True)
    subprocess.run(['bpftool', 'prog', 'load', target, f'{BPF}/{kind}'], check=True, capture_output=True)
    return f'{BPF}/{kind}'


def links():
    request('req-create-bridge', 'ip link add name xbr0 mtu 1400 address 52:54:00:00:00:01 type bridge forward_delay 0 '
            'ageing_time 30000 stp_state 0 mcast_snooping 0 group_fwd_mask 16384 priority 4096 nf_call_iptables 1 '
            'nf_call_ip6tables 0 nf_call_arptables 1', NEWLINK)
    request('req-create-bridge-vlan', 'ip link add name xbr9 type bridge vlan_filtering 1 vlan_default_pvid 0', NEWLINK)
    request('req-create-veth', 'ip link add name va numtxqueues 2 numrxqueues 2 mtu 1300 type veth peer name vb numtxqueues 2 '
            'address 52:54:00:00:00:0b', NEWLINK)
    request('req-create-veth-netns', f'ip link add name vc type veth peer name vd netns {OTHER}', NEWLINK)
    request('req-create-vxlan', 'ip link add name vx0 type vxlan id 42 remote 192.0.2.1 local 192.0.2.2 dev va ttl 64 '
            'dstport 4789 nolearning', NEWLINK)
    request('req-create-vxlan6', 'ip link add name vx6 type vxlan id 43 group ff05::1 local 2001:db8::2 dev va dstport 8472', NEWLINK)
    request('req-create-qinq', 'ip link add link va name va.7 type vlan proto 802.1ad id 7', NEWLINK)
    request('req-create-bond-arp', 'ip link add name bond1 type bond mode active-backup arp_interval 500 '
            'arp_ip_target 192.0.2.1,192.0.2.2', NEWLINK)
    exchange('err-create-vlan', 'ip link add link va name va.5 type vlan id 5', NEWLINK, note='by a kernel without 8021q')
    exchange('err-create-bond', 'ip link add name bond0 type bond mode 802.3ad miimon 100 updelay 200 downdelay 300 use_carrier 1 '
             'xmit_hash_policy layer3+4 min_links 1 lacp_rate fast fail_over_mac none', NEWLINK, note='by a kernel without bonding')
    request('req-up', 'ip link set dev va up', NEWLINK)
    request('req-down', 'ip link set dev vb down', NEWLINK)
    request('req-mtu', 'ip link set dev va mtu 1450', NEWLINK)
    request('req-address', 'ip link set dev va address 52:54:00:00:00:0a', NEWLINK)
    request('req-rename', 'ip link set dev vx6 name vx7', NEWLINK)
    request('req-alias', 'ip link set dev va alias "XenFastPath port"', NEWLINK)
    request('req-master', 'ip link set dev va master xbr0', NEWLINK)
    request('req-nomaster', 'ip link set dev va nomaster', NEWLINK)
    request('req-addrgenmode', 'ip link set dev va addrgenmode none', NEWLINK)
    request('req-altname-add', 'ip link property add dev va altname a-long-alternative-name', NEWLINKPROP)
    request('req-altname-del', 'ip link property del dev va altname a-long-alternative-name', DELLINKPROP)
    request('req-netns', f'ip link set dev vx7 netns {OTHER}', NEWLINK)
    sh('ip link property add dev va altname a-long-alternative-name; ip link set va master xbr0; ip link set vb up; ip link set xbr0 up')
    ports = 'guard hairpin fastleave root_block learning flood mcast_flood bcast_flood neigh_suppress isolated locked'.split()
    request('req-brport', 'bridge link set dev va ' + ' '.join(f'{p} on' for p in ports) + ' state 3 cost 7 priority 9', SETLINK)
    request('req-brport-reset', 'bridge link set dev va ' + ' '.join(f'{p} off' for p in ports), SETLINK)
    sh('bridge link set dev va learning on flood on mcast_flood on bcast_flood on')
    request('req-bridge-change', 'ip link set dev xbr0 type bridge ageing_time 1000 stp_state 1 nf_call_arptables 0', NEWLINK)
    request('req-delete', 'ip link del dev vx0', DELLINK)
    exchange('get-link', 'ip link show dev va', GETLINK, first=True)
    exchange('get-link-altname', 'ip link show dev a-long-alternative-name', GETLINK, first=True)
    exchange('err-get-link', 'ip link show dev nosuch0', GETLINK)
    exchange('err-mtu', 'ip link set dev va mtu 100000', NEWLINK)
    exchange('err-master', 'ip link set dev va master vb', NEWLINK, note='va was a port of xbr0 until this failed')
    sh('ip link set va master xbr0')


def fdb():
    request('req-fdb-add', 'bridge fdb add 02:00:00:00:00:01 dev va master static', NEWNEIGH)
    request('req-fdb-add-vlan', 'bridge fdb add 02:00:00:00:00:02 dev va master static vlan 1', NEWNEIGH)
    request('req-fdb-replace-use', 'bridge fdb replace 02:00:00:00:00:03 dev va master dynamic use', NEWNEIGH)
    request('req-fdb-extern', 'bridge fdb replace 02:00:00:00:00:04 dev va master dynamic extern_learn sticky', NEWNEIGH)
    request('req-fdb-local', 'bridge fdb add 02:00:00:00:00:05 dev va self local', NEWNEIGH)
    request('req-fdb-del', 'bridge fdb del 02:00:00:00:00:04 dev va master', DELNEIGH)
    exchange('err-fdb-del', 'bridge fdb del 02:00:00:00:00:99 dev va master', DELNEIGH)
    exchange('dump-fdb-bridge', 'bridge fdb show br xbr0', GETNEIGH)
    exchange('dump-fdb', 'bridge fdb show', GETNEIGH)


def addresses():
    request('req-addr-add', 'ip addr add 192.0.2.10/24 broadcast 192.0.2.255 label xbr0:xfp dev xbr0', NEWADDR)
    request('req-addr-add-peer', 'ip addr add 192.0.2.20 peer 198.51.100.1/32 dev xbr0 scope link noprefixroute', NEWADDR)
    request('req-addr-add6', 'ip addr add 2001:db8::10/64 dev xbr0 nodad', NEWADDR)
    exchange('dump-addr', 'ip addr show', GETADDR)
    request('req-addr-del', 'ip addr del 192.0.2.10/24 dev xbr0', DELADDR)
    request('req-addr-del6', 'ip addr del 2001:db8::10/64 dev xbr0', DELADDR)


def traffic_control(classifier):
    request('req-clsact-add', 'tc qdisc add dev va clsact', NEWQDISC)
    request('req-filter-add', f'tc filter add dev va ingress prio 5 handle 1 bpf da pinned {classifier}', NEWTFILTER)
    request('req-filter-replace', f'tc filter replace dev va egress prio 7 handle 1 bpf da pinned {classifier}', NEWTFILTER)
    sh('tc filter add dev va ingress prio 9 protocol ip u32 match u32 0 0 flowid 1:1')
    exchange('dump-qdisc', 'tc qdisc show', GETQDISC)
    exchange('dump-filter', 'tc filter show dev va ingress', GETTFILTER)
    request('req-filter-del', 'tc filter del dev va ingress prio 5 bpf', DELTFILTER)
    request('req-clsact-del', 'tc qdisc del dev va clsact', DELQDISC)


def nftables():
    for command in ('add table bridge xfp',
                    'add chain bridge xfp pre "{ type filter hook prerouting priority -300; policy accept; }"',
                    'add rule bridge xfp pre ether type arp drop', 'add chain bridge xfp helper', 'add table netdev nd',
                    'add chain netdev nd two "{ type filter hook ingress devices = { va, vb } priority 5; policy drop; }"',
                    'add chain netdev nd one "{ type filter hook ingress device vb priority 0; }"', 'add table inet fw',
                    'add chain inet fw input "{ type filter hook input priority filter; }"'):
        sh('nft ' + command)
    exchange('dump-nft-chains', 'nft list chains', GETCHAIN)


def ethtool():
    family = generic_family('ethtool', 'genl-ethtool')
    note = f'family {family}'
    exchange('ethtool-channels-get', 'ethtool -l va', family, genl=17, note=note)
    exchange('ethtool-features-get', 'ethtool -k va', family, genl=11, note=note)
    exchange('ethtool-linkmodes-get', 'ethtool va', family, genl=4, note=note)
    header = struct.pack('=HHHHi', 12, 0x8001, 8, 1, int(sh('cat /sys/class/net/va/ifindex')))
    generic(family, 11, header, 5, 'ethtool-features-verbose', f'ETHTOOL_MSG_FEATURES_GET of va, not compact, {note}')
    exchange('ethtool-channels-set', 'ethtool -L va rx 1 tx 2', family, genl=18, note=note)
    exchange('ethtool-features-set', 'ethtool -K va rxvlan off tx-vlan-hw-insert off gro on', family, genl=12, note=note)


def talk(protocol, message, *options, name=None, comment=None):
    """An exchange without a tool, over a socket of our own in the namespace."""
    setns = ctypes.CDLL(None).setns
    with open('/proc/self/ns/net') as home, open(f'/run/netns/{NS}') as away:
        setns(away.fileno(), 0)
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        setns(home.fileno(), 0)
    for option in options:
        sock.setsockopt(270, option, 1)
    sock.bind((0, 0))
    sock.send(message)
    datagrams = [('>', message)]
    while not any(t in (2, 3) for t, _, _ in messages(datagrams[-1][1])):
        datagrams.append(('<', sock.recv(65536)))
    if name:
        save(name, [comment], datagrams)
    return datagrams


def generic(kind, command, attributes, flags, name=None, comment=None):
    message = struct.pack('=IHHIIBBH', 20 + len(attributes), kind, flags, 1, 0, command, 1, 0) + attributes
    return talk(16, message, name=name, comment=comment)


def generic_family(family, name):
    text = family.encode() + b'\0'
    attribute = struct.pack('=HH', 4 + len(text), 2) + text + bytes(-len(text) % 4)
    reply = generic(16, 3, attribute, 5, name, f'CTRL_CMD_GETFAMILY {family}')[1][1]
    return struct.unpack_from('=H', reply, reply.index(b'\x06\x00\x01\x00', 20) + 4)[0]


def capped():
    """A refusal with extended ack (11) and without the request (NETLINK_CAP_ACK, 10), which no tool asks for."""
    alias = struct.pack('=HH', 304, 20) + b'x' * 300
    message = struct.pack('=IHHIIBBHiII', 32 + len(alias), NEWLINK, 5, 1, 0, 0, 0, 0, 2, 0, 0) + alias
    talk(0, message, 10, 11, name='err-capped', comment='an alias of 300 bytes, on a socket with NETLINK_CAP_ACK')


def netdev():
    family = generic_family('netdev', 'genl-netdev')
    index = int(sh('cat /sys/class/net/va/ifindex'))
    generic(family, 1, struct.pack('=HHi', 8, 1, index), 5, 'netdev-get', f'NETDEV_CMD_DEV_GET of the veth {index}, family {family}')
    generic(family, 1, b'', 0x301, 'netdev-dump', f'NETDEV_CMD_DEV_GET of all, family {family}')


def rich_dump(xdp):
    for command in ('ip link set va alias "port of tenant 7"', 'ip tuntap add dev tap0 mode tap multi_queue vnet_hdr',
                    'ip link set dev tap0 mtu 1400',
                    'ip link add vx0 type vxlan id 42 remote 192.0.2.1 local 192.0.2.2 dev va ttl 64 dstport 4789 nolearning',
                    'ip link add vx6 type vxlan id 44 group ff05::1 local 2001:db8::2 dev va dstport 8472',
                    'bridge link set dev va learning off mcast_flood off isolated on neigh_suppress on hairpin on'):
        sh(command)
    request('req-xdp-attach', f'bpftool net attach xdpgeneric pinned {xdp} dev vb', SETLINK)
    exchange('dump-links', 'ip link show', GETLINK)
    request('req-xdp-detach', 'bpftool net detach xdpgeneric dev vb', SETLINK)


def monitors(classifier):
    for command in ('xbr0 address 52:54:00:00:00:01 type bridge', 'pa address 52:54:00:00:00:0a type veth peer name pb',
                    'pc address 52:54:00:00:00:0c type veth peer name pd'):
        sh('ip link add ' + command)
    up = 'for l in xbr0 pa pb pc pd; do ip link set $l addrgenmode none up; done; ip link set pc master xbr0'
    sh(up)
    notifications('notify-link', 'ip monitor link',
                  ['ip link set pa master xbr0', 'bridge link set dev pa isolated on', 'ip link set pa alias "a b"',
                   'ip link set pa nomaster', 'ip link del pa'], NEWLINK, DELLINK)
    sh('ip link add pa address 52:54:00:00:00:0a type veth peer name pb; ' + up + '; ip link set pa master xbr0')
    send = ('python3 -c \'import socket; s = socket.socket(17, 3); s.bind(("%s", 0)); '
            's.send(bytes.fromhex("ffffffffffff0200000000aa88b5") + bytes(46))\'')
    notifications('notify-fdb', 'bridge monitor fdb',
                  [send % 'pb', send % 'pd', 'bridge fdb add 02:00:00:00:00:bb dev pa master static sticky',
                   'bridge fdb del 02:00:00:00:00:aa dev pc master'], NEWNEIGH, DELNEIGH,
                  note='pa learns 02:00:00:00:00:aa, it moves to pc, and is deleted')
    notifications('notify-addr', 'ip monitor address',
                  ['ip addr add 192.0.2.1/24 dev xbr0', 'ip addr del 192.0.2.1/24 dev xbr0'], NEWADDR, DELADDR)
    notifications('notify-tc', 'tc monitor',
                  ['tc qdisc add dev pa clsact', f'tc filter add dev pa egress prio 3 handle 1 bpf da pinned {classifier}',
                   'tc filter del dev pa egress prio 3', 'tc qdisc del dev pa clsact'], NEWQDISC, DELQDISC, NEWTFILTER, DELTFILTER)
    notifications('notify-nft', 'nft monitor chains',
                  ['nft add table bridge t', 'nft add chain bridge t c "{ type filter hook forward priority 0; }"',
                   'nft delete chain bridge t c'], NEWCHAIN, DELCHAIN)


def routes():
    sh('ip link add ra type veth peer name rb; ip link set ra up; ip link set rb up; ip addr add 192.0.2.10/24 dev ra; '
       'ip addr add 198.51.100.10/24 dev rb; ip addr add 2001:db8::10/64 dev ra nodad')
    request('req-addr-add-timed', 'ip addr add 2001:db8:1::10/64 dev ra metric 77 valid_lft 3600 preferred_lft 1800 nodad mngtmpaddr', NEWADDR)
    request('req-route-default', 'ip route add default via 192.0.2.1 dev ra proto 120 metric 50', NEWROUTE)
    request('req-route-link', 'ip route append 203.0.113.0/24 dev ra proto 120', NEWROUTE)
    request('req-route-default6', 'ip -6 route replace default via 2001:db8::1 dev ra proto 120', NEWROUTE)
    request('req-route-del', 'ip route del default via 192.0.2.1 dev ra proto 120 metric 50', DELROUTE)
    for command in ('default via 192.0.2.1 dev ra src 192.0.2.10 metric 50 mtu 1400 proto dhcp', '10.0.0.0/8 via 203.0.113.77 dev ra onlink table 100',
                    '10.1.0.0/16 table 1000 proto static nexthop via 192.0.2.1 dev ra weight 2 nexthop via 198.51.100.1 dev rb weight 3',
                    '10.2.0.0/16 via inet6 fe80::1 dev ra', 'blackhole 10.3.0.0/16'):
        sh('ip route add ' + command)
    for command in ('2001:db8:2::/48 via 2001:db8::1 dev ra table 200 pref high', '2001:db8:3::/48 dev ra expires 600'):
        sh('ip -6 route add ' + command)
    exchange('dump-routes', 'ip -4 route show table all', GETROUTE)
    exchange('dump-routes6', 'ip -6 route show table all', GETROUTE)
    request('req-rule-add', 'ip rule add pref 100 from 192.0.2.0/24 iif ra lookup 100', NEWRULE)
    request('req-rule-del', 'ip rule del pref 100 from 192.0.2.0/24 iif ra lookup 100', DELRULE)
    for command in ('ip rule add pref 100 from 192.0.2.0/24 iif ra lookup 100', 'ip rule add pref 101 not fwmark 0x7 oif ra lookup 1000',
                    'ip rule add pref 102 iif gone lookup 100 suppress_prefixlength 0'):
        sh(command)
    exchange('dump-rules', 'ip -4 rule show', GETRULE)


def fresh():
    for ns in NS, OTHER:
        subprocess.run(['ip', 'netns', 'del', ns], capture_output=True)
        subprocess.run(['ip', 'netns', 'add', ns], check=True)


def main():
    os.mkdir(BPF)
    subprocess.run(['mount', '-t', 'bpf', 'none', BPF], check=True)
    try:
        fresh()
        classifier, xdp = program('tc', -1), program('xdp', 2)
        for part in links, fdb, addresses, lambda: traffic_control(classifier), nftables, capped, netdev, ethtool, lambda: rich_dump(xdp):
            part()
        fresh()
        monitors(classifier)
        fresh()
        routes()
    finally:
        for ns in NS, OTHER:
            subprocess.run(['ip', 'netns', 'del', ns])
        subprocess.run(['umount', BPF])
        subprocess.run(['rm', '-rf', TMP])


main()
