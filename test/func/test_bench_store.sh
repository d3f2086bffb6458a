#!/usr/bin/env bash
# quarry bench store: every figure is there and they agree with each other, nothing is left behind, wrong use is refused. How
# fast the disk is decides nothing here.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
bin=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/tmp"
export TMPDIR="$work/tmp"
bench() { "$bin/quarry" bench "$@"; }
empty() { [ -z "$(ls -A "$1")" ]; }

# ---- usage ----
expect 0 'bytes written a byte' bench --help
for blocks in 0 x 100001; do
  expect 2 "--blocks '$blocks'" bench store --blocks "$blocks"
done
mkdir "$work/full"
echo precious > "$work/full/file"
expect 1 'is not an empty directory' bench store --folder "$work/full"
[ "$(cat "$work/full/file")" = precious ] || fail "a directory in use was touched"
expect 1 'cannot make /nowhere/store' bench store --folder /nowhere/store
expect 1 'name another --folder' bench store --blocks 100000 --folder "$work/small"
[ ! -e "$work/small" ] || fail "a directory is left where nothing was measured"

# ---- the figures ----
json=$(bench store --json --seconds 1 --blocks 12 2> /dev/null) || fail "bench store --json failed: $json"
[ "$(wc -l <<< "$json")" = 1 ] || fail "--json is not one line"
empty "$TMPDIR" || fail "left behind: $(ls -R "$TMPDIR")"
[[ $json == *'"bench":"store","source":"measured","driver":"rocksdb"'* ]] || fail "not the store: $json"
for key in file_system io_uring_used block_bytes commit_cnt what load_1min; do
  [ -n "$(field "$key" <<< "$json")" ] || fail "no $key in $json"
done
# KEY STOCK_MIN STOCK_MEDIAN STOCK_MAX URING_... RATIO_..., one line for each pair of figures.
pairs=$(grep -oE '"(commit|read_256_cold|read_256_warm|replay_cold|recovery)":\{"source":"measured","unit":"[^"]*","stock":\{[^}]*\},"uring":\{[^}]*\},"ratio":\{[^}]*\}' <<< "$json" \
  | sed -E 's/"unit":"[^"]*"//; s/"(source|measured|stock|uring|ratio|median|min|max)"//g; s/[":{},]+/ /g')
[ "$(wc -l <<< "$pairs")" = 5 ] || fail "not five pairs: $pairs"
awk '
  function near(a, b) { return a <= b * 1.0001 }
  {
    for (i = 2; i <= 8; i += 3)
      if (!($(i + 1) > 0 && $(i + 1) <= $i && $i <= $(i + 2))) { print "not 0 < min <= median <= max: " $0; bad = 1 }
    low = $1 == "replay_cold" ? $6 / $4 : $3 / $7
    high = $1 == "replay_cold" ? $7 / $3 : $4 / $6
    if (!near(low, $9) || !near($10, high)) { print "ratio outside of " low "-" high ": " $0; bad = 1 }
  }
  END { exit bad }' <<< "$pairs" || fail "figures contradict each other"
for side in stock uring; do
  awk -v p50="$(field ${side}_p50_ms <<< "$json")" -v p99="$(field ${side}_p99_ms <<< "$json")" -v rate="$(field ${side}_commits_per_s <<< "$json")" \
    'BEGIN { exit !(p50 > 0 && p99 >= p50 && rate > 0 && rate < 2.2e3 / p50) }' || fail "impossible commits of $side: $json"
done
given=$(field given_bytes <<< "$json")
[ "$given" = $((12 * $(field block_bytes <<< "$json"))) ] || fail "12 blocks are not $given bytes"
written=$(field written_bytes <<< "$json")
[ "$written" = null ] || [ "$written" -ge "$given" ] || fail "$given bytes took only $written"
checks=$((checks + 12))

# ---- the table, in a directory of the user's ----
mkdir "$work/mine"
expect 0 'without a store' bench store --seconds 1 --blocks 2 --folder "$work/mine"
for row in 'commit a block, ms' 'p99' '256 keys at random, cold' 'replay ' 'open after a kill, 14 blocks' 'bytes written a byte, 2 blocks'; do
  [[ $said == *"$row"* ]] || fail "the table has no '$row': $said"
done
[ "$(wc -L <<< "$said")" -le 100 ] || fail "the table is wider than 100 columns: $said"
empty "$work/mine" || fail "left behind: $(ls -R "$work/mine")"

# ---- stopped early ----
"$bin/quarry" bench store --seconds 60 --folder "$work/stopped" > "$work/out" 2>&1 &
pid=$!
until_true 10 test -e "$work/stopped/stock/CURRENT" || fail "nothing begins: $(cat "$work/out")"
kill -TERM "$pid"
rc=0
wait "$pid" || rc=$?
[ "$rc" = 130 ] || fail "stopped with $rc: $(cat "$work/out")"
[ ! -e "$work/stopped" ] || fail "left behind: $(ls -R "$work/stopped")"
echo "test_bench_store: $((checks + 2)) expectations held"
