#!/bin/sh
# quarry net emulate: what its lines do to a conversation over veth ends and over memif, commands in mid-run, wrong usage, and that
# no frame is lost that no setting asked for. Usage: test_emulate.sh <directory of the programs>
set -u
. "$(dirname "$0")/netns.sh"
mkdir "$out/run"

expect_error() { # <text> <arguments...>
  text=$1
  shift
  "$bin/quarry" net emulate "$@" </dev/null >"$out/error" 2>&1 && fail "'$*' was accepted"
  grep -q "$text" "$out/error" || fail "'$*' does not say '$text'"
}
switch_on() { # <arguments...>
  mkfifo "$out/run/fate"
  "$bin/quarry" net emulate "$@" <"$out/run/fate" >"$out/lines" 2>&1 &
  lines_pid=$!
  pids="$pids $lines_pid"
  exec 5>"$out/run/fate"
  rm "$out/run/fate"
  wait_for 10 "$out/lines" ready
}
tell() { # <command>: and it has been obeyed
  oks=$(grep -c '^ok$' "$out/lines")
  echo "$1" >&5
  n=100
  until [ "$(grep -c '^ok$' "$out/lines")" -gt "$oks" ]; do
    sleep 0.05
    n=$((n - 1))
    [ $n -gt 0 ] || fail "'$1' was not obeyed"
  done
}
switch_off() {
  echo quit >&5
  wait $lines_pid || fail "the emulator ended badly"
  exec 5>&-
  for key in no_room rx_bad tx_failed; do
    [ "$(total $key)" = 0 ] || fail "$key is $(total $key)"
  done
}
total() { tail -n 1 "$out/lines" | grep -o "\"$1\":[0-9]*" | sed 's/.*://' | awk '{ s += $1 } END { print s + 0 }'; }
talk() { # <log> <link options of both ends' ports>: round trips in us go to p50
  "$bin/link_echo" brief dpdk "$2" 10.80.0.11:4100 2 10.80.0.10:4100 1 >"$1" 2>&1 || fail "conversation"
  p50=$(sed -n 's/^ok rtt300_us p50=\([0-9]*\).*/\1/p' "$1")
}
serve() { # <log> <link options>
  "$bin/link_echo" server dpdk "$2" 10.80.0.10:4100 1 >"$1" 2>&1 &
  server_pid=$!
  pids="$pids $server_pid"
  wait_for 20 "$1" ready
}

for i in 0 1; do
  ip link add n$i type veth peer name s$i || fail "veth"
  ip link set n$i up
  ip link set s$i up
done

echo "errors name their cause"
expect_error "needs --ports"
expect_error "no network interface 'nosuch0'" --ports nosuch0
expect_error "two ports are named 's0'" --ports s0,s0
expect_error "no port 's2'" --ports s0,s1 --set "s2 delay=1ms"
expect_error "delay 'soon' is not" --ports s0 --set "* delay=soon"
expect_error "cannot listen at" --ports a=memif:/nowhere/a.sock
expect_error "from 576 to 15000" --ports s0 --mtu 20000
ip link set s1 down
expect_error "ip link set s1 up" --ports s1
ip link set s1 up

echo "veth: delay, loss, and a cut in the middle"
switch_on --ports s0,s1
serve "$out/server" iface=n0
talk "$out/plain" iface=n1
plain=$p50
tell "set * delay=5ms"
talk "$out/late" iface=n1
[ "$p50" -ge 10000 ] || fail "round trips of $p50 us over two lines of 5 ms"
echo "  round trip $plain us, with two lines of 5 ms $p50 us"
tell "set * both delay=0 loss=2% reorder=2% hold=2ms dup=2% jitter=500us"
talk "$out/lossy" iface=n1
tell "set * both loss=0 reorder=0 dup=0 jitter=0"
tell "set s1 group=1"
"$bin/link_echo" idle dpdk "iface=n1;handshake_ms=1500" 10.80.0.11:4100 2 10.80.0.10:4100 1 >"$out/cut" 2>&1
grep -q "^down" "$out/cut" || fail "a connection over a cut line"
grep -q "^up" "$out/cut" && fail "a connection came up over a cut line"
tell "set * group=0"
echo "nonsense" >&5
wait_for 5 "$out/lines" "^error: 'nonsense' is none of"
talk "$out/healed" iface=n1
switch_off
for key in lost reordered duplicated cut waited; do
  [ "$(total $key)" -gt 0 ] || fail "$key is 0"
done
kill "$server_pid"
wait "$server_pid" || fail "server's exit status"

echo "an interface that went down and came back does not keep it awake"
ticks() { awk '{ print $14 + $15 }' "/proc/$lines_pid/stat"; }
switch_on --ports s0,s1
ip link set s1 down
ip link set s1 up
sleep 0.2
before=$(ticks)
sleep 1
[ $(($(ticks) - before)) -lt 5 ] || fail "$(($(ticks) - before)) hundredths of a second of computing in a second of silence"
echo quit >&5
wait $lines_pid || fail "the emulator ended badly"
exec 5>&-

echo "memif: two clients, one of which comes back"
switch_on --ports "a=memif:$out/run/a.sock,b=memif:$out/run/b.sock" --set "b delay=3ms"
memif() { echo "vdev=net_memif0,role=client,socket=$out/run/$1.sock,socket-abstract=no,mac=$2"; }
serve "$out/server2" "$(memif a 02:00:00:00:00:0a)"
talk "$out/memif1" "$(memif b 02:00:00:00:00:0b)"
[ "$p50" -ge 3000 ] || fail "round trips of $p50 us over a line of 3 ms"
talk "$out/memif2" "$(memif b 02:00:00:00:00:0b)"
kill "$server_pid"
wait "$server_pid" || fail "server's exit status"
kill -TERM "$lines_pid"
wait "$lines_pid" || fail "a signal ended the emulator badly"
tail -n 1 "$out/lines" | grep -q '"ports":\[' || fail "no figures after a signal"
[ ! -e "$out/run/a.sock" ] || fail "a socket was left behind"
echo "ok"
