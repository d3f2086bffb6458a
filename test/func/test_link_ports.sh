#!/bin/sh
# Every kind of port that link/dpdk can have, as far as this machine permits: a packet socket, an XDP socket, a tap with the
# kernel at the other end, memif, virtio-user against a vhost-user; jumbo frames, several queues, links that go and come, rings that are
# too short, frames in pieces, and what the telemetry socket tells. What is not permitted is counted and named.
. "$(dirname "$0")/netns.sh"

brought=0
skipped=0

skip() { # <kind> <log>
  skipped=$((skipped + 1))
  echo "SKIP in part: $1: $(tail -n 1 "$2")"
}
# converse <kind> <server's options> <client's options> [<family>]: both by link/dpdk
converse() {
  a=10.80.0.10:4100 b=10.80.0.11:4100
  [ "${4:-4}" = 6 ] && a="[fd80::10]:4100" b="[fd80::11]:4100"
  if ! try_server "$out/$1.server" dpdk "$2" "$a"; then
    skip "$1" "$out/$1.server"
    return
  fi
  echo "$1"
  brief "$out/$1.client" dpdk "$3" "$b" "$a"
  stop_server
  grep -q "^up" "$out/$1.server" || fail "$1: the server saw nobody"
  brought=$((brought + 1))
}
ask() { "$bin/link_echo" ask "$socket" "$1" || fail "telemetry does not answer $1"; }
number() { grep -o "\"$1\":[0-9]*" | head -n 1 | sed 's/.*://'; }
# shows <counter> <pattern>: until telemetry does; it is renewed ten times a second
shows() {
  n=400
  until ask /quarry/link | grep -q "\"$1\":$2[,}]"; do
    n=$((n - 1))
    [ $n -gt 0 ] || fail "telemetry does not show $1 $2: $(ask /quarry/link)"
    sleep 0.02
  done
}

need_dpdk
two_cables
ip link set n2 mtu 9000
ip link set n3 mtu 9000

echo "errors name their cause"
expect_error() { # <options> <text>
  "$bin/link_echo" server dpdk "$1" 10.80.0.10:4100 1 >"$out/error" 2>&1 && fail "'$1' was accepted"
  grep -q "$2" "$out/error" || fail "options '$1': no '$2'"
}
: >"$out/file"
expect_error "iface=n0;xdp=n1" "needs one port"
expect_error "iface=n0,qpairs=2" "does not understand"
expect_error "memif=$out/m" "role=server or role=client"
expect_error "iface=n0;role=server" "for memif= alone"
expect_error "memif=$out/file;role=server" "is there already"
expect_error "memif=$out/nosuch/m;role=server" "directory of the memif socket"
expect_error "virtio=$out/nosuch" "start the virtual switch"
expect_error "tap=a_name_that_is_too_long" "too long for an interface"
expect_error "xdp=nosuch0" "nosuch0"
expect_error "iface=n0;mtu=9000" "ip link set n0 mtu 9000"
expect_error "iface=n0;mtu=1279" "does not understand"
expect_error "iface=n0;queues=9" "does not understand"
expect_error "memif=$out/m;role=server;queues=2" "queue"
expect_error "pci=0000:ff:1f.7" "quarry net check"

converse af_packet "iface=n0" "iface=n1"
echo "processes whose numbers, with those of their interfaces, are the same to a packet socket"
# Both numbers together name the group of sockets: pid xor interface, the last 16 bits.
start_server "$out/group.server" dpdk "iface=n0" 10.80.0.10:4100
mkfifo "$out/go"
sh -c "read -r go <\"$out/go\"; exec \"$bin/link_echo\" server dpdk iface=g0 10.81.0.10:4100 1" >"$out/group.second" 2>&1 &
second_pid=$!
pids="$pids $second_pid"
index=$((((second_pid ^ server_pid) & 65535) ^ $(ip -o link show n0 | sed 's/:.*//')))
ip link add g0 index "$index" type veth peer name g1 || fail "an interface with the number $index"
ip link set g0 up
ip link set g1 up
echo go >"$out/go"
rm "$out/go"
wait_for 20 "$out/group.second" "^ready"
kill -TERM "$second_pid"
wait "$second_pid" || fail "the second server's exit status"
stop_server

converse jumbo "iface=n2;mtu=9000" "iface=n3;mtu=9000"
converse jumbo6 "iface=n2;mtu=9000" "iface=n3;mtu=9000" 6
converse jumbo-to-plain "iface=n2;mtu=9000" "iface=n3"
converse queues "iface=n0;queues=4" "iface=n1"
converse memif "memif=$out/memif;role=server" "memif=$out/memif;role=client"
converse memif-jumbo "memif=$out/memif;role=server;mtu=9000" "memif=$out/memif;role=client;mtu=9000"
converse virtio-user "vdev=net_vhost0,iface=$out/vhost" "virtio=$out/vhost"
converse af_xdp "xdp=n0" "iface=n1"

for family in 4 6; do
  own=10.80.$family.10 peer=10.80.$family.11
  a=$own:4100 b=$peer:4100
  [ $family = 6 ] && own=fd80::10 peer=fd80::11 a="[fd80::10]:4100" b="[fd80::11]:4100"
  if ! try_server "$out/tap$family.server" dpdk "tap=qt$family;telemetry=1" "$a"; then
    skip "tap, IPv$family" "$out/tap$family.server"
    continue
  fi
  echo "tap, IPv$family, the kernel at the other end"
  ip link set qt$family up
  if [ $family = 6 ]; then ip addr add $peer/64 dev qt6 nodad; else ip addr add $peer/24 dev qt4; fi
  brief "$out/tap$family.client" udp "" "$b" "$a"
  socket=$(sed -n 's/.*event=telemetry socket=//p' "$out/tap$family.server")
  [ "$(ask /quarry/link | number tx_checksums_by_port)" = 3 ] || fail "the tap's checksums are not used: $(ask /quarry/link)"
  stop_server
  [ -e "$socket" ] && fail "the telemetry socket stayed behind"
  [ -d "$(dirname "$socket")" ] && fail "the telemetry socket's directory stayed behind"
  brought=$((brought + 1))
done

echo "telemetry; a ring of 16 places, so that bursts are short"
start_server "$out/tel.server" dpdk "memif=$out/memif;role=server;telemetry=1" 10.80.0.10:4100
socket=$(sed -n 's/.*event=telemetry socket=//p' "$out/tel.server")
[ "$(ask /quarry/link | number peers)" = 0 ] || fail "peers before the first: $(ask /quarry/link)"
"$bin/link_echo" idle dpdk "vdev=net_memif0,role=client,id=0,socket-abstract=no,rsize=4,socket=$out/memif" \
  10.80.0.11:4100 2 10.80.0.10:4100 1 >"$out/tel.idle" 2>&1 &
pids="$pids $!"
wait_for 20 "$out/tel.idle" "^up"
shows peers 1
ask /quarry/peers | grep -q '\["10.80.0.11:4100"\]' || fail "peers: $(ask /quarry/peers)"
ask /quarry/peer,0 >"$out/tel.peer"
grep -q '"address":"10.80.0.11:4100","identity":"[0-9a-f]\{64\}","inbound":1' "$out/tel.peer" || fail "peer"
ask /quarry/peer,1 | grep -q ':null' || fail "there is no second peer"
ask /quarry/peer | grep -q ':null' || fail "a peer without a number"
[ "$(ask /quarry/link | number neighbours)" = 1 ] || fail "neighbours"
ask /ethdev/xstats,0 | grep -q rx_good_packets || fail "DPDK's own counters"
ask / | grep -q /quarry/link || fail "the commands are not listed"
kill -9 $! 2>/dev/null
brief "$out/tel.client" dpdk "vdev=net_memif0,role=client,id=0,socket-abstract=no,rsize=4,socket=$out/memif" \
  10.80.0.12:4100 10.80.0.10:4100
shows tx_retried '[1-9][0-9]*'
shows rx_pkts '[1-9][0-9][0-9][0-9]*'

if [ -x "$(command -v dpdk-testpmd)" ]; then
  echo "frames in pieces, and more than anybody asked for"
  dpdk-testpmd --no-huge -m 64 --no-shconf --no-pci --no-telemetry --log-level=1 --file-prefix=quarry-test-$$ \
    --lcores='0@0,1@0' --vdev="net_memif0,role=client,id=0,socket-abstract=no,bsize=256,socket=$out/memif" -- \
    --forward-mode=txonly --txpkts=1400,1400 --total-num-mbufs=2048 --stats-period=1 >"$out/tel.pmd" 2>&1 </dev/null &
  pids="$pids $!"
  shows rx_segmented '[1-9][0-9][0-9][0-9]*'
  kill -9 $! 2>/dev/null
  wait $! 2>/dev/null
  brief "$out/tel.client2" dpdk "memif=$out/memif;role=client" 10.80.0.13:4100 10.80.0.10:4100
else
  skipped=$((skipped + 1))
  echo "SKIP in part: frames in pieces: no dpdk-testpmd here"
fi
stop_server

echo "a flood of questions from forged neighbours, of either family"
start_server "$out/flood.server" dpdk "iface=n0;also=fd80::10;telemetry=1" 10.80.0.10:4100
socket=$(sed -n 's/.*event=telemetry socket=//p' "$out/flood.server")
mac=$(ip -o link show n0 | sed 's/.*link\/ether \([0-9a-f:]*\).*/\1/')
"$bin/link_garbage" n1 "$mac" 10.80.0.10:4100 20000 1 flood || fail "flood"
"$bin/link_garbage" n1 "$mac" "[fd80::10]:4100" 20000 2 flood || fail "flood"
"$bin/link_garbage" n1 "$mac" 10.80.0.10:4100 20000 3 flood &
brief "$out/flood.client" dpdk "iface=n1" 10.80.0.11:4100 10.80.0.10:4100
wait $! || fail "flood"
shows neigh_unanswered '[1-9][0-9]*'
[ "$(ask /quarry/link | number neighbours)" -le 1024 ] || fail "the tables have no end"
stop_server

echo "a link that goes and comes"
start_server "$out/flap.server" dpdk "iface=n0;telemetry=1" 10.80.0.10:4100
socket=$(sed -n 's/.*event=telemetry socket=//p' "$out/flap.server")
"$bin/link_echo" idle dpdk "iface=n1;idle_ms=9000" 10.80.0.11:4100 2 10.80.0.10:4100 1 >"$out/flap.client" 2>&1 &
client_pid=$!
pids="$pids $client_pid"
wait_for 20 "$out/flap.client" "^up"
shows peers 1
ip link set n1 down
wait_for 10 "$out/flap.server" "event=link-down port=n0"
wait_for 10 "$out/flap.client" "event=link-down port=n1"
ip link set n1 up
wait_for 10 "$out/flap.client" "event=link-up port=n1"
shows downs 1
heard=$(ask /quarry/link | number rx_pkts)
n=400 # keepalives come every three seconds
until [ "$(ask /quarry/link | number rx_pkts)" -gt $((heard + 2)) ]; do
  n=$((n - 1))
  [ $n -gt 0 ] || fail "nothing is heard after the link came back"
  sleep 0.05
done
shows peers 1
grep -q "^down" "$out/flap.client" && fail "the connection did not survive"
kill -9 $client_pid
stop_server

echo "a memif server that dies and another that comes"
start_server "$out/re.server" dpdk "memif=$out/memif;role=server" 10.80.0.10:4100
"$bin/link_echo" idle dpdk "memif=$out/memif;role=client;idle_ms=9000" 10.80.0.11:4100 2 10.80.0.10:4100 1 >"$out/re.client" 2>&1 &
client_pid=$!
pids="$pids $client_pid"
wait_for 20 "$out/re.client" "^up"
kill -9 "$server_pid"
wait_for 10 "$out/re.client" "event=link-down"
try_server "$out/re.server2" dpdk "memif=$out/memif;role=server" 10.80.0.10:4100 || fail "the socket left behind"
wait $client_pid || fail "the client's exit status"
grep -q "down reason=reset by the peer" "$out/re.client" || fail "it did not hear that its peer was another"
stop_server
echo "ok: $brought kinds of conversation, $skipped skipped"
