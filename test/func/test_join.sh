#!/usr/bin/env bash
# A fourth node joins three at height 40 and reaches their tip by verifying every block.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
. "$here/../../tools/lib/devnet.sh"
join_at=40

if [ -z "${DEVNET_INSIDE:-}" ]; then
  DEVNET_DIR=$(mktemp -d)
  trap 'rm -rf "$DEVNET_DIR"' EXIT
  export DEVNET_DIR DEVNET_BIN=$1 DEVNET_COUNT=4
  # One block a second: the same chain as devnet's, in half the time.
  "$1/quarry" genesis devnet | sed 's/"block_ms": [0-9]*/"block_ms": 1000/' > "$DEVNET_DIR/genesis.json"
  devnet_enter "$0" "$@"
  exit $?
fi

status() { "$DEVNET_BIN/quarry" --dir "$DEVNET_DIR/n$1" --json status 2> /dev/null | field "$2"; }
reached() { local h; h=$(status "$1" height); [ "${h:-0}" -ge "$2" ]; }
caught_up() { reached 3 "$(status 0 height)"; }
trouble() { tail -n 5 "$DEVNET_DIR"/n?.log; fail "$*"; }

devnet_net 4
for i in 0 1 2; do devnet_start $i; done
until_true 240 reached 0 $join_at || trouble "three nodes did not make $join_at blocks in time"
devnet_start 3 --no-mine
began=$SECONDS
until_true 20 status 3 height > /dev/null || trouble "the fourth node does not start"
until_true 150 caught_up || trouble "the fourth node is at $(status 3 height), the others at $(status 0 height)"
echo "caught up at height $(status 3 height) in $((SECONDS - began)) s"

dirs=$DEVNET_DIR/n0,$DEVNET_DIR/n1,$DEVNET_DIR/n2,$DEVNET_DIR/n3
rc=0
"$DEVNET_BIN/quarry" watch --nodes "$dirs" --timeout 4 --json > "$DEVNET_DIR/watch.out" || rc=$?
last=$(tail -n 1 "$DEVNET_DIR/watch.out")
[ "$rc" = 0 ] && [ "$(field agree <<< "$last")" = true ] || trouble "the four nodes do not agree: $(cat "$DEVNET_DIR/watch.out")"
height=$(status 3 height) verified=$(status 3 blocks_verified)
[ "$verified" -ge "$height" ] || trouble "only $verified of $height blocks were verified by the fourth node"
[ "$(status 3 blocks_rejected)" = 0 ] || trouble "the fourth node rejected blocks of honest nodes"
[ "$(status 3 blocks_mined)" = 0 ] || trouble "the fourth node mined although told not to"
devnet_stop || trouble "a node ended badly"
echo "test_join: height $height, $verified blocks verified"
