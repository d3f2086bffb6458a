#!/bin/sh
# Two real processes talk over link/dpdk through veth pairs on a bridge, without huge pages.
set -u
. "$(dirname "$0")/netns.sh"

if ! three_ports; then
  echo "SKIP: this kernel has no bridge device: $(cat "$out/bridge")"
  exit 77
fi

server=10.80.0.10:4100
serve() { start_server "$1" dpdk "iface=n0;$2" $server; } # <log> <more options>
client() { # <mode> <options> <peer's seed>
  timeout 90 "$bin/link_echo" "$1" dpdk "iface=n1;$2" 10.80.0.11:4100 2 $server "$3"
}

echo "errors name their cause"
expect_error() { # <options> <text>
  "$bin/link_echo" server dpdk "$1" $server 1 >"$out/error" 2>&1 && fail "'$1' was accepted"
  grep -q "$2" "$out/error" || fail "options '$1': no '$2'"
}
expect_error "" "needs one port"
expect_error "iface=nosuch0" "there is no network interface 'nosuch0'"
ip link set n2 down
expect_error "iface=n2" "ip link set n2 up"
ip link set n2 up
expect_error "iface=n0;speed=9" "does not understand"
expect_error "iface=n0;gateway=10.81.0.1" "gateway has to be"
expect_error "vdev=net_nosuch0" "cannot make the device"

echo "two processes talk"
serve "$out/server" ""
[ "$(grep Cpus_allowed_list /proc/$server_pid/status)" = "$(grep Cpus_allowed_list /proc/$$/status)" ] ||
  fail "the server's thread was pinned"
client client "" 1 >"$out/client" 2>&1 || fail "conversation"
cat "$out/client"
wait_for 5 "$out/server" "closed by the peer"

echo "a wrong identity is refused"
client refused "" 3 >"$out/refused" 2>&1 || fail "refusal"
grep -q "another identity" "$out/refused" || fail "refused for another reason"
[ "$(grep -c '^up ' "$out/server")" = 1 ] || fail "the server saw a connection come up"

echo "garbage does no harm, before and while they talk"
"$bin/link_garbage" n2 "$mac" $server 200 1 >"$out/garbage" 2>&1 || fail "garbage"
"$bin/link_garbage" n2 "$mac" $server 2000 2 >"$out/garbage" 2>&1 &
client client "" 1 >"$out/client2" 2>&1 || fail "conversation under garbage"
wait $! || fail "garbage"

echo "a signal ends the server, and it has counted"
kill -TERM "$server_pid"
wait "$server_pid" || fail "server's exit status"
dropped=$(sed -n 's/^stats .*rx_dropped=\([0-9]*\).*/\1/p' "$out/server")
[ "${dropped:-0}" -gt 200 ] || fail "only '${dropped:-}' frames were counted as dropped"

echo "a killed peer is noticed"
serve "$out/server3" "idle_ms=1500"
client idle "idle_ms=1500" 1 >"$out/idle" 2>&1 &
idle_pid=$!
wait_for 10 "$out/idle" "^up"
kill -9 "$server_pid"
wait $idle_pid || fail "idle client"
grep -q "down reason=idle timeout" "$out/idle" || fail "no idle timeout"

echo "a restarted peer says that it knows nothing"
serve "$out/server4" "idle_ms=6000"
client idle "idle_ms=6000" 1 >"$out/idle2" 2>&1 &
idle_pid=$!
wait_for 10 "$out/idle2" "^up"
kill -9 "$server_pid"
serve "$out/server5" "idle_ms=6000"
wait $idle_pid || fail "idle client"
grep -q "down reason=reset by the peer" "$out/idle2" || fail "no reset"
echo "ok"
