#!/usr/bin/env bash
# Every command of quarry and every way to use it wrongly, against one regtest node.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
bin=$1
dir=$(mktemp -d)
daemon=""
cleanup() {
  [ -z "$daemon" ] || kill -KILL "$daemon" 2> /dev/null || true
  rm -rf "$dir"
}
trap cleanup EXIT
q() { "$bin/quarry" --dir "$dir/n0" "$@"; }
status() { q --json status | field "$1"; }
start() {
  "$bin/quarryd" --dir "$dir/n0" --genesis "$dir/genesis.json" --link none "$@" >> "$dir/log" 2>&1 &
  daemon=$!
  until_true 30 q status > /dev/null 2>&1 || { cat "$dir/log"; fail "the node does not start"; }
}

# ---- without a node ----
expect 0 'Usage: quarry' "$bin/quarry" help
expect 0 'Usage: quarry' "$bin/quarry" --help
for c in status watch block verify peers ban unban mining account send key genesis stop db backup restore snapshot; do
  expect 0 "$c" "$bin/quarry" help $c
  expect 0 "$c" "$bin/quarry" $c --help
done
expect 2 'say what to do' "$bin/quarry"
expect 2 "no command 'frob'" "$bin/quarry" frob
expect 2 'unknown option --bla' "$bin/quarry" status --bla
expect 2 'one word too many' "$bin/quarry" status now
expect 2 'usage: quarry block HEIGHT' "$bin/quarry" block
expect 2 'needs a value' "$bin/quarry" status --dir
expect 2 'not both' "$bin/quarry" --dir a --socket b status
expect 2 "'-1' is not a block height" q block -1
expect 2 'not a block height' q verify 1x
expect 2 'holds no work' q verify 0
expect 2 '64 hex digits' q account 12
expect 2 'usage: quarry mining on|off' q mining maybe
expect 2 'usage: quarry send' q send --to 00
expect 2 'watch needs --nodes' "$bin/quarry" watch
expect 2 "--blocks '0'" "$bin/quarry" watch --nodes "$dir/n0" --blocks 0
expect 1 'no quarryd answers on' q status
expect 1 '"error"' q --json status
expect 1 'longer than' "$bin/quarry" --socket "/$(printf 'x%.0s' {1..150})" status
expect 1 'No node ever answered' "$bin/quarry" watch --nodes "$dir/nobody" --timeout 1

# ---- keys and genesis files ----
expect 0 '' "$bin/quarry" key new "$dir/a.key"
pk=$("$bin/quarry" key show "$dir/a.key")
[ "$said" = "$pk" ] && [ ${#pk} = 64 ] || fail "key new and key show differ: $said, $pk"
[ "$(stat -c %a "$dir/a.key")" = 600 ] || fail "the key file is not 0600"
expect 1 'never overwritten' "$bin/quarry" key new "$dir/a.key"
expect 1 'no such file' "$bin/quarry" key show "$dir/none.key"
expect 1 'cannot be written' "$bin/quarry" key new "$dir/none/a.key"
expect 2 'usage: quarry key' "$bin/quarry" key make "$dir/b.key"
echo nonsense > "$dir/bad.key" && chmod 600 "$dir/bad.key"
expect 1 'not a key file' "$bin/quarry" key show "$dir/bad.key"
cp "$dir/a.key" "$dir/open.key" && chmod 644 "$dir/open.key"
expect 1 'chmod 600' "$bin/quarry" key show "$dir/open.key"
expect 2 "no profile 'x'" "$bin/quarry" genesis x
expect 2 "no task 'x'" "$bin/quarry" genesis regtest --task x
expect 2 'not PUBKEY:AMOUNT' "$bin/quarry" genesis regtest --premine x
"$bin/quarry" genesis regtest --premine "$pk:1000" > "$dir/genesis.json"

# ---- quarryd's own errors ----
expect 0 'Keys and their defaults' "$bin/quarryd" --help
expect 0 'quarryd 0.' "$bin/quarryd" --version
expect 2 "did you mean '--listen'" "$bin/quarryd" --lisen 1.2.3.4
printf '[link]\nlisten = 10.0.0.1\n[mine]\nenabel = true\n' > "$dir/bad.ini"
expect 2 "bad.ini:4: unknown key 'enabel' in section [mine]; did you mean 'mine.enable'?" "$bin/quarryd" --config "$dir/bad.ini"
expect 1 'no-such.json' "$bin/quarryd" --dir "$dir/n9" --genesis "$dir/no-such.json" --link none

# ---- a node ----
start
expect 1 '' "$bin/quarryd" --dir "$dir/n0" --genesis "$dir/genesis.json" --link none
until_true 60 sh -c "[ \$('$bin/quarry' --dir '$dir/n0' --json status | grep -oE '\"height\":[0-9]+' | head -n 1 | cut -d: -f2) -ge 6 ]" \
  || fail "the node does not mine"
expect 0 'mining is off' q mining off
sleep 1
height=$(status height)
sleep 1
[ "$(status height)" = "$height" ] || fail "the chain grows although mining is off"
[ "$(status mining)" = false ] || fail "status does not say that mining is off"
expect 0 'regtest' q status
expect 0 "\"height\":$height" q --json status
expect 0 'model_out' q block "$height"
expect 0 "\"height\":$height," q block "$height" --json
expect 1 'no block at this height' q block 99999999
expect 1 '"code":-5' q --json block 99999999
for h in 1 "$height"; do
  expect 0 'the block is right' q verify "$h"
  expect 0 '"good":true' q --json verify "$h"
done
[[ $said != *'"same":false'* ]] || fail "verify says good, but a field differs: $said"
expect 1 'no block at this height' q verify 99999999
expect 1 'this node has no network' q peers
expect 1 '"code":-10' q --json peers
expect 1 'this node has no network' q ban 10.0.0.1

# ---- a transfer ----
"$bin/quarry" key new "$dir/b.key" > /dev/null
to=$("$bin/quarry" key show "$dir/b.key")
expect 0 '"balance":1000,"seq":0' q --json account "$pk"
expect 0 'no such account' q account "$to"
expect 1 'tx-balance' q send --key "$dir/a.key" --to "$to" --amount 1001
expect 1 'tx-balance' q --json send --key "$dir/a.key" --to "$to" --amount 1000 --fee 1
expect 1 'tx-' q send --key "$dir/a.key" --to "$to" --amount 18446744073709551615 --fee 18446744073709551615
expect 2 'is not a number from 1 up' q send --key "$dir/a.key" --to "$to" --amount 18446744073709551616
expect 2 "--to 'x'" q send --key "$dir/a.key" --to x --amount 1
expect 2 "--fee '-1'" q send --key "$dir/a.key" --to "$to" --amount 1 --fee -1
expect 1 'no such file' q send --key "$dir/none.key" --to "$to" --amount 1
expect 0 'transaction ' q send --key "$dir/a.key" --to "$to" --amount 300 --fee 5
[ "$(status mempool_cnt)" = 1 ] || fail "the transfer is not waiting"
expect 0 'mining is on' q mining on
until_true 60 sh -c "'$bin/quarry' --dir '$dir/n0' --json account '$to' | grep -q '\"balance\":300'" || fail "the transfer never got into a block"
q mining off > /dev/null
expect 0 '"balance":695,"seq":1' q --json account "$pk"
[ "$(status mempool_cnt)" = 0 ] || fail "the transfer still waits"
expect 0 '"found":true' q --json account "$(status miner_pk)"

# ---- watching one node, stopping, starting again ----
expect 0 '"agree":true' q --json watch --nodes "$dir/n0" --timeout 1
expect 0 'All nodes agree' q watch --nodes "$dir/n0" --timeout 1
height=$(status height) state=$(status state_root)
expect 0 'the node is stopping' q stop
rc=0 && wait "$daemon" || rc=$?
[ "$rc" = 0 ] || fail "quarryd ended with $rc"
[ ! -e "$dir/n0/quarryd.sock" ] || fail "the socket is still there"
expect 1 'no quarryd answers' q peers
start --no-mine
[ "$(status height)" = "$height" ] && [ "$(status state_root)" = "$state" ] || fail "the node came back with another state"
kill -KILL "$daemon" && wait "$daemon" 2> /dev/null || true
[ -S "$dir/n0/quarryd.sock" ] || fail "SIGKILL should leave the socket behind, or this test tests nothing"
expect 1 'no quarryd answers' q status
start --no-mine
[ "$(status state_root)" = "$state" ] || fail "the node came back from SIGKILL with another state"
q stop > /dev/null
wait "$daemon"
daemon=""
echo "test_cli: $checks expectations held"
