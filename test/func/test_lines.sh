#!/usr/bin/env bash
# Real nodes on lines that lose and delay reach the same tip; halves that were cut off from each other mine on, and have one
# chain again when the cut is healed. By default a few cells; QUARRY_LINES=all runs loss 0, 0.1, 1, 5 % x round trips of
# 0, 20, 100 ms, with four nodes and with eight, and longer cuts (ctest -C long -L long).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
. "$here/../../tools/lib/devnet.sh"
export QUARRY_LINES=${QUARRY_LINES:-}
blocks=6

# Cells: nodes, loss in percent, round trip in ms, and in words what else the lines do.
cells() {
  local loss rtt nodes
  if [ "$QUARRY_LINES" != all ]; then
    printf '%s\n' '4 5 100' '4 0.1 20 jitter=5ms both reorder=1% hold=3ms dup=1%'
    return
  fi
  for nodes in 4 8; do
    for loss in 0 0.1 1 5; do for rtt in 0 20 100; do echo "$nodes $loss $rtt"; done; done
  done
  printf '%s\n' '4 1 20 jitter=10ms both reorder=5% hold=10ms dup=5%' '4 0 20 both rate=20mbit queue=64k'
}

if [ -z "${DEVNET_INSIDE:-}" ]; then
  DEVNET_DIR=$(mktemp -d)
  trap 'rm -rf "$DEVNET_DIR"' EXIT
  export DEVNET_DIR DEVNET_BIN=$1
  # One attempt in 256 wins: about a block a second of two miners.
  "$1/quarry" genesis regtest --task microgrid | sed 's/"max_target": .*/"max_target": "0x20010000",/' > "$DEVNET_DIR/genesis.json"
  devnet_enter "$0" "$@"
  exit $?
fi

status() { "$DEVNET_BIN/quarry" --dir "$DEVNET_DIR/n$1" --json status 2> /dev/null | field "$2"; }
reached() { local h; h=$(status "$1" height); [ "${h:-0}" -ge "$2" ]; }
trouble() { tail -n 6 "$DEVNET_DIR"/n?.log "$DEVNET_DIR/lines"; fail "$*"; }
figure() { tail -n 1 "$DEVNET_DIR/lines" | grep -oE "\"$1\":[0-9]+" | sed 's/.*://' | awk '{ s += $1 } END { print s + 0 }'; }

# net NODES SETTINGS: fresh nodes, of which the first of each half mines.
net() {
  local i flags
  rm -rf "$DEVNET_DIR"/n?
  DEVNET_COUNT=$1
  devnet_lines "$1" "$2" 7 || trouble "no lines"
  dirs=""
  for ((i = 0; i < $1; i++)); do
    flags=(--store.reserve_mb=0)
    [ $((i % ($1 / 2))) = 0 ] || flags+=(--no-mine)
    devnet_start "$i" "${flags[@]}"
    dirs+=${dirs:+,}$DEVNET_DIR/n$i
  done
}

# agree SECONDS BLOCKS: every node reaches that height, mining ends, all have one tip.
agree() {
  local rc=0 last
  "$DEVNET_BIN/quarry" watch --nodes "$dirs" --blocks "$2" --timeout "$1" --json > "$DEVNET_DIR/watch.out" || rc=$?
  last=$(tail -n 1 "$DEVNET_DIR/watch.out")
  [ "$rc" = 0 ] && [ "$(field agree <<< "$last")" = true ] && [ "$(field complete <<< "$last")" = true ] || {
    tail -n 20 "$DEVNET_DIR/watch.out"
    trouble "the nodes do not agree: $last"
  }
  height=$(field height <<< "$last")
}

rejections() {
  local i
  for ((i = 0; i < DEVNET_COUNT; i++)); do
    [ "$(status $i blocks_rejected)" = 0 ] || trouble "n$i rejected blocks of honest nodes"
  done
}

end() {
  devnet_stop || trouble "a node ended badly"
  devnet_lines_stop || trouble "the switch ended badly"
  for ((i = 0; i < DEVNET_COUNT; i++)); do ip link del "n$i"; done
}

cell() {
  local nodes=$1 loss=$2 rtt=$3 began=$SECONDS
  shift 3
  net "$nodes" "* delay=$((rtt * 500))us loss=$loss% $*"
  agree 240 $blocks
  rejections
  end
  [ "$loss" = 0 ] || [ "$(figure lost)" -gt 0 ] || trouble "no frame was lost at $loss %"
  [ "$rtt" = 0 ] || [ "$(figure waited)" -gt 0 ] || trouble "no frame was late at $rtt ms"
  echo "test_lines: $nodes nodes, loss $loss %, round trip $rtt ms $*: height $height after $((SECONDS - began)) s;" \
    "$(figure rx_frames) frames, $(figure lost) lost, $(figure reordered) reordered, $(figure duplicated) doubled," \
    "$(($(figure no_room) + $(figure rx_missed) + $(figure tx_failed))) beyond what was asked for"
}

# cut NODES LEAST LINK-OPTIONS: halves apart for at least so many seconds, until each has mined four blocks of its own.
cut() {
  local nodes=$1 half=$(($1 / 2)) i a b began
  net "$nodes" "* delay=2ms"
  until_true 120 reached 0 2 || trouble "the nodes do not mine"
  until_true 60 reached "$half" 2 || trouble "the other half does not follow"
  for ((i = half; i < nodes; i++)); do devnet_fate "set s$i group=1" || trouble "no cut"; done
  began=$SECONDS
  a=$(status 0 height) b=$(status "$half" height)
  until_true 120 reached 1 $((a + 4)) || trouble "the first half does not go on alone"
  until_true 120 reached $((nodes - 1)) $((b + 4)) || trouble "the second half does not go on alone"
  while [ $((SECONDS - began)) -lt "$2" ]; do sleep 0.5; done
  [ "$(status 1 tip)" != "$(status $((nodes - 1)) tip)" ] || trouble "the halves have one tip although they are cut off"
  devnet_fate "set * group=0" || trouble "no healing"
  agree 240 $(($(status 0 height) + 2))
  rejections
  end
  [ "$(figure cut)" -gt 0 ] || trouble "no frame was cut off"
  echo "test_lines: $nodes nodes in halves for $((SECONDS - began)) s in all: one tip again at height $height"
}

while read -r c; do
  # shellcheck disable=SC2086
  cell $c < /dev/null
done < <(cells)
cut 4 5
if [ "$QUARRY_LINES" = all ]; then
  cut 8 20
  cut 4 60 # beyond the idle time of links: they must be made anew
fi
echo "test_lines: passed"
