#!/bin/sh
# link/dpdk over IPv6: two processes that find each other by neighbour discovery, one of them with IPv4 beside it, also under
# garbage; through a router (this kernel's) to another network; and with the kernel's own IPv6 at the other end, each asking
# first once.
set -u
. "$(dirname "$0")/netns.sh"

need_dpdk
if ! ip -6 addr show dev lo 2>/dev/null | grep -q ::1; then
  echo "SKIP: this kernel has no IPv6"
  exit 77
fi
three_ports || fail "bridge"
ip link add k0 type veth peer name k1 || fail "veth"
ip link set k0 up
ip link set k1 up

echo "errors name their cause"
expect_error() { # <options> <address> <text>
  "$bin/link_echo" server dpdk "$1" "$2" 1 >"$out/error" 2>&1 && fail "'$1' was accepted"
  grep -q "$3" "$out/error" || fail "options '$1': no '$3'"
}
expect_error "iface=n0" "[::]:4100" "one that peers can reach"
expect_error "iface=n0" "[ff02::1]:4100" "one that peers can reach"
expect_error "iface=n0;also=fd80::9" "[fd80::10]:4100" "the other family"
expect_error "iface=n0;gateway=10.80.0.1" "[fd80::10]:4100" "of which the node has no address"
expect_error "iface=n0;gateway6=fd81::1" "[fd80::10]:4100" "gateway has to be"
expect_error "iface=n0;gateway6=10.80.0.1" "[fd80::10]:4100" "does not understand"
expect_error "iface=n0;prefix6=129" "[fd80::10]:4100" "does not understand"

echo "two processes talk, over either family"
start_server "$out/server" dpdk "iface=n0;also=10.80.0.10" "[fd80::10]:4100"
brief "$out/client6" dpdk "iface=n1" "[fd80::11]:4100" "[fd80::10]:4100"
brief "$out/client4" dpdk "iface=n1" 10.80.0.11:4100 10.80.0.10:4100

echo "garbage does no harm, before and while they talk"
"$bin/link_garbage" n2 "$mac" "[fd80::10]:4100" 200 1 >"$out/garbage" 2>&1 || fail "garbage"
"$bin/link_garbage" n2 "$mac" "[fd80::10]:4100" 2000 2 >"$out/garbage" 2>&1 &
brief "$out/client2" dpdk "iface=n1" "[fd80::11]:4100" "[fd80::10]:4100"
wait $! || fail "garbage"

echo "nor do lies about who is where: one who says to be the client, to the server, before it comes and all the while"
"$bin/link_garbage" n2 "$mac" "[fd80::10]:4100" 400 3 lies fd80::12 >"$out/lies" 2>&1 || fail "lies"
"$bin/link_garbage" n2 "$mac" "[fd80::10]:4100" 20000 4 lies fd80::12 >"$out/lies" 2>&1 &
liar=$!
pids="$pids $liar"
brief "$out/client9" dpdk "iface=n1" "[fd80::12]:4100" "[fd80::10]:4100"
kill -0 $liar 2>/dev/null || fail "the liar ended before the conversation did"
kill $liar
wait $liar 2>/dev/null
stop_server
dropped=$(sed -n 's/^stats .*rx_dropped=\([0-9]*\).*/\1/p' "$out/server")
[ "${dropped:-0}" -gt 200 ] || fail "only '${dropped:-}' frames were counted as dropped"

echo "through a router"
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding || fail "forwarding"
ip addr add fd80::1/64 dev br0 nodad
ip addr add fd81::1/64 dev k1 nodad
start_server "$out/server3" dpdk "iface=n0;gateway6=fd80::1" "[fd80::10]:4100"
brief "$out/client3" dpdk "iface=k0;gateway6=fd81::1" "[fd81::11]:4100" "[fd80::10]:4100"
stop_server

echo "the kernel's IPv6 at the other end"
"$bin/link_echo" plain k1 || fail "checksums of k1"
start_server "$out/server4" dpdk "iface=k0" "[fd81::10]:4100"
brief "$out/client5" udp "" "[fd81::1]:4100" "[fd81::10]:4100"
stop_server
start_server "$out/server5" udp "" "[fd81::1]:4100"
brief "$out/client7" dpdk "iface=k0" "[fd81::10]:4100" "[fd81::1]:4100"
stop_server
if ip addr add fd81::77/64 dev k1 2>/dev/null; then # not an address of ours: the kernel gets it
  start_server "$out/server6" dpdk "iface=k0" "[fd81::10]:4100"
  ip addr add fd81::10/64 dev k1
  n=100
  until ip addr show dev k1 | grep fd81::10 | grep -q dadfailed; do
    n=$((n - 1))
    [ $n -gt 0 ] || fail "the kernel took the address that we have"
    sleep 0.05
  done
  stop_server
fi
echo "a switch that forwards questions only to where they are wanted"
if ip link set br0 type bridge mcast_snooping 1 mcast_querier 1 2>"$out/snooping" && bridge mdb show dev br0 >"$out/mdb" 2>&1; then
  start_server "$out/server7" dpdk "iface=n0" "[fd80::77:10]:4100"
  n=400
  until bridge mdb show dev br0 | grep -q "port s0 grp ff02::1:ff77:10 "; do
    n=$((n - 1))
    [ $n -gt 0 ] || fail "the switch does not know of our group: $(bridge mdb show dev br0)"
    sleep 0.05
  done
  brief "$out/client8" dpdk "iface=n1" "[fd80::11]:4100" "[fd80::77:10]:4100"
  stop_server
else
  echo "SKIP in part: no bridge here snoops: $(cat "$out/snooping" "$out/mdb" 2>/dev/null)"
fi
echo "ok"
