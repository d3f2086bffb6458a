#!/usr/bin/env bash
# quarry bench step: every figure is there, has samples that agree with each other, and wrong use is refused. How fast the
# machine is decides nothing here.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
bin=$1
bench() { "$bin/quarry" bench "$@"; }

# ---- usage ----
expect 0 'bench step' "$bin/quarry" help
expect 0 'Usage: quarry' "$bin/quarry" help bench
for option in --task --seconds --accel; do
  expect 0 "$option" bench --help
done
expect 2 'usage: quarry bench' bench
expect 2 'usage: quarry bench' bench frob
expect 2 'one word too many' bench step now
for seconds in 0 x 1.5 -1 3601; do
  expect 2 "--seconds '$seconds'" bench step --seconds "$seconds"
done
expect 2 "no driver 'frob'" bench step --accel frob
expect 2 "no driver ''" bench step --accel :kernel=portable
expect 1 'is not known' bench step --accel cpu:kernel=frob
expect 1 "no task 'frob'; this chain has microgrid microgrid-map" bench step --task frob
expect 1 '{"error":{"code":-1' bench step --task frob --json

# ---- the figures ----
expect 0 '"bench":"step","source":"measured","chain":"devnet","accel":"cpu"' bench step --json --task microgrid --seconds 1
json=$said
[ "$(printf '%s\n' "$json" | wc -l)" = 1 ] || fail "--json is not one line"
for key in cpu os compiler optimised allowed_core_cnt load_1min seconds round_cnt steps_per_attempt batch_rows step_mac_cnt; do
  [ -n "$(printf '%s' "$json" | field "$key")" ] || fail "no $key in $json"
done
[ "$(printf '%s' "$json" | field allowed_core_cnt)" = "$(nproc)" ] || fail "not the cores that this process may use: $json"
[ "$(printf '%s' "$json" | field round_cnt)" -ge 1 ] || fail "no round was made"
[ "$(printf '%s' "$json" | field task)" = microgrid ] || fail "another task was measured"
[[ $json != *microgrid-map* ]] || fail "--task is not heeded"
[[ $json == *'"kernel":"cpu portable"'* ]] || fail "the portable kernel is missing: $json"

# KEY MEDIAN MIN MAX, one line for each figure of the run
figures=$(printf '%s' "$json" | grep -oE '"[a-z0-9_]+":\{"median":[^}]*\}' \
  | sed -E 's/^"([^"]*)":\{"median":([^,]*),"min":([^,]*),"max":([^}]*)\}$/\1 \2 \3 \4/')
for key in gmac_per_s step_ms attempt_ms attempts_per_s step_gmac_per_s step_ratio_to_own_peak step_ratio_to_best_peak \
  attempt_ratio_to_products_at_own_peak forward_16_rows_us forward_4096_rows_ms forward_4096_rows_per_s block_ms verify_ms \
  verify_cold_ms verify_ratio_to_attempt verify_ratio_to_block attempt_ratio_to_first_kernel one_thread_attempts_per_s \
  all_threads_attempts_per_s ratio_all_to_one; do
  grep -q "^$key " <<< "$figures" || fail "no $key in $json"
  checks=$((checks + 1))
done
awk '!($3 > 0 && $3 <= $2 && $2 <= $4) { print "not 0 < min <= median <= max: " $0; bad = 1 } END { exit bad }' \
  <<< "$figures" || fail "a figure is impossible"
# Figures of the same samples: the fastest attempt gives the highest rate, the fastest step the most products.
awk -v mac_cnt="$(printf '%s' "$json" | field step_mac_cnt)" '
  function same(what, a, b) { if (a / b < 0.9999 || a / b > 1.0001) { print what ": " a " is not " b; bad = 1 } }
  $1 == "step_ms" { step = $3 }
  $1 == "attempt_ms" { attempt = $3 }
  $1 == "attempts_per_s" { same("attempts/s", $4 * attempt, 1000); n++ }
  $1 == "step_gmac_per_s" { same("GMAC/s", $4 * step * 1e6, mac_cnt); n++ }
  $1 == "forward_4096_rows_ms" { forward = $3 }
  $1 == "forward_4096_rows_per_s" { same("rows/s", $4 * forward, 4096000); n++ }
  END { exit bad || n < 3 }' <<< "$figures" || fail "figures contradict each other"
checks=$((checks + 2))

# ---- the table ----
expect 0 'microgrid: K 32, batch 256' bench step --task microgrid --seconds 1 --accel cpu:kernel=portable
for row in 'cores allowed' 'median (min-max)' 'training step, ms' 'whole step, GMAC/s' 'verify a block, ms' 'attempts/s, 1 thread'; do
  [[ $said == *"$row"* ]] || fail "the table has no '$row': $said"
done
[[ $said != *'cpu avx'* ]] || fail "kernel=portable is not heeded: $said"
echo "test_bench: $checks expectations held"
