#!/usr/bin/env bash
# A fresh node among three that have a chain of some hundred blocks: by replay from all of them, killed on the way; by a snapshot
# out of the network, of which a part is there already and one of the three lies; by snapshots that are false in themselves; with a pin that nobody has a snapshot for. In the end all
# have the same tip and the same accounts.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
. "$here/../../tools/lib/devnet.sh"
blocks=300 at=240

if [ -z "${DEVNET_INSIDE:-}" ]; then
  DEVNET_DIR=$(mktemp -d)
  trap 'rm -rf "$DEVNET_DIR"' EXIT
  export DEVNET_DIR DEVNET_BIN=$1
  "$1/quarry" genesis regtest > "$DEVNET_DIR/genesis.json"
  devnet_enter "$0" "$@"
  exit $?
fi

status() { "$DEVNET_BIN/quarry" --dir "$DEVNET_DIR/n$1" --json status 2> /dev/null; }
of() { status "$1" | field "$2"; }
reached() { local h; h=$(of "$1" height); [ "${h:-0}" -ge "$2" ]; }
logged() { grep -qs "$2" "$DEVNET_DIR/n$1.log"; }
trouble() { tail -n 6 "$DEVNET_DIR"/n?.log; fail "$*"; }

# start NODE "PEERS" FLAGS...: over the kernel's sockets.
start() {
  local i=$1 j peers=()
  for j in $2; do peers+=(--peer "127.0.0.1:$((7800 + j))"); done
  shift 2
  "$DEVNET_BIN/quarryd" --dir "$DEVNET_DIR/n$i" --genesis "$DEVNET_DIR/genesis.json" --link udp --listen "127.0.0.1:$((7800 + i))" \
    --peers.exchange false --peers.per_ip 0 --peers.per_group 0 "${peers[@]}" "$@" < /dev/null >> "$DEVNET_DIR/n$i.log" 2>&1 &
  DEVNET_PID[$i]=$!
}

same() {
  [ "$(of "$1" tip)" = "$(of 0 tip)" ] && [ "$(of "$1" state_root)" = "$(of 0 state_root)" ] && [ "$(of "$1" supply)" = "$(of 0 supply)" ]
}

ip link set lo up
for i in 0 1 2; do mkdir "$DEVNET_DIR/n$i"; done
start 0 "" --node.stop_height=$blocks --sync.serve "$DEVNET_DIR/snap0"
until_true 120 reached 0 $blocks || trouble "the first node does not make $blocks blocks"
start 1 0 --no-mine --sync.serve "$DEVNET_DIR/snap1"
start 2 0 --no-mine --sync.serve "$DEVNET_DIR/snap2"
for i in 1 2; do until_true 120 reached $i $blocks || trouble "node $i is at $(of $i height)"; done

# ---- by replay, killed on the way ----
start 3 "0 1 2" --no-mine
until_true 60 reached 3 20 || trouble "the fresh node does not sync"
kill -KILL "${DEVNET_PID[3]}"
devnet_reap 3 || true
start 3 "0 1 2" --no-mine
until_true 120 reached 3 $blocks || trouble "the fresh node is at $(of 3 height)"
same 3 || trouble "the node that came by replay has other accounts"
verified=$(of 3 blocks_verified)
[ "$verified" -lt $blocks ] || trouble "$verified blocks were verified after the kill: it began anew"
logged 3 "event=synced height=$blocks" || trouble "no line says that it synced"
[ "$(of 3 blocks_rejected)" = 0 ] || trouble "blocks of honest nodes were rejected"
givers=$(grep -o 'event=synced .*' "$DEVNET_DIR/n3.log" | tail -n 1 | sed 's/.* peers=//')
[ "$givers" -ge 2 ] || trouble "blocks came from $givers peers alone"

# ---- by snapshot ----
export_json=$("$DEVNET_BIN/quarry" --dir "$DEVNET_DIR/n0" --json snapshot export "$DEVNET_DIR/snap" --height $at)
pin=$(field pin <<< "$export_json")
size=$(stat -c %s "$DEVNET_DIR/snap")
for i in 0 1 2; do cp "$DEVNET_DIR/snap" "$DEVNET_DIR/copy$i"; done
# The pin is the hash of the block that settles the state, as every node knows it.
[ "$pin" = "$("$DEVNET_BIN/quarry" --dir "$DEVNET_DIR/n1" --json block $((at + 1)) | field hash)" ] || fail "the pin is not block $((at + 1))"
# The third gives wrong chunks: all but the first. Their hashes are right.
for ((c = 1; c < size >> 20; c++)); do
  printf '\377\376\375\374' | dd of="$DEVNET_DIR/copy2" bs=1 seek=$((64 + (c << 20) + 100000)) conv=notrunc status=none
done
for i in 0 1 2; do mv "$DEVNET_DIR/copy$i" "$DEVNET_DIR/snap$i"; done
for i in 0 1 2; do until_true 20 logged $i "event=snapshot-offer.*pin=$pin" || trouble "node $i does not offer the snapshot"; done
# What an interrupted run would have left: the second chunk is there, and the rest not yet.
mkdir "$DEVNET_DIR/n4"
truncate -s "$size" "$DEVNET_DIR/n4/snapshot.partial"
for range in "0 64" "$((64 + (1 << 20))) $((1 << 20))" "$((size - 4096)) 4096"; do
  set -- $range
  dd if="$DEVNET_DIR/snap" of="$DEVNET_DIR/n4/snapshot.partial" bs=4096 iflag=skip_bytes,count_bytes oflag=seek_bytes conv=notrunc \
    skip="$1" seek="$1" count="$2" status=none
done
kill -STOP "${DEVNET_PID[0]}" "${DEVNET_PID[1]}" # so that the liar is asked
start 4 "0 1 2" --no-mine --sync-pin "$pin" --sync.serve "$DEVNET_DIR/snap4"
until_true 30 logged 4 'event=peer-ban .*does not have its hash' || trouble "nobody was banned for wrong chunks"
kill -CONT "${DEVNET_PID[0]}" "${DEVNET_PID[1]}"
until_true 90 reached 4 $blocks || trouble "the node with the snapshot is at $(of 4 height)"
same 4 || trouble "the node that came by snapshot has other accounts"
logged 4 'event=snapshot-resumed chunks=1 ' || trouble "what was there of the snapshot was not used"
[ "$(of 4 base_height)" = $at ] || trouble "the snapshot's height is $(of 4 base_height)"
[ "$(of 4 blocks_verified)" -le $((blocks - at)) ] || trouble "$(of 4 blocks_verified) blocks were verified"
cmp "$DEVNET_DIR/snap" "$DEVNET_DIR/snap4" || trouble "the snapshot that came is another"
[ ! -e "$DEVNET_DIR/n4/snapshot.partial" ] || trouble "the partial file is still there"

# ---- by snapshot, of one that is false in itself, and of one that is not ----
for lie in state fact; do
  "$DEVNET_BIN/snapshot_forge" "$DEVNET_DIR/snap" "$DEVNET_DIR/$lie" $lie
  mv "$DEVNET_DIR/$lie" "$DEVNET_DIR/snap1"
  offers=$(grep -c 'event=snapshot-offer' "$DEVNET_DIR/n1.log")
  looked() { [ "$(grep -c 'event=snapshot-offer' "$DEVNET_DIR/n1.log")" -gt "$offers" ]; }
  until_true 20 looked || trouble "node 1 does not offer the false snapshot"
  kill -STOP "${DEVNET_PID[0]}"
  rm -rf "$DEVNET_DIR/n6" "$DEVNET_DIR/n6.log"
  start 6 "0 1" --no-mine --sync-pin "$pin"
  until_true 30 logged 6 'event=peer-ban .*false snapshot' || trouble "a false snapshot was not found false"
  kill -CONT "${DEVNET_PID[0]}"
  until_true 90 reached 6 $blocks || trouble "the node that was lied to is at $(of 6 height)"
  same 6 || trouble "the node that was lied to has other accounts"
  kill -TERM "${DEVNET_PID[6]}"
  devnet_reap 6 || trouble "the node that was lied to ended badly"
done

# ---- a pin that nobody has a snapshot for; and no store to keep it ----
start 5 "0 1" --no-mine --sync-pin "${pin//[0-9]/a}"
until_true 20 logged 5 'event=snapshot-waits .*peers_with_snapshots=2 not_for_the_pin=2' || trouble "the node does not say that it waits"
kill -TERM "${DEVNET_PID[5]}"
devnet_reap 5 || trouble "a node that waits for a snapshot does not end when told"
[ ! -e "$DEVNET_DIR/n5/store" ] || trouble "there is a store without a snapshot"
expect 1 'must be the 64 hex digits' "$DEVNET_BIN/quarryd" --dir "$DEVNET_DIR/n7" --genesis regtest --link none --sync-pin abc
expect 1 'there is no network' "$DEVNET_BIN/quarryd" --dir "$DEVNET_DIR/n7" --genesis regtest --link none --sync-pin "$pin"
devnet_stop || trouble "a node ended badly"
echo "test_sync: $blocks blocks, $verified verified after the kill, snapshot of $size bytes"
