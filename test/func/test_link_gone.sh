#!/usr/bin/env bash
# A node whose interface is deleted: it says so once, answers its operator and mines on alone; when there is an interface of that
# name again, with another MAC address, it is among its peers again, and all agree. Nobody starts anything anew.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
. "$here/../../tools/lib/devnet.sh"

if [ -z "${DEVNET_INSIDE:-}" ]; then
  DEVNET_DIR=$(mktemp -d)
  trap 'rm -rf "$DEVNET_DIR"' EXIT
  export DEVNET_DIR DEVNET_BIN=$1 DEVNET_COUNT=1
  "$1/quarry" genesis regtest > "$DEVNET_DIR/genesis.json"
  devnet_enter "$0" "$@"
  exit $?
fi

status() { "$DEVNET_BIN/quarry" --dir "$DEVNET_DIR/n$1" --json status 2> /dev/null | field "$2"; }
is() { [ "$(status "$1" "$2")" = "$3" ]; }
above() { [ "$(status "$1" height)" -gt "$2" ]; }
agree() { [ -n "$(status 0 tip)" ] && [ "$(status 0 tip)" = "$(status 1 tip)" ]; }
said() { grep -c "event=$1 port=n1" "$DEVNET_DIR/n1.log" || true; }
says() { [ "$(said "$1")" -gt "$2" ]; }
trouble() { tail -n 12 "$DEVNET_DIR"/n?.log; fail "$*"; }

devnet_net 2
devnet_start 0 --no-mine --link.options "iface=n0;idle_ms=4000"
devnet_start 1 --link.options "iface=n1;idle_ms=4000"
until_true 30 is 1 peer_cnt 1 || trouble "the nodes do not meet"
until_true 30 above 0 2 || trouble "nothing is mined"
downs=$(said link-down) ups=$(said link-up)

ip link del n1
until_true 10 says link-down "$downs" || trouble "n1 does not say that its link is down"
until_true 20 is 1 peer_cnt 0 || trouble "n1 takes itself for connected"
height=$(status 1 height) || true # head may be done before grep
until_true 20 above 1 "$height" || trouble "n1 does not mine on"
[ "$(said link-down)" = $((downs + 1)) ] || trouble "n1 says more than once that its link is down"

devnet_port 1
until_true 10 says link-up "$ups" || trouble "n1 does not see its link"
until_true 40 is 1 peer_cnt 1 || trouble "the nodes do not meet again"
"$DEVNET_BIN/quarry" --dir "$DEVNET_DIR/n1" mining off > "$DEVNET_DIR/off" 2>&1 || trouble "n1 does not obey: $(cat "$DEVNET_DIR/off")"
until_true 30 agree || trouble "the nodes do not agree: $(status 0 height) and $(status 1 height)"
devnet_stop || trouble "a node ended badly"
echo "test_link_gone: passed"
