#!/usr/bin/env bash
# One of three real nodes is attacked at every layer at once: frames, neighbour discovery, UDP and QUIC packets of nonsense; half-open
# handshakes; sessions that are silent, slow, forged, too large, cut, repeated, flooding or lying; lines that damage and replay
# what honest peers say. It must not crash, keep its honest peers and their chain, and give back what the attack took: descriptors
# at once, memory but for what its tables may hold. Then a hundred light peers: none of them starves, nor does an honest one.
# QUARRY_HOSTILE_SECONDS (6) is the length of an attack, QUARRY_HOSTILE_ROUNDS (2) their number.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
. "$here/../../tools/lib/devnet.sh"
export QUARRY_HOSTILE_SECONDS=${QUARRY_HOSTILE_SECONDS:-6}
held_max_kb=32768 grown_max_kb=8192
# A sanitizer keeps what was given back.
if ldd "${DEVNET_BIN:-$1}/quarryd" 2> /dev/null | grep -q libasan; then held_max_kb=1048576 grown_max_kb=1048576; fi
rounds=${QUARRY_HOSTILE_ROUNDS:-2}

if [ -z "${DEVNET_INSIDE:-}" ]; then
  DEVNET_DIR=$(mktemp -d)
  trap 'rm -rf "$DEVNET_DIR"' EXIT
  export DEVNET_DIR DEVNET_BIN=$1 DEVNET_COUNT=3
  "$1/quarry" genesis regtest --task microgrid | sed 's/"max_target": .*/"max_target": "0x20010000",/' > "$DEVNET_DIR/genesis.json"
  devnet_enter "$0" "$@"
  exit $?
fi

q() { local i=$1; shift; "$DEVNET_BIN/quarry" --dir "$DEVNET_DIR/n$i" --json "$@" 2> /dev/null; }
status() { q "$1" status | field "$2"; }
reached() { local h; h=$(status "$1" height); [ "${h:-0}" -ge "$2" ]; }
trouble() { tail -n 8 "$DEVNET_DIR"/n?.log "$DEVNET_DIR"/attack.* 2> /dev/null; fail "$*"; }
rss_kb() { awk '/^RssAnon/ { print $2 }' "/proc/${DEVNET_PID[$1]}/status"; }
# The store's files come and go with the chain.
fds() { ls -l "/proc/${DEVNET_PID[$1]}/fd" 2> /dev/null | grep -cv -e "$DEVNET_DIR/n$1/store" -e io_uring || true; }
few_fds() { [ "$(fds "$1")" -le "$2" ]; }
# How long a node has had its session with 10.80.0.$2, in ms; nothing if it has none.
session_ms() { q "$1" peers | grep -oE "\{[^{}]*\"addr\":\"10\.80\.0\.$2:[^{}]*(\{[^{}]*\}[^{}]*)*\}" | field connected_ms; }

# Memory, descriptors and the attackers' namespace are found by process numbers, which are those of our own namespace.
if ! mount -t proc proc /proc 2> /dev/null; then
  echo "skipped: this system lets $(id -un) mount no /proc of a namespace of its own"
  exit 77
fi

# ---- the network: three nodes, a host of attackers behind the kernel's sockets, one that sends raw frames ----
devnet_lines 5 '* delay=0' || trouble "no lines"
unshare --net sleep 600 &
host=$!
apart() { [ "$(readlink /proc/$host/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; }
until_true 5 apart || trouble "the attackers have no host"
ip link set n3 netns $host
nsenter -t $host -n ip addr add 10.80.9.9/12 dev n3
nsenter -t $host -n ip link set lo up
nsenter -t $host -n ip link set n3 up
nsenter -t $host -n ip route add local 10.81.0.0/16 dev lo
devnet_start 0 --link.options 'iface=n0;prefix=12' --store.reserve_mb=0 --link.peer_max=128
for i in 1 2; do
  devnet_start $i --link.options "iface=n$i;prefix=12;window_kib=128;send_kib=128" --store.reserve_mb=0 --no-mine --link.peer_max=16
done
until_true 60 reached 0 2 || trouble "n0 does not mine"
until_true 60 reached 1 2 && until_true 60 reached 2 2 || trouble "the others do not follow"
mac=$(cat /sys/class/net/n1/address 2> /dev/null || ip -o link show n1 | sed 's/.*link\/ether \([0-9a-f:]*\).*/\1/')

# hostile MODE COUNT SECONDS VICTIM PLACE: in the background; its own addresses begin at 10.81.PLACE.1.
attackers=()
hostile() {
  nsenter -t $host -n "$DEVNET_BIN/peer_hostile" "$DEVNET_DIR/genesis.json" "10.80.0.$((10 + $4))" "$1" "$2" "$3" "10.81.$5.1" \
    "$((RANDOM + 1))" > "$DEVNET_DIR/attack.$1" 2>&1 &
  attackers+=($!)
}

attack() {
  local place=0 m
  attackers=()
  devnet_fate 'set s1 both corrupt=1% truncate=1% replay=1% dup=1% reorder=1% hold=5ms' || trouble "the lines"
  for m in silent:6 halfopen:20 garbage:6 oversize:4 malformed:6 truncated:4 replay:4 flood:4 slow:4 liar:4 addrs:4 churn:6; do
    hostile "${m%:*}" "${m#*:}" "$QUARRY_HOSTILE_SECONDS" 1 $((place += 12))
  done
  "$DEVNET_BIN/link_garbage" n4 "$mac" 10.80.0.11:7788 $((QUARRY_HOSTILE_SECONDS * 1200)) "$RANDOM" > "$DEVNET_DIR/attack.frames" 2>&1 &
  attackers+=($!)
  for m in "${attackers[@]}"; do wait "$m" || trouble "an attacker has ended badly: a node sent it nonsense, or it is wrong itself"; done
  devnet_fate 'set * both corrupt=0 truncate=0 replay=0 dup=0 reorder=0' || trouble "the lines"
}

# What must hold after an attack that began at $1 (SECONDS).
survived() {
  local i h ms
  for i in 0 1 2; do devnet_running $i || trouble "n$i is dead"; done
  h=$(status 0 height)
  for i in 1 2; do until_true 30 reached $i "$h" || trouble "n$i is at $(status $i height), n0 at $h"; done
  for i in 10 12; do
    ms=$(session_ms 1 $i)
    [ "${ms:-0}" -ge $(((SECONDS - $1 - 1) * 1000)) ] || trouble "n1 lost its honest peer 10.80.0.$i (${ms:-none} ms)"
  done
  for i in 0 1 2; do [ "$(status $i blocks_rejected)" = 0 ] || [ $i = 1 ] || trouble "n$i rejected blocks"; done
}

fds_before=$(fds 1) h_before=$(status 0 height)
for ((round = 1; round <= rounds; round++)); do
  began=$SECONDS
  attack
  survived $began
  until_true 20 few_fds 1 "$fds_before" || {
    ls -l "/proc/${DEVNET_PID[1]}/fd"
    trouble "n1 had $fds_before descriptors and has $(fds 1)"
  }
  more[round]=$(($(rss_kb 1) - $(rss_kb 2)))
  echo "test_hostile: attack $round: n1 has $(rss_kb 1) kB, n2, which was not attacked, $(rss_kb 2)"
  cat "$DEVNET_DIR"/attack.* | grep mode= | sed "s/^/test_hostile: /"
done
until_true 90 reached 1 $((h_before + 1)) || trouble "no block came since the attacks began"
# What 24 connections, 16 sessions and their libraries may hold; an attack more must not add to it.
[ "${more[rounds]}" -le $held_max_kb ] || trouble "n1 holds ${more[rounds]} kB more than n2"
[ $((more[rounds] - more[(rounds + 1) / 2])) -le $grown_max_kb ] || trouble "n1 grows with every attack: ${more[*]} kB more than n2"

# ---- a hundred light peers ----
began=$SECONDS
attackers=()
hostile light 100 150 0 200
sleep 5 # they come one after the other
h_before=$(status 0 height)
until_true 120 reached 1 $((h_before + 3)) || trouble "the honest peers starve beside a hundred others"
sleep 3 # for the last of them to be served
kill -TERM "${attackers[0]}"
wait "${attackers[0]}" || trouble "the light peers ended badly"
light=$(cat "$DEVNET_DIR/attack.light")
echo "test_hostile: $light"
for pair in up:100 down:0 refused:0 ready:100; do
  [[ " $light " == *" ${pair%:*}=${pair#*:} "* ]] || trouble "of 100 light peers: $light"
done
[ "$(sed 's/.*announced_min=//' <<< "$light")" -ge 1 ] || trouble "a light peer was told of no block: $light"
[ "$(sed 's/.* served=\([0-9]*\).*/\1/' <<< "$light")" = 100 ] || trouble "a light peer got no block: $light"
survived $began
devnet_stop || trouble "a node ended badly"
devnet_lines_stop || trouble "the switch ended badly"
for key in corrupted truncated replayed; do
  [ "$(tail -n 1 "$DEVNET_DIR/lines" | grep -oE "\"$key\":[0-9]+" | sed 's/.*://' | sort -n | tail -n 1)" -gt 0 ] || trouble "no frame was $key"
done
echo "test_hostile: passed"
