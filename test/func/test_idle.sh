#!/bin/sh
# A node that has nothing to do costs little: two of them, connected over link/dpdk, not mining; the processor's time of each, and how
# often its network thread sleeps. One that is told to spin does not sleep.
set -u
. "$(dirname "$0")/netns.sh"

node() { # <name> <address> <interface> <more flags>...
  name=$1 address=$2 iface=$3
  shift 3
  "$bin/quarryd" --dir "$out/$name" --genesis regtest --no-mine --store mem --listen "$address" \
    --link.options "iface=$iface" "$@" >"$out/$name.log" 2>&1 &
  node_pid=$!
  pids="$pids $node_pid"
}
# ticks <pid>: the processor's time of a process, user and system, in hundredths of a second
ticks() { sed 's/.*) //' "/proc/$1/stat" | { read -r _ _ _ _ _ _ _ _ _ _ _ user system _; echo $((user + system)); }; }
# sleeps <pid>: of the thread with the network tile
sleeps() {
  for t in "/proc/$1/task/"*; do
    [ "$(cat "$t/comm")" = qr-rpc ] && sed -n 's/^voluntary_ctxt_switches:[^0-9]*//p' "$t/status"
  done
}

need_dpdk
two_cables
node a 10.80.0.1 n0
a=$node_pid
node b 10.80.0.2 n1 --peer 10.80.0.1
b=$node_pid
node c 10.80.0.3 n2 --tile.sleep_us=0
c=$node_pid
wait_for 30 "$out/b.log" "event=peer-up"
wait_for 30 "$out/c.log" "event=ready"
sleep 1 # what comes after the handshake

seconds=5
a0=$(ticks $a) b0=$(ticks $b) as0=$(sleeps $a) cs0=$(sleeps $c)
sleep $seconds
a1=$(ticks $a) b1=$(ticks $b) as1=$(sleeps $a) cs1=$(sleeps $c)
per=$(getconf CLK_TCK)
echo "idle nodes: $(((a1 - a0) * 1000 / per / seconds)) and $(((b1 - b0) * 1000 / per / seconds)) thousandths of a core"
echo "its network thread slept $((as1 - as0)) times in $seconds s; one that spins, $((cs1 - cs0)) times"
# Measured at 10 to 25 thousandths; a machine under load counts some of its own trouble here, so that the limit is wide.
for spent in $((a1 - a0)) $((b1 - b0)); do
  [ "$spent" -lt $((seconds * per * 15 / 100)) ] || fail "an idle node takes $spent ticks of $((seconds * per))"
done
[ $((as1 - as0)) -gt $((seconds * 50)) ] || fail "an idle node hardly sleeps"
[ $((cs1 - cs0)) -lt $((seconds * 10)) ] || fail "a node that is told to spin sleeps"
# Two nodes that call each other keep one of their connections; but one there is.
n=100
until [ "$(grep -o "event=peer-[a-z]*" "$out/b.log" | tail -n 1)" = event=peer-up ]; do
  n=$((n - 1))
  [ $n -gt 0 ] || fail "the connection did not last"
  sleep 0.05
done
kill -TERM $a $b $c
for p in $a $b $c; do wait "$p" || fail "a node's exit status"; done
echo "ok"
