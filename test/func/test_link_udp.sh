#!/bin/sh
# link/udp: two processes over kernel sockets on the loopback, and one of them with a link/dpdk process over a veth pair, each
# as the server once. In a network namespace of its own: no root, no traffic outside. Usage: test_link_udp.sh <directory of
# the programs>
set -u
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

out=$(mktemp -d)
server_pid=
cleanup() {
  [ -n "$server_pid" ] && kill -9 "$server_pid" 2>/dev/null
  rm -rf "$out"
}
trap cleanup EXIT
fail() {
  echo "FAIL: $*"
  for f in "$out"/*; do echo "--- $f"; tail -n 20 "$f"; done
  exit 1
}

# converse <name> <server's driver, options, address> <client's driver, options, address>
converse() {
  echo "$1"
  "$bin/link_echo" server "$2" "$3" "$4" 1 >"$out/$1.server" 2>&1 &
  server_pid=$!
  n=400
  until grep -q ready "$out/$1.server" 2>/dev/null; do
    n=$((n - 1))
    [ $n -gt 0 ] || fail "$1: the server is not ready"
    sleep 0.05
  done
  timeout 90 "$bin/link_echo" client "$5" "$6" "$7" 2 "$4" 1 >"$out/$1.client" 2>&1 || fail "$1: conversation"
  cat "$out/$1.client"
  kill -TERM "$server_pid"
  wait "$server_pid" || fail "$1: the server's exit status"
  server_pid=
  grep -q "closed by the peer" "$out/$1.server" || fail "$1: the server did not see the end"
}

ip link set lo up
"$bin/link_echo" server udp "mtu=9" 127.0.0.1:4100 1 >"$out/error" 2>&1 && fail "a wrong option was accepted"
grep -q "does not understand" "$out/error" || fail "a wrong option is not named"
"$bin/link_echo" server udp "" 10.80.0.77:4100 1 >"$out/error" 2>&1 && fail "a strange address was accepted"
grep -q "listen on an address of this host" "$out/error" || fail "a strange address: no cure"
converse "kernel to kernel" udp "" 127.0.0.1:4100 udp "" 127.0.0.1:4101


ip link add n0 type veth peer name n1 || fail "veth"
ip link set n0 up
ip link set n1 up
ip addr add 10.80.0.11/24 dev n1
"$bin/link_echo" plain n1 || fail "checksums of n1"
XDG_RUNTIME_DIR= # EAL must cope with an empty one
export XDG_RUNTIME_DIR
if ! "$bin/link_echo" server dpdk "" 10.80.0.10:4100 1 2>&1 | grep -q "no such driver"; then
  converse "kernel calls bypass" dpdk "iface=n0" 10.80.0.10:4100 udp "" 10.80.0.11:4100
  converse "bypass calls kernel" udp "" 10.80.0.11:4100 dpdk "iface=n0" 10.80.0.10:4100
else
  echo "SKIP in part: this build has no link/dpdk"
fi
echo "ok"
