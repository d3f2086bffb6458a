#!/usr/bin/env bash
# What is done with a store at rest and in use: db check, backup, restore, pruning, snapshots, an old schema. Two nodes on a
# chain of their own with a short memory; every kind of damage is made on purpose and must be named.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
. "$here/../../tools/lib/devnet.sh"

if [ -z "${DEVNET_INSIDE:-}" ]; then
  DEVNET_DIR=$(mktemp -d)
  trap 'rm -rf "$DEVNET_DIR"' EXIT
  export DEVNET_DIR DEVNET_BIN=$1 DEVNET_COUNT=2
  # Sixteen blocks may be reorganised and sixteen segments of each task are replayed: 48 blocks must be kept.
  "$1/quarry" genesis regtest | sed 's/"reorg_limit": [0-9]*/"reorg_limit": 16/; s/"replay_rows": [0-9]*/"replay_rows": 4096/
    s/"witness_window": [0-9]*/"witness_window": 16/' > "$DEVNET_DIR/genesis.json"
  devnet_enter "$0" "$@"
  exit $?
fi

cd "$DEVNET_DIR"
quarry=$DEVNET_BIN/quarry
q() { "$quarry" "$@"; }
status() { q --dir "n$1" --json status 2> /dev/null | field "$2"; }
reached() { local h; h=$(status "$1" height); [ "${h:-0}" -ge "$2" ]; }
up() { q --dir "n$1" status > /dev/null 2>&1; }
trouble() { tail -n 8 n?.log >&2; fail "$*"; }
start() {
  devnet_start "$@" --store.reserve_mb 8
  until_true 30 up "$1" || trouble "n$1 does not start"
}
stop() {
  q --dir "n$1" stop > /dev/null
  devnet_reap "$1" || trouble "n$1 ended badly"
}
# Flips one bit of byte $2 of file $1.
flip() {
  local byte
  byte=$(od -An -tu1 -j "$2" -N 1 "$1")
  printf "\\x$(printf %02x $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
size() { stat -c %s "$1"; }
largest() { ls -S "$1"/*.$2 | head -n 1; }

# ---- words ----
for c in db backup restore snapshot; do expect 0 'Exit codes' q help $c; done
expect 2 "no 'quarry db frob'" q db frob
expect 2 'usage: quarry snapshot' q snapshot frob x
expect 2 'is not a height' q snapshot export x --height 0
expect 2 '--pin is for import' q snapshot export x --pin 00
expect 2 '--height is for export' q snapshot import x --height 7
expect 1 'there is no store' q --dir none db check
expect 1 'there is no store' q --dir none backup b0
[ ! -e b0.partial ] || fail "a backup that failed left something"
expect 1 'is no backup' q --dir none restore none
expect 1 'cannot open' q --dir none2 snapshot import none.snap

# ---- a store in use, a copy of it, and back ----
devnet_net 2
start 0
until_true 120 reached 0 20 || trouble "n0 does not mine"
expect 1 'is in use by another process' q --dir n0 db check
expect 0 'of a node that runs' q --dir n0 backup b1
height=$(field height < <(tr -d ' \n' < b1/backup.json))
[ "$height" -ge 20 ] && [ "$height" -le "$(status 0 height)" ] || fail "the backup is at height $height"
expect 0 "\"sound\":true" q db check b1 --json
[ "$(field height <<< "$said")" = "$height" ] || fail "db check sees another height than the backup's list: $said"
expect 1 'exists' q --dir n0 backup b1
expect 1 'in use by another process' q --dir n0 restore b1 --overwrite 'replace the store'
stop 0
expect 0 'nothing wrong was found' q --dir n0 db check
expect 0 '"node_ran":false' q --dir n0 --json backup b2
expect 1 "only with --overwrite 'replace the store'" q --dir n0 restore b1
expect 1 "only with --overwrite" q --dir n0 restore b1 --overwrite yes
expect 0 'in place of the one that was there' q --dir n0 restore b1 --overwrite 'replace the store'
left=$(ls n0 | grep -vx peers.dat)
[ "$left" = "$(printf 'node.key\nquarryd.sock.lock\nstore')" ] || fail "restoring left something: $left"
start 0 --no-mine
[ "$(status 0 height)" = "$height" ] || fail "the node is at $(status 0 height) after restoring height $height"
stop 0
expect 0 'restored' q --dir n7 restore b2
rm -rf n7

# ---- damage ----
cp -r b1 b3
sst=$(largest b3/store sst)
flip "$sst" $(($(size "$sst") / 2))
expect 3 "$(basename "$sst") is damaged" q --dir n7 restore b3
[ ! -e n7/store ] && [ ! -e n7/store.fresh ] || fail "a damaged backup was restored in part"
expect 3 "$(basename "$sst")" q db check b3
expect 3 '"sound":false' q --json db check b3
cp "b1/store/$(basename "$sst")" "$sst"
expect 0 'nothing wrong' q db check b3
touch b3/store/extra.sst
expect 3 'does not belong to the backup' q --dir n7 restore b3
rm b3/store/extra.sst "$sst"
expect 3 'is missing' q --dir n7 restore b3
sed -i '0,/"name": "/s//"name": "..\/..\/n0\//' b3/backup.json
expect 1 'not the list of a backup' q --dir n7 restore b3
echo '{"quarry_backup": 2}' > b3/backup.json
expect 1 'newer version' q --dir n7 restore b3
rm -rf b2 b3 n7

# ---- Ctrl-C ----
"$quarry" --dir n0 backup b4 > /dev/null 2> b4.err &
pid=$!
kill -INT $pid 2> /dev/null || true
rc=0 && wait $pid || rc=$?
[ $rc = 130 ] || [ $rc = 0 ] || fail "an interrupted backup ended with $rc: $(cat b4.err)"
[ $rc = 0 ] || [ -z "$(ls -d b4* | grep -v b4.err)" ] || fail "an interrupted backup left something"
rm -rf b4

# ---- pruning ----
expect 1 'the last 48 blocks at least' "$DEVNET_BIN/quarryd" --dir n0 --genesis genesis.json --link none --store.prune_depth 47
start 0 --store.prune_depth 80
pruned() { local h; h=$(status 0 held_from); [ "${h:-0}" -ge 150 ]; }
until_true 240 pruned || trouble "n0 does not prune: held from $(status 0 held_from) at height $(status 0 height)"
expect 0 'blocks are held from height' q --dir n0 status
expect 0 'not held: this node has pruned it' q --dir n0 block 5
expect 1 'has pruned it' q --dir n0 verify 5
q --dir n0 mining off > /dev/null
# On a busy machine pruning is behind the tip.
pruned_to_depth() { [ "$(status 0 held_from)" = $(($(status 0 height) - 79)) ]; }
until_true 60 pruned_to_depth || trouble "n0 holds from $(status 0 held_from) at height $(status 0 height)"
stop 0
expect 0 '"sound":true' q --json --dir n0 db check
[ "$(field blocks <<< "$said")" = 80 ] || fail "not 80 blocks are held: $said"
[ "$(field bytes <<< "$said")" -lt 75000000 ] || fail "a pruned store of 80 blocks is too large: $said"

# ---- a snapshot, and a node that goes on from it ----
tip=$(q --dir n0 --json db check | field height)
expect 1 "at heights $((tip - 32)) to $((tip - 1))" q --dir n0 snapshot export s0 --height 3
expect 0 '"pin"' q --dir n0 --json snapshot export s1
pin=$(field pin <<< "$said") base=$(field height <<< "$said")
[ "$base" = $((tip - 17)) ] || fail "the snapshot is of height $base, the tip is $tip"
start 0 --store.prune_depth 80 --no-mine
expect 0 "$pin" q --dir n0 snapshot export s2 --height "$base"
cmp s1 s2 || fail "two snapshots of one height differ"
[ ! -e s2.store ] && [ ! -e s2.partial ] || fail "an export left something"
cp s1 s3
flip s3 $(($(size s3) / 2))
expect 3 'is damaged: chunk' q --dir n1 snapshot import s3
flip s3 $(($(size s3) / 2))
flip s3 $(($(size s3) - 5))
expect 3 "hashes do not have its root" q --dir n1 snapshot import s3
head -c 200000 s1 > s3
expect 3 'it is not all there' q --dir n1 snapshot import s3
expect 1 'another block settles than the pin' q --dir n1 snapshot import s1 --pin "${pin//[0-9]/a}"
expect 1 'must be the 64 hex digits' q --dir n1 snapshot import s1 --pin 12
q genesis devnet > other.json
expect 1 'of another chain' q --dir n1 snapshot import s1 --genesis other.json
[ -z "$(ls n1)" ] || fail "imports that failed left something: $(ls n1)"
expect 0 'as you said' q --dir n1 snapshot import s1 --pin "$pin"
expect 0 'begun with a snapshot' q --dir n1 db check
expect 1 'holds a store already' q --dir n1 snapshot import s1
start 1 --no-mine
until_true 60 reached 1 "$tip" || trouble "the node from a snapshot is at $(status 1 height), the other at $tip"
[ "$(status 1 blocks_verified)" = 17 ] || fail "it verified $(status 1 blocks_verified) blocks instead of 17"
q --dir n0 mining on > /dev/null
until_true 60 reached 1 $((tip + 10)) || trouble "the node from a snapshot does not follow"
q --dir n0 mining off > /dev/null
rc=0
q watch --nodes n0,n1 --timeout 3 --json > watch.out || rc=$?
last=$(tail -n 1 watch.out)
[ "$rc" = 0 ] && [ "$(field agree <<< "$last")" = true ] || trouble "the nodes do not agree: $(cat watch.out)"
[ "$(status 0 state_root)" = "$(status 1 state_root)" ] || trouble "the state roots differ"
for i in 0 1; do [ "$(status $i blocks_rejected)" = 0 ] || trouble "n$i rejected blocks of the other"; done
[ "$(status 1 base_height)" = "$base" ] || fail "the node does not say what it began with"
stop 0
stop 1
expect 0 'nothing wrong was found' q --dir n1 db check

# ---- a store of schema 1, as version 0.1 wrote it ----
mkdir n8
tar -xJf "$here/../vectors/store_1.tar.xz" -C n8
expect 0 'brings to 2 when it starts' q db check n8
"$DEVNET_BIN/quarryd" --dir n8 --genesis n8/genesis.json --link none --no-mine > n8.log 2>&1 &
DEVNET_PID[8]=$!
until_true 20 up 8 || { cat n8.log; fail "a store of schema 1 is not taken"; }
grep -q 'event=migrated schema=2' n8.log || fail "the migration is not told of"
[ "$(status 8 height)" = 2 ] || fail "not all blocks came over"
[ "$(status 8 tip)" = 7507f41146ae1bf29b444f1b32afc297632161debd27fbf21cee9b2db55c9f43 ] || fail "the tip is another one"
[ "$(status 8 state_root)" = 2bae1b957d08f45f5268055c8752c8e88bd0e65db661aa6c871c7fe9c63043a6 ] || fail "the state is another one"
stop 8
expect 0 'schema 2' q db check n8
echo "test_db: $checks expectations held"
