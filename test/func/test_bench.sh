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
for option in --task --seconds --accel --rivals; do
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
  all_threads_attempts_per_s ratio_all_to_one phase_step_ms dither_digest_share_of_attempt not_product_share_of_attempt \
  whole_gmac_per_s whole_ratio_to_own_peak product_alone_gmac_per_s product_alone_ratio_to_own_peak; do
  grep -q "^$key " <<< "$figures" || fail "no $key in $json"
  checks=$((checks + 1))
done
# Shares of an attempt by runs of their own can come out below nought where other work disturbs one of them.
awk '$1 !~ /^(outside_steps|not_product)_share_of_attempt$/ && !($3 > 0 && $3 <= $2 && $2 <= $4) { print "not 0 < min <= median <= max: " $0; bad = 1 } END { exit bad }' \
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
# The phases of a step make up the step, more or less: they are timed in a run of their own, which others may disturb, though not
# with most kernels.
awk '
  function close_kernel() { if (step && (sum < step / 5 || sum > step * 5)) { print "phases of " sum " ms, step of " step; bad++ } sum = 0 }
  $1 == "step_ms" { close_kernel(); step = $2; n++ }
  $1 == "phase_step_ms" { sum += $2 }
  END { close_kernel(); exit !n || bad > n / 2 }' <<< "$figures" || fail "phases are not those of the step"
checks=$((checks + 3))

# ---- products, and what they are compared with ----
# One line for each product (P), each way of the library (W: operands, layout, equal) and each figure of either (F KEY MIN MAX).
products=$(printf '%s' "$json" | grep -oE '"(product|primitive|operands|layout|equal)":("[^"]*"|true|false)|"[a-z0-9_]+":\{"median":[^}]*\}' \
  | sed -E 's/^"([^"]*)":\{"median":[^,]*,"min":([^,]*),"max":([^}]*)\}$/F \1 \2 \3/; s/^"product":"(.*)"$/P \1/; s/^"([^"]*)":"?([^"]*)"?$/W \1 \2/')
for product in 'forward 0' 'forward 1' 'backward weights 0' 'backward weights 1' 'backward data 1' 'square 512' 'square 1024'; do
  grep -qx "P $product" <<< "$products" || fail "no product '$product' in $json"
  checks=$((checks + 1))
done
# Shapes are those of the step: the digested products and the last layer's three make up all its multiply-accumulates.
macs=$(printf '%s' "$json" | grep -oE '"product":"[^"s][^"]*","m":[0-9]+,"n":[0-9]+,"k":[0-9]+' | sed -E 's/.*"m":([0-9]+),"n":([0-9]+),"k":([0-9]+)/\1 \2 \3/' \
  | awk '{ sum += $1 * $2 * $3 } END { printf "%d", sum }')
[ "$(printf '%s' "$json" | field step_mac_cnt)" = $((macs + 3 * 256 * 384 * 3)) ] || fail "the products are not those of the step: $macs"
checks=$((checks + 1))

if [ -e "$bin/libquarry_rival_onednn.so" ]; then
  [[ $json == *'"int8":{"library":"oneDNN '*', threads 1","missing":null}'* ]] || fail "oneDNN does not say who it is: $json"
  ! grep -q '^W equal false' <<< "$products" || fail "oneDNN computes something else: $products"
  # Four ways for each of five products of a step and three squares.
  [ "$(grep -c '^W equal true' <<< "$products")" = 32 ] || fail "ways of oneDNN are missing: $products"
  # A ratio within each round lies between the extremes of what it is made of.
  awk '
    $1 == "P" { whole = 0 }
    $1 == "F" && $2 == "whole_gmac_per_s" { whole = 1; low = $3; high = $4 }
    $1 == "F" && $2 == "whole_ratio_to_rival_s8_as_they_lie" { ratio_low = $3; ratio_high = $4 }
    $1 == "W" { way = $2 == "primitive" ? $3 : way " " $3 " " $4 " " $5 }
    $1 == "F" && $2 == "rival_gmac_per_s" && whole && way ~ /^matmul s8 x s8 as they/ {
      n++
      if (ratio_low < low / $4 * 0.9999 || ratio_high > high / $3 * 1.0001) { print "ratio " ratio_low "-" ratio_high " of " low "-" high " to " $3 "-" $4; bad = 1 }
    }
    END { if (n != 8) print n " ratios were looked at"; exit bad || n != 8 }' <<< "$products" || fail "ratios to oneDNN contradict its figures"
  checks=$((checks + 4))
fi
if [ -e "$bin/libquarry_rival_openblas.so" ]; then
  [[ $json == *'"float32":{"library":"OpenBLAS '*' kernels, threads 1","missing":null}'* ]] || fail "OpenBLAS does not say who it is: $json"
  for key in float32_step_ms step_ratio_to_float32; do
    grep -q "^$key " <<< "$figures" || fail "no $key in $json"
  done
  checks=$((checks + 3))
fi
for program in quarry quarryd; do
  ! ldd "$bin/$program" | grep -E 'dnnl|blas' || fail "$program is linked to a library that it is only compared with"
done
expect 0 '"rivals":{"int8":{"library":null,"missing":"no libquarry_rival_onednn.so in /nowhere; ' \
  bench step --json --task microgrid --seconds 1 --accel cpu: --rivals /nowhere
[[ $said == *'"float32":{"library":null,"missing":"no libquarry_rival_openblas.so in /nowhere; '*'"float32_step_ms":null'* ]] \
  || fail "a library that is not there is not said to be missing: $said"
checks=$((checks + 3))

# ---- the table ----
expect 0 'microgrid: K 32, batch 256' bench step --task microgrid --seconds 1 --accel cpu:kernel=portable
for row in 'cores allowed' 'median (min-max)' 'training step, ms' 'whole step, GMAC/s' 'verify a block, ms' 'attempts/s, 1 thread' \
  'ms a step, an attempt' '  products ' 'all but products' "this driver's" 'forward 1             256x384x384' 'all of a step' 'square 512'; do
  [[ $said == *"$row"* ]] || fail "the table has no '$row': $said"
done
[[ $said != *'cpu avx'* ]] || fail "kernel=portable is not heeded: $said"
[ "$(wc -L <<< "$said")" -le 100 ] || fail "the table is wider than 100 columns: $said"
echo "test_bench: $checks expectations held"
