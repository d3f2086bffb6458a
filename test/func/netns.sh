# Sourced first by tests of links: they run again in a network namespace of their own, so that they need no root and nothing
# leaves the machine. Usage of such a test: test_NAME.sh <directory of the programs>. sh.
PATH=$PATH:/usr/sbin:/sbin
export PATH
bin=$1

if [ "${2:-}" != inside ]; then
  map=-Urn
  [ "$(id -u)" = 0 ] && map=-n
  if ! unshare $map true 2>/dev/null; then
    echo "SKIP: this system does not let user $(id -un) make a network namespace (unshare $map)"
    exit 77
  fi
  exec unshare $map "$0" "$bin" inside
fi

out=$(mktemp -d) # logs, which a failure shows
pids=            # what ends with the test
cleanup() {
  for p in $pids; do kill -9 "$p" 2>/dev/null; done
  rm -rf "$out"
}
trap cleanup EXIT
fail() {
  echo "FAIL: $*"
  for f in "$out"/*; do [ -d "$f" ] && continue; echo "--- $f"; tail -n 20 "$f"; done
  exit 1
}

# wait_for <seconds> <file> <text>: until the text stands in the file
wait_for() {
  n=$(($1 * 20))
  while [ $n -gt 0 ]; do
    grep -q "$3" "$2" 2>/dev/null && return 0
    sleep 0.05
    n=$((n - 1))
  done
  fail "'$3' did not appear in $2 within $1 s"
}

# three_ports: n0, n1 and n2 on a bridge, and the MAC of n0 in mac. Fails where the kernel has no bridge, and says why in
# $out/bridge.
three_ports() {
  ip link add br0 type bridge forward_delay 0 2>"$out/bridge" || return 1
  ip link set br0 up
  for i in 0 1 2; do
    ip link add n$i type veth peer name s$i || fail "veth"
    ip link set s$i master br0 up
    ip link set n$i up
  done
  mac=$(ip -o link show n0 | sed 's/.*link\/ether \([0-9a-f:]*\).*/\1/')
}

# need_dpdk: ends the test as skipped where there is no link/dpdk.
need_dpdk() {
  "$bin/link_echo" server dpdk "" 10.80.0.10:4100 1 2>&1 | grep -q "no such driver" || return 0
  echo "SKIP: this build has no link/dpdk"
  exit 77
}

# try_server <log> <driver> <options> <address>: link_echo's server, in server_pid; returns 1 if it ends with a sentence instead.
try_server() {
  "$bin/link_echo" server "$2" "$3" "$4" 1 >"$1" 2>&1 &
  server_pid=$!
  pids="$pids $server_pid"
  n=400
  while [ $n -gt 0 ]; do
    grep -q "^ready" "$1" 2>/dev/null && return 0
    kill -0 $server_pid 2>/dev/null || return 1
    sleep 0.05
    n=$((n - 1))
  done
  fail "the server is not ready"
}
start_server() { try_server "$@" || fail "the server ended"; }
stop_server() {
  kill -TERM "$server_pid"
  wait "$server_pid" || fail "the server's exit status"
}

# brief <log> <driver> <options> <own address> <server's address>: a conversation with the server
brief() {
  timeout 90 "$bin/link_echo" brief "$2" "$3" "$4" 2 "$5" 1 >"$1" 2>&1 || fail "conversation by $2 '$3' with $5"
  grep "^ok" "$1"
}

# two_cables: n0 to n1 and n2 to n3.
two_cables() {
  for i in 0 2; do
    ip link add n$i type veth peer name n$((i + 1)) || fail "veth"
    ip link set n$i up
    ip link set n$((i + 1)) up
  done
}

XDG_RUNTIME_DIR= # EAL must cope with an empty one
export XDG_RUNTIME_DIR
ip link set lo up
