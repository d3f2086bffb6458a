#!/usr/bin/env bash
# RocksDB's own tools read what a node wrote through io_uring: the log, the tables and what they hold. The node reads it again
# afterwards. Skipped without ldb and sst_dump (Debian: rocksdb-tools).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
bin=$1
for tool in ldb sst_dump; do
  command -v $tool > /dev/null || { echo "skipped: no $tool here: apt-get install rocksdb-tools"; exit 77; }
done
dir=$(mktemp -d)
pid=
# shellcheck disable=SC2317
cleanup() {
  [ -z "$pid" ] || kill -KILL "$pid" 2> /dev/null || true
  rm -rf "$dir"
}
trap cleanup EXIT
store=$dir/n/store

start() {
  "$bin/quarryd" --dir "$dir/n" --genesis regtest --link none "$@" > "$dir/log" 2>&1 &
  pid=$!
  until_true 120 status height > /dev/null || fail "the node does not start: $(tail -n 5 "$dir/log")"
}
stop() {
  kill -TERM "$pid"
  wait "$pid" || fail "the node ended badly: $(tail -n 5 "$dir/log")"
  pid=
}
status() { "$bin/quarry" --dir "$dir/n" --json status 2> /dev/null | field "$1"; }
reached() { local h; h=$(status height); [ "${h:-0}" -ge "$1" ]; }

start --node.stop_height 60
until_true 120 reached 60 || fail "the node does not mine: $(tail -n 5 "$dir/log")"
tip=$(status tip) height=$(status height)
stop
grep -q io-uring-refused "$dir/log" && echo "note: no io_uring here; this is RocksDB's own file system"

# The log: a record for each batch, in order, and nothing behind the last.
logs=0
for f in "$store"/*.log; do
  ldb dump_wal --walfile="$f" --header > "$dir/wal" 2> "$dir/wal.err" || fail "ldb does not read $f: $(cat "$dir/wal.err")"
  [ ! -s "$dir/wal.err" ] || fail "ldb complains of $f: $(cat "$dir/wal.err")"
  logs=$((logs + $(grep -cE '^[0-9]+,' "$dir/wal" || true)))
done
[ "$logs" -ge 10 ] || fail "the log holds $logs batches of $height blocks"

start --no-mine # opening makes tables of the log
[ "$(status tip)" = "$tip" ] || fail "the node has another tip after a restart"
stop

# The tables: every block of every file, and its checksum.
tables=0 entries=0
for f in "$store"/*.sst; do
  sst_dump --file="$f" --command=verify --verify_checksum > "$dir/sst" 2>&1 || fail "sst_dump: $(cat "$dir/sst")"
  ! grep -qiE 'corrupt|error|not ok' "$dir/sst" || fail "sst_dump complains of $f: $(cat "$dir/sst")"
  n=$(sst_dump --file="$f" --command=none --show_properties 2>&1 | sed -n 's/^ *# entries: \([0-9]*\).*/\1/p' | head -n 1)
  entries=$((entries + ${n:-0})) tables=$((tables + 1))
done
[ "$tables" -ge 5 ] && [ "$entries" -ge "$height" ] || fail "$tables tables with $entries entries"

# The whole: tables by name, a record for each height, the tip.
ldb --db="$store" checkconsistency > "$dir/out" 2>&1 || fail "ldb checkconsistency: $(cat "$dir/out")"
grep -q OK "$dir/out" || fail "ldb checkconsistency: $(cat "$dir/out")"
ldb --db="$store" list_column_families > "$dir/out" 2>&1 || fail "ldb: $(cat "$dir/out")"
for name in block model exec index state undo replay meta; do
  grep -qw "$name" "$dir/out" || fail "ldb knows no table $name: $(cat "$dir/out")"
done
n=$(ldb --db="$store" --column_family=index scan --hex 2> /dev/null | grep -c '^0x') || true
[ "$n" = "$height" ] || fail "ldb finds $n heights in the index, the node $height"
got=$(ldb --db="$store" --column_family=meta --value_hex get tip 2> /dev/null | tr 'A-F' 'a-f')
[ "${got:66:64}" = "$tip" ] || fail "ldb finds tip ${got:66:64} behind the record's hash, the node $tip"

start --no-mine
[ "$(status tip)" = "$tip" ] || fail "the node has another tip after the tools had looked"
stop
echo "test_rocksdb_tools: $logs batches in the log, $entries entries in $tables tables, $height heights"
