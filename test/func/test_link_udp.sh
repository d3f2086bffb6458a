#!/bin/sh
# link/udp: two processes over kernel sockets on the loopback, and one of them with a link/dpdk process over a veth pair, each
# as the server once.
set -u
. "$(dirname "$0")/netns.sh"

# converse <name> <server's driver, options, address> <client's driver, options, address> [address to call]
converse() {
  echo "$1"
  start_server "$out/$1.server" "$2" "$3" "$4"
  brief "$out/$1.client" "$5" "$6" "$7" "${8:-$4}"
  stop_server
  grep -q "closed by the peer" "$out/$1.server" || fail "$1: the server did not see the end"
}

"$bin/link_echo" server udp "mtu=9" 127.0.0.1:4100 1 >"$out/error" 2>&1 && fail "a wrong option was accepted"
grep -q "does not understand" "$out/error" || fail "a wrong option is not named"
"$bin/link_echo" server udp "" 10.80.0.77:4100 1 >"$out/error" 2>&1 && fail "a strange address was accepted"
grep -q "listen on an address of this host" "$out/error" || fail "a strange address: no cure"
converse "kernel to kernel" udp "" 127.0.0.1:4100 udp "" 127.0.0.1:4101

converse "every address" udp "" 0.0.0.0:4100 udp "" 127.0.0.1:4101 127.0.0.1:4100
if [ -e /proc/net/if_inet6 ]; then
  ip -6 addr add ::1/128 dev lo 2>/dev/null
  converse "kernel to kernel, IPv6" udp "" "[::1]:4100" udp "" "[::1]:4101"
  converse "every address, either family" udp "" "[::]:4100" udp "" 127.0.0.1:4101 127.0.0.1:4100
else
  echo "SKIP in part: this kernel has no IPv6"
fi

ip link add n0 type veth peer name n1 || fail "veth"
ip link set n0 up
ip link set n1 up
ip addr add 10.80.0.11/24 dev n1
"$bin/link_echo" plain n1 || fail "checksums of n1"
if ! "$bin/link_echo" server dpdk "" 10.80.0.10:4100 1 2>&1 | grep -q "no such driver"; then
  converse "kernel calls bypass" dpdk "iface=n0" 10.80.0.10:4100 udp "" 10.80.0.11:4100
  converse "bypass calls kernel" udp "" 10.80.0.11:4100 dpdk "iface=n0" 10.80.0.10:4100
  if [ -e /proc/net/if_inet6 ]; then
    ip -6 addr add fd00::11/64 dev n1 nodad || fail "IPv6 address"
    converse "kernel calls bypass, IPv6" dpdk "iface=n0" "[fd00::10]:4100" udp "" "[fd00::11]:4100"
    converse "bypass calls kernel, IPv6" udp "" "[fd00::11]:4100" dpdk "iface=n0" "[fd00::10]:4100"
  fi
else
  echo "SKIP in part: this build has no link/dpdk"
fi
echo "ok"
