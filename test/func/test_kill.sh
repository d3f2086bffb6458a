#!/usr/bin/env bash
# One of three nodes is killed with SIGKILL at twenty random moments; each time it comes back, and at the end it has the same
# tip, model and state as the others. The moments come from a seed that is printed; SEED=n repeats them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
. "$here/../../tools/lib/devnet.sh"
kills=20

if [ -z "${DEVNET_INSIDE:-}" ]; then
  DEVNET_DIR=$(mktemp -d)
  trap 'rm -rf "$DEVNET_DIR"' EXIT
  export DEVNET_DIR DEVNET_BIN=$1 DEVNET_COUNT=3 SEED=${SEED:-$(($(date +%s) % 32768))}
  echo "seed $SEED"
  # Two blocks a second, so that every life of the killed node writes several.
  "$1/quarry" genesis devnet | sed 's/"block_ms": [0-9]*/"block_ms": 500/' > "$DEVNET_DIR/genesis.json"
  devnet_enter "$0" "$@"
  exit $?
fi

RANDOM=$SEED
status() { "$DEVNET_BIN/quarry" --dir "$DEVNET_DIR/n$1" --json status 2> /dev/null | field "$2"; }
reached() { local h; h=$(status "$1" height); [ "${h:-0}" -ge "$2" ]; }
trouble() { tail -n 8 "$DEVNET_DIR"/n?.log; fail "$*"; }

devnet_net 3
for i in 0 1 2; do devnet_start $i; done
until_true 60 reached 2 2 || trouble "the nodes do not mine"
top=0
for ((k = 1; k <= kills; k++)); do
  ms=$((RANDOM % 2500))
  sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
  seen=$(status 2 height || true)
  [ "${seen:-0}" -le "$top" ] || top=$seen
  devnet_running 2 || trouble "the node was gone before kill $k"
  kill -KILL "${DEVNET_PID[2]}"
  devnet_reap 2 && trouble "SIGKILL $k did not kill"
  devnet_start 2
done
until_true 60 reached 2 "$top" || trouble "after its last start the node is at $(status 2 height), it had shown $top"
[ "$top" -ge 5 ] || trouble "the killed node never got beyond height $top: the test kills too early"

dirs=$DEVNET_DIR/n0,$DEVNET_DIR/n1,$DEVNET_DIR/n2
rc=0
"$DEVNET_BIN/quarry" watch --nodes "$dirs" --timeout 5 --json > "$DEVNET_DIR/watch.out" || rc=$?
last=$(tail -n 1 "$DEVNET_DIR/watch.out")
[ "$rc" = 0 ] && [ "$(field agree <<< "$last")" = true ] || trouble "the nodes do not agree: $(cat "$DEVNET_DIR/watch.out")"
[ "$(status 2 state_root)" = "$(status 0 state_root)" ] || trouble "the state roots differ"
for i in 0 1; do [ "$(status $i blocks_rejected)" = 0 ] || trouble "n$i rejected a block of the node that was killed"; done

# What it has on disk is the same once more, without any peer's help.
want=$(status 2 state_root)
devnet_stop || trouble "a node ended badly"
DEVNET_COUNT=0 devnet_start 2 --no-mine
until_true 60 status 2 height > /dev/null || trouble "the node does not start again"
[ "$(status 2 state_root)" = "$want" ] || trouble "alone after a restart the node has another state"
devnet_stop || trouble "n2 ended badly"
echo "test_kill: $kills kills, top height seen $top, agreed at $(field height <<< "$last")"
