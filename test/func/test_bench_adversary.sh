#!/usr/bin/env bash
# quarry bench adversary: every trick is there and exact in every attempt, and wrong use is refused. How fast the machine is
# decides nothing here.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
bin=$1
bench() { "$bin/quarry" bench "$@"; }

expect 0 'adversary' bench --help
expect 1 "no task 'frob'" bench adversary --task frob
expect 1 'cannot be loaded' bench adversary --rivals /nowhere
expect 0 '"bench":"adversary"' bench adversary --json --task microgrid --seconds 1
json=$said
[ "$(printf '%s\n' "$json" | wc -l)" = 1 ] || fail "--json is not one line"
[ "$(printf '%s' "$json" | field task)" = microgrid ] || fail "another task was measured"
for trick in frozen clip-locked saturated constant low-rank vanishing; do
  [[ $json == *"\"trick\":\"$trick\""* ]] || fail "no trick $trick: $json"
done
tricks=$(grep -o '"trick":' <<< "$json" | wc -l)
exact=$(grep -oE '"attempt_cnt":([0-9]+),"exact_cnt":[0-9]+,"exact":true' <<< "$json" | wc -l)
[ "$tricks" = "$exact" ] || fail "not every trick is exact: $json"
[ "$(printf '%s' "$json" | field attempt_cnt)" -ge 1 ] || fail "no attempt was made"
[[ $json == *'"left_out":"nothing"'* && $json == *'errors 1'* ]] || fail "what is left out is not told: $json"
expect 0 'of the products that is left' bench adversary --task microgrid --seconds 1
echo "bench adversary: $checks commands, $tricks tricks exact"
