#!/usr/bin/env bash
# tools/run from outside: it agrees and says so, ends at a signal, reports a node that dies, and leaves nothing running.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
. "$here/../../tools/lib/devnet.sh"
bin=$1
run=$here/../../tools/run
why=$(devnet_missing)
[ -z "$why" ] || { echo "skipped: $why"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# Processes that have the test's folder in their command line.
left() { pgrep -f "quarryd --dir $dir/" | tr '\n' ' '; }
gone() { [ -z "$(left)" ]; }
height() { "$bin/quarry" --dir "$1" --json status 2> /dev/null | field height; }
mined() { local h; h=$(height "$1"); [ "${h:-0}" -ge "$2" ]; }

# ---- options ----
expect 0 'Usage: tools/run' "$run" --help
expect 2 "unknown option '--block'" "$run" --block 3
expect 2 "--blocks '0'" "$run" --blocks 0
expect 2 'at most 16' "$run" --nodes 17
expect 2 'needs a value' "$run" --dir
expect 2 'holds no quarryd' "$run" --bin "$dir"
mkdir "$dir/used" && touch "$dir/used/file"
expect 2 'neither empty nor of an earlier run' "$run" --bin "$bin" --dir "$dir/used"

# ---- three nodes agree ----
rc=0
"$run" --bin "$bin" --blocks 12 --json --dir "$dir/three" --timeout 240 > "$dir/three.out" || rc=$?
last=$(tail -n 1 "$dir/three.out")
[ "$rc" = 0 ] || { tail -n 20 "$dir/three.out" "$dir"/three/n?.log; fail "tools/run ended with $rc"; }
for pair in nodes:3 agree:true complete:true baseline:0.5; do
  [ "$(field "${pair%:*}" <<< "$last")" = "${pair#*:}" ] || fail "the summary does not say $pair: $last"
done
for key in height tip attempts blocks_per_s reward_first reward_last steps_done steps_kept steps_kept_per_s elapsed_s; do
  [ -n "$(field $key <<< "$last")" ] || fail "the summary has no $key: $last"
done
[ "$(field height <<< "$last")" -ge 12 ] || fail "height below 12: $last"
gone || fail "left running: $(left)"

# ---- the same chain goes on, with one task's name refused ----
expect 2 'holds a chain already' "$run" --bin "$bin" --dir "$dir/three" --task catch
expect 0 'All nodes agree' "$run" --bin "$bin" --dir "$dir/three" --timeout 8
[[ $said == *'goes on'* ]] || fail "it does not say that the chain goes on: $said"

# ---- a signal ends it in good order ----
"$run" --bin "$bin" --nodes 2 --task catch --dir "$dir/two" > "$dir/two.out" 2>&1 &
pid=$!
until_true 90 mined "$dir/two/n0" 2 || { cat "$dir/two.out" "$dir"/two/n0.log; fail "two nodes do not mine catch"; }
kill -TERM "$pid"
rc=0 && wait "$pid" || rc=$?
[ "$rc" = 0 ] || { tail -n 20 "$dir/two.out"; fail "ended by a signal, it returned $rc"; }
grep -q 'All nodes agree' "$dir/two.out" || fail "no summary after a signal"
gone || fail "left running: $(left)"

# ---- a node that dies is told ----
"$run" --bin "$bin" --nodes 2 --dir "$dir/dead" > "$dir/dead.out" 2>&1 &
pid=$!
until_true 90 mined "$dir/dead/n1" 1 || fail "two nodes do not mine"
kill -KILL "$(pgrep -f "quarryd --dir $dir/dead/n1 ")"
rc=0 && wait "$pid" || rc=$?
[ "$rc" = 1 ] || fail "a node died and it returned $rc"
grep -q 'node n1 has ended' "$dir/dead.out" || { cat "$dir/dead.out"; fail "the dead node is not named"; }
gone || fail "left running: $(left)"

# ---- SIGKILL of the script itself leaves nothing either ----
"$run" --bin "$bin" --nodes 2 --dir "$dir/kill" > "$dir/kill.out" 2>&1 &
pid=$!
until_true 90 mined "$dir/kill/n0" 1 || fail "two nodes do not mine"
kill -KILL "$pid"
wait "$pid" 2> /dev/null || true
until_true 60 gone || fail "left running: $(left)"
echo "test_devnet: passed"
