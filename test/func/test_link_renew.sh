#!/bin/sh
# Interfaces that are deleted and made anew under a running link: it says that the link is down, goes on, and is there again with
# the interface, twenty times over without losing buffers or descriptors; the same for a tap that somebody deleted, an XDP socket
# where there are any, and a peer on the kernel's sockets.
. "$(dirname "$0")/netns.sh"

make_pair() {
  ip link add n0 type veth peer name n1 || fail "veth"
  ip link set n0 up
  ip link set n1 up
}
# count <log> <text> <how often>: until it stands there so often
count() {
  n=400
  until [ "$(grep -c "$2" "$1")" -ge "$3" ]; do
    n=$((n - 1))
    [ $n -gt 0 ] || fail "'$2' is not $3 times in $1"
    sleep 0.05
  done
}
fds() { ls "/proc/$server_pid/fd" | wc -l; }
maps() { wc -l <"/proc/$server_pid/maps"; }

need_dpdk

echo "a packet socket's interface, twenty times"
make_pair
start_server "$out/renew.server" dpdk "iface=n0;also=fd80::10" 10.80.0.10:4100
wait_for 10 "$out/renew.server" "event=link-up port=n0"
"$bin/link_echo" idle dpdk "iface=n1" 10.80.0.12:4100 3 10.80.0.10:4100 1 >"$out/renew.idle" 2>&1 &
idle_pid=$!
pids="$pids $idle_pid"
wait_for 20 "$out/renew.idle" "^up"
i=1
while [ $i -le 20 ]; do
  ip link del n0
  count "$out/renew.server" "event=link-down port=n0" $i
  [ $i = 7 ] && sleep 2 # long enough for an attempt, if there were one
  make_pair
  count "$out/renew.server" "event=link-up port=n0" $((i + 1))
  if [ $i = 2 ]; then fds_first=$(fds) maps_first=$(maps); fi
  i=$((i + 1))
done
[ "$(fds)" = "$fds_first" ] || fail "descriptors: $fds_first after two rounds, $(fds) after twenty"
[ "$(maps)" -le $((maps_first + 4)) ] || fail "mappings: $maps_first after two rounds, $(maps) after twenty"
[ "$(grep -c "event=link-down" "$out/renew.server")" = 20 ] || fail "a link that went was told more than once"
kill -0 $idle_pid || fail "the other end ended"
grep -q "^down" "$out/renew.server" "$out/renew.idle" && fail "a connection ended"
kill -9 $idle_pid
grep -q "not-renewed" "$out/renew.server" && fail "it could not be made anew"
brief "$out/renew.client" dpdk "iface=n1" 10.80.0.11:4100 10.80.0.10:4100
brief "$out/renew.client6" dpdk "iface=n1" "[fd80::11]:4100" "[fd80::10]:4100"

echo "one of another size, and then a right one"
ip link del n0
count "$out/renew.server" "event=link-down" 21
ip link add n0 mtu 1400 type veth peer name n1
ip link set n0 up
ip link set n1 up
wait_for 10 "$out/renew.server" "event=port-not-renewed.*ip link set n0 mtu 1500"
ip link set n0 mtu 1500
count "$out/renew.server" "event=link-up" 22
brief "$out/renew.again" dpdk "iface=n1" 10.80.0.11:4100 10.80.0.10:4100
stop_server

echo "a peer on the kernel's sockets whose interface went meanwhile"
ip addr add 10.80.0.11/24 dev n1
"$bin/link_echo" plain n1 || fail "checksums"
start_server "$out/udp.server" udp "" 10.80.0.11:4100
brief "$out/udp.client" dpdk "iface=n0" 10.80.0.10:4100 10.80.0.11:4100
ip link del n0
make_pair
ip addr add 10.80.0.11/24 dev n1
"$bin/link_echo" plain n1 || fail "checksums"
brief "$out/udp.again" dpdk "iface=n0" 10.80.0.10:4100 10.80.0.11:4100
stop_server

if try_server "$out/tap.server" dpdk "tap=qt0" 10.80.4.10:4100; then
  echo "a tap that somebody deleted"
  i=1
  while [ $i -le 3 ]; do
    ip link set qt0 up
    count "$out/tap.server" "event=link-up port=qt0" $i
    [ $i = 2 ] && fds_first=$(fds)
    ip link del qt0
    count "$out/tap.server" "event=link-down port=qt0" $i
    n=200
    until ip link show qt0 >"$out/link" 2>&1; do
      n=$((n - 1))
      [ $n -gt 0 ] || fail "the tap does not come again"
      sleep 0.05
    done
    i=$((i + 1))
  done
  ip link set qt0 up
  count "$out/tap.server" "event=link-up port=qt0" 4
  [ "$(fds)" = "$fds_first" ] || fail "descriptors with a tap: $fds_first after one round, $(fds) after three"
  ip addr add 10.80.4.11/24 dev qt0
  brief "$out/tap.client" udp "" 10.80.4.11:4100 10.80.4.10:4100
  stop_server
else
  echo "SKIP in part: tap: $(tail -n 1 "$out/tap.server")"
fi

if try_server "$out/xdp.server" dpdk "xdp=n0" 10.80.0.10:4100; then
  echo "an XDP socket's interface"
  i=1
  while [ $i -le 3 ]; do
    ip link del n0
    count "$out/xdp.server" "event=link-down port=n0" $i
    make_pair
    count "$out/xdp.server" "event=link-up port=n0" $((i + 1))
    i=$((i + 1))
  done
  brief "$out/xdp.client" dpdk "iface=n1" 10.80.0.11:4100 10.80.0.10:4100
  stop_server
else
  echo "SKIP in part: XDP: $(tail -n 1 "$out/xdp.server")"
fi
echo "ok"
