#!/usr/bin/env bash
# quarry bench step of every accelerator driver: each is measured in turns with the CPU driver, says where its figures come from
# and what it is; one that is absent, slow, wrong or broken is said to be so. test_bench.sh looks at the figures themselves.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
bin=$1
bench() { "$bin/quarry" bench step --task microgrid --seconds 1 "$@"; }

# have NAME[:options]: whether that driver finds a device here
have() { said=$("$bin/quarry" device list --accel "$1" 2>&1) && [[ $said == *usable* ]]; }

# KEY MEDIAN MIN MAX of the kernel of a driver: kernel_figures DRIVER
kernel_figures() {
  printf '%s' "$json" | grep -oE "\"kernel\":\"[^\"]*\",\"driver\":\"$1\".*" | sed 's/"kernel":"/\n&/g' | sed -n 2p \
    | grep -oE '"[a-z0-9_]+":\{"median":[^}]*\}' | sed -E 's/^"([^"]*)":\{"median":([^,]*),"min":([^,]*),"max":([^}]*)\}$/\1 \2 \3 \4/'
}

# measure NAME[:options] SOURCE KEY...: one line of JSON with figures of both drivers, which agree with their ratio
measure() {
  local accel=$1 source=$2 driver=${1%%:*} mine cpu key
  shift 2
  json=$(bench --json --accel "$accel") || fail "bench of $accel ended with $?: $json"
  [ "$(wc -l <<< "$json")" = 1 ] || fail "$accel: --json is not one line"
  [ "$(field source <<< "$json")" = "$source" ] || fail "$accel: not $source: $json"
  [ "$(field accel <<< "$json")" = "$accel" ] || fail "another driver than $accel: $json"
  mine=$(kernel_figures "$driver")
  for key in step_ms step_gmac_per_s forward_16_rows_us forward_4096_rows_ms "$@"; do
    grep -q "^$key " <<< "$mine" || fail "$accel: no $key in $json"
    checks=$((checks + 1))
  done
  awk '$1 !~ /share_of_attempt$/ && !($3 > 0 && $3 <= $2 && $2 <= $4) { print "not 0 < min <= median <= max: " $0; bad = 1 } END { exit bad }' \
    <<< "$mine" || fail "$accel: a figure is impossible"
  if [ "$driver" != cpu ]; then
    cpu=$(kernel_figures cpu)
    awk 'NR == FNR { low[$1] = $3; high[$1] = $4; next }
      $1 ~ /^(step|attempt|forward_4096_rows)_ms$/ { mine_low[$1] = $3; mine_high[$1] = $4 }
      /_ratio_to_cpu_driver / { of = $1; sub(/_ratio_to_cpu_driver/, "_ms", of); ratio_low[of] = $3; ratio_high[of] = $4 }
      END { for (of in mine_low) if (!(ratio_low[of] >= mine_low[of] / high[of] * 0.9999 && ratio_high[of] <= mine_high[of] / low[of] * 1.0001)) { print of ": " ratio_low[of] " to " ratio_high[of]; bad = 1 }
        exit bad || !("step_ms" in ratio_low) }' <(echo "$cpu") <(echo "$mine") || fail "$accel: ratios contradict figures: $json"
    [[ $json == *'"driver":"cpu","detail":'*',"source":"measured"'* ]] || fail "$accel: the CPU driver does not say what it is: $json"
    checks=$((checks + 2))
  fi
  echo "$accel: step $(awk '$1 == "step_ms" { print $2 }' <<< "$mine") ms"
}

measure cpu measured attempt_ms verify_ms phase_step_ms
measure error measured
[[ $json == *'"kernel":"error cpu '*'"detail":"FOR TESTS: cpu; '* ]] || fail "what is wrapped is not said: $json"
if have opencl; then
  measure opencl:tune=off measured phase_step_ms
  for phase in draw element product transfer; do
    [[ $json == *"{\"phase\":\"$phase\",\"phase_step_ms\":{\"median\":"* ]] || fail "no phase $phase in $json"
  done
  measure error:inner=opencl:tune=off measured
  [[ $json == *'"detail":"FOR TESTS: opencl; '* ]] || fail "what is wrapped is not said: $json"
  checks=$((checks + 5))
else
  echo "opencl is left out: $said"
fi
if have xrt:emulate; then
  measure xrt:emulate emulated
  expect 0 'emulated: its times are those of a simulation' bench --accel xrt:emulate
else
  echo "xrt:emulate is left out: $said"
fi

# ---- an attempt for which there is no room in one second, and the table ----
expect 0 '"attempt_ms":null' bench --json --accel error:delay_ms=20
foreseen=$(field attempt_foreseen_ms <<< "$said")
[ "${foreseen%%.*}" -ge 640 ] || fail "32 steps of 20 ms and more are not foreseen: $foreseen"
expect 0 'no attempts: one takes about ' bench --accel error:delay_ms=20
for row in 'FOR TESTS: cpu; ' 'the CPU driver on one core, in turns with it' "over the CPU driver's" 'training step, ms' 'forward 1             256x384x384'; do
  [[ $said == *"$row"* ]] || fail "the table has no '$row': $said"
done
[[ $said != *oneDNN* ]] || fail "the table has columns for a library that was not asked for: $said"
[ "$(wc -L <<< "$said")" -le 100 ] || fail "the table is wider than 100 columns: $said"
checks=$((checks + 8))

# ---- what cannot be measured ----
expect 1 'a wrong result on error cpu ' bench --accel error:corrupt=1/1
expect 1 'an attempt failed on error cpu ' bench --accel error:fail=1/1
expect 1 '{"error":{"code":-7,' bench --json --accel error:corrupt=1/1
expect 1 'this build has no such driver' bench --accel error:inner=frob
expect 1 'unknown option speed' bench --accel opencl:speed=9
expect 1 'unknown option' bench --accel error:speed=9
expect 2 "no driver 'fpga'" bench --accel fpga
OCL_ICD_VENDORS=/nowhere expect 1 'no OpenCL platform with a device; install' bench --accel opencl
if ! have xrt && [[ $said == *'no card of the vendor'* ]]; then
  expect 1 'no card of the vendor' bench --accel xrt
fi
echo "test_bench_accel: $checks expectations held"
