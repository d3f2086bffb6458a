#!/usr/bin/env bash
# quarry bench link: every figure is there and they agree with each other, nothing is left behind. How fast the machine is
# decides nothing here.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
bin=$1
map=-Urn
[ "$(id -u)" = 0 ] && map=-n
if ! unshare $map ip link add q0 type veth peer name q1 2> /dev/null; then
  echo "SKIP: this system does not let user $(id -un) make a network namespace with a veth pair"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TMPDIR=$work
bench() { "$bin/quarry" bench link "$@"; }

json=$(bench --json --seconds 1 2> "$work/said") || fail "bench link --json failed: $json $(cat "$work/said")"
rm "$work/said"
[ "$(wc -l <<< "$json")" = 1 ] || fail "--json is not one line"
[ -z "$(ls -A "$work")" ] || fail "left behind: $(ls -R "$work")"
[[ $json == *'"bench":"link"'* ]] || fail "not the links: $json"
for text in '"path":"direct","source":"measured"' '"path":"20 ms","source":"emulated link"' '"loss_percent":1.0' \
  '"tcp_congestion_control":"'; do
  [[ $json == *"$text"* ]] || fail "no $text in $json"
done
# WAY ROUND_TRIP_MIN MEDIAN MAX BLOCK_... BULK_... CPU_..., one line for each way of each path.
ways=$(grep -oE '"(tcp|memif|af_packet|udp)":\{"round_trip_us":\{[^}]*\},"block_ms":\{[^}]*\},"bulk_mb_per_s":\{[^}]*\},"cpu_s_per_gb":\{[^}]*\}' <<< "$json" \
  | sed -E 's/"(round_trip_us|block_ms|bulk_mb_per_s|cpu_s_per_gb|median|min|max)"//g; s/[":{},]+/ /g')
[ "$(wc -l <<< "$ways")" = 13 ] || fail "not four ways straight and three on each emulated path: $ways"
awk '
  {
    for (i = 2; i <= 11; i += 3)
      if (!($(i + 1) > 0 && $(i + 1) <= $i && $i <= $(i + 2))) { print "not 0 < min <= median <= max: " $0; bad = 1 }
    if (NR > 4 && $3 < 20000) { print "a round trip below the 20 ms of the path: " $0; bad = 1 }
    if (NR > 4 && $6 < 30) { print "announcement, request and block in less than three times 10 ms: " $0; bad = 1 }
  }
  END { exit bad }' <<< "$ways" || fail "figures contradict each other: $json"
checks=$((checks + 8))

expect 0 '300 B there and back' bench --seconds 1
for row in 'block of 0.4 MB' 'CPU seconds per GB' '20 ms, 1 % loss; emulated link'; do
  [[ $said == *"$row"* ]] || fail "the table has no '$row': $said"
done
[ "$(wc -L <<< "$said")" -le 100 ] || fail "the table is wider than 100 columns: $said"

# ---- stopped early: no process and no file stays ----
"$bin/quarry" bench link --seconds 60 > "$work/out" 2>&1 &
pid=$!
until_true 20 bash -c "ls '$work' | grep -q quarry-link" || fail "nothing begins: $(cat "$work/out")"
sleep 1
kill -TERM "$pid"
rc=0
wait "$pid" || rc=$?
[ "$rc" = 130 ] || fail "stopped with $rc: $(cat "$work/out")"
rm "$work/out"
[ -z "$(ls -A "$work")" ] || fail "left behind: $(ls -R "$work")"
echo "test_bench_link: $((checks + 5)) expectations held"
