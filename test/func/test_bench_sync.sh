#!/usr/bin/env bash
# tools/bench-sync on a short chain: a fresh node verifies every block, the figures are there and agree with each other, wrong use
# is refused and nothing is left behind. How fast the machine is decides nothing here.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
. "$here/../../tools/lib/devnet.sh"
bin=$1
bench=$here/../../tools/bench-sync
why=$(devnet_missing)
[ -z "$why" ] || { echo "skipped: $why"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# ---- usage ----
expect 0 'Usage: tools/bench-sync' "$bench" --help
expect 2 "unknown option '--block'" "$bench" --block 3
expect 2 "--blocks '0'" "$bench" --blocks 0
expect 2 'at least 10' "$bench" --blocks 9
expect 2 "--rounds 'x'" "$bench" --rounds x
expect 2 'neither regtest nor devnet' "$bench" --profile main
expect 2 'needs a value' "$bench" --dir
expect 2 'holds no quarryd' "$bench" --bin "$dir"
touch "$dir/file"
expect 2 'is not empty' "$bench" --bin "$bin" --dir "$dir"
rm "$dir/file"
expect 2 "no task 'frob'" "$bench" --bin "$bin" --task frob

# ---- a sync of sixteen blocks of one task, and one where the fresh node's flags are wrong ----
expect 0 'ratio to all cores' "$bench" --bin "$bin" --task catch --profile regtest --blocks 16 --rounds 2 --seconds 1 --json --dir "$dir/run"
json=$(tail -n 1 <<< "$said")
for pair in bench:sync source:measured profile:regtest store:rocksdb verify_tile_cnt:2 round_cnt:2 blocks:16 verified_min:16 \
  "core_cnt:$(nproc)"; do
  [ "$(field "${pair%%:*}" <<< "$json")" = "${pair#*:}" ] || fail "the figures do not say $pair: $json"
  checks=$((checks + 1))
done
figures=$(grep -oE '"[a-z0-9_-]+":\{"median":[^}]*\}' <<< "$json" \
  | sed -E 's/^"([^"]*)":\{"median":([^,]*),"min":([^,]*),"max":([^}]*)\}$/\1 \2 \3 \4/')
for key in seconds blocks_per_s ms_per_block attempts_per_s_one_core attempts_per_s_all_cores ratio_to_one_core \
  ratio_to_all_cores catch; do
  grep -q "^$key " <<< "$figures" || fail "no $key in $json"
  checks=$((checks + 1))
done
awk '!($3 > 0 && $3 <= $2 && $2 <= $4) { print "not 0 < min <= median <= max: " $0; bad = 1 }
  function same(what, a, b) { if (a / b < 0.999 || a / b > 1.001) { print what ": " a " is not " b; bad = 1 } }
  $1 == "seconds" { s = $3 }
  $1 == "blocks_per_s" { per_s = $4 }
  $1 == "ms_per_block" { ms = $3 }
  END { same("blocks/s", per_s * s, 16); same("ms a block", ms * 16, s * 1e3); exit bad }' <<< "$figures" || fail "figures contradict each other"
for key in replay gather targets train root check_actions evaluate wait_block wait_model wait_line wait_commit handed_over; do
  [ -n "$(grep -oE '"tile_ms_per_block":.*' <<< "$json" | field "$key")" ] || fail "no $key in $json"
done
[ "$(grep -oE '"tile_ms_per_block":.*' <<< "$json" | field train | cut -d. -f1)" -ge 0 ] || fail "no time was spent in training: $json"
grep -q 'event=synced height=16 blocks=16' "$dir/run/n1.log" || fail "the fresh node does not say that it synced"
expect 1 'fresh node' "$bench" --bin "$bin" --task catch --blocks 10 --rounds 1 --seconds 1 --dir "$dir/bad" -- --tile.verify=9
! pgrep -f "quarryd --dir $dir/" > /dev/null || fail "left running: $(pgrep -fa "quarryd --dir $dir/")"
echo "test_bench_sync: $checks expectations held"
