#!/usr/bin/env bash
# One node per kind of accelerator, of which one makes faults: they agree block by block, and nothing corrupted is believed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
. "$here/../../tools/lib/devnet.sh"
blocks=16

if [ -z "${DEVNET_INSIDE:-}" ]; then
  said=$("$1/quarry" device list --accel opencl 2>&1) || true
  [[ $said == *usable* ]] || { echo "skipped: $said"; exit 77; }
  DEVNET_DIR=$(mktemp -d)
  trap 'rm -rf "$DEVNET_DIR"' EXIT
  export DEVNET_DIR DEVNET_BIN=$1 DEVNET_COUNT=3
  "$1/quarry" genesis regtest > "$DEVNET_DIR/genesis.json"
  devnet_enter "$0" "$@"
  exit $?
fi

trouble() { tail -n 5 "$DEVNET_DIR"/n?.log; fail "$*"; }

devnet_net 3
devnet_start 0 --node.stop_height=$blocks
devnet_start 1 --node.stop_height=$blocks --accel opencl --accel.options tune=off
devnet_start 2 --node.stop_height=$blocks --accel error --accel.options 'inner=opencl:tune=off,seed=5,corrupt=1/40,fail=1/60'
dirs=$DEVNET_DIR/n0,$DEVNET_DIR/n1,$DEVNET_DIR/n2
rc=0
"$DEVNET_BIN/quarry" watch --nodes "$dirs" --blocks $blocks --timeout 240 --json > "$DEVNET_DIR/watch.out" || rc=$?
last=$(tail -n 1 "$DEVNET_DIR/watch.out")
[ "$rc" = 0 ] && [ "$(field agree <<< "$last")" = true ] || trouble "the three nodes do not agree: $(cat "$DEVNET_DIR/watch.out")"
[ "$(field height <<< "$last")" -ge $blocks ] || trouble "height below $blocks: $last"
for i in 0 1; do
  status=$("$DEVNET_BIN/quarry" --dir "$DEVNET_DIR/n$i" --json status)
  [ "$(field blocks_rejected <<< "$status")" = 0 ] || trouble "node $i was sent a wrong block: $status"
done
mined=$("$DEVNET_BIN/quarry" --dir "$DEVNET_DIR/n1" --json status | field blocks_mined)
devnet_stop || trouble "a node ended badly"
echo "test_opencl: height $(field height <<< "$last"), $mined blocks by OpenCL"
