#!/usr/bin/env bash
# Nodes that know one address find each other, stay together when it dies, and find each other again out of what they kept;
# a file that says nonsense is refused; bans.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
. "$here/../../tools/lib/devnet.sh"

if [ -z "${DEVNET_INSIDE:-}" ]; then
  DEVNET_DIR=$(mktemp -d)
  trap 'rm -rf "$DEVNET_DIR"' EXIT
  export DEVNET_DIR DEVNET_BIN=$1 DEVNET_COUNT=1 # all dial n0, which dials nobody
  "$1/quarry" genesis regtest > "$DEVNET_DIR/genesis.json"
  devnet_enter "$0" "$@"
  exit $?
fi

q() { local i=$1; shift; "$DEVNET_BIN/quarry" --dir "$DEVNET_DIR/n$i" "$@"; }
peers() { q "$1" --json peers 2> /dev/null | field "$2"; }
# Nodes but the first that a node is connected to.
others() { q "$1" --json peers 2> /dev/null | grep -oE '"addr":"10\.80\.0\.1[1-9]:' | sort -u | wc -l; }
has() { [ "$(others "$1")" = "$2" ]; }
all_have() { local n=$1 i; shift; for i in "$@"; do has "$i" "$n" || return 1; done; }
trouble() { tail -n 8 "$DEVNET_DIR"/n?.log; fail "$*"; }
stop() { kill -TERM "${DEVNET_PID[$1]}"; devnet_reap "$1" || trouble "n$1 ended badly"; }

devnet_net 4
for i in 0 1 2 3; do devnet_start $i --no-mine; done
until_true 60 all_have 2 1 2 3 || trouble "not everybody knows everybody: $(for i in 1 2 3; do others $i; done)"
until_true 10 has 0 3 || trouble "n0 has only $(others 0) peers"
said=$(q 1 peers)
for word in address network 'known addresses' 10.80.0.12; do
  [[ $said == *"$word"* ]] || fail "quarry peers does not say '$word': $said"
done
[[ $(for i in 1 2 3; do q $i peers; done) == *" book "* ]] || fail "nobody was found by another"
identity=$(q 3 --json status | field miner_pk)
[[ $(q 1 --json peers) == *"$identity"* ]] || fail "n1 does not know who n3 is"

# ---- without the one that all were told of ----
kill -KILL "${DEVNET_PID[0]}"
devnet_reap 0 || true
for i in 1 2 3; do has $i 2 || trouble "n$i has lost others with n0"; done

# ---- out of the file ----
export DEVNET_COUNT=0
stop 3
[ "$(stat -c %a "$DEVNET_DIR/n3/peers.dat")" = 600 ] || fail "others can read peers.dat"
devnet_start 3 --no-mine
until_true 30 all_have 2 1 2 3 || trouble "n3 does not find the others again"
grep -q 'event=peers-recalled' "$DEVNET_DIR/n3.log" || fail "n3 does not say what it recalls"

# ---- bans: by identity, lifted; by address, over a restart ----
expect 2 'neither an identity' q 1 ban nobody
expect 2 "--hours '0'" q 1 ban 10.80.0.13 --hours 0
expect 1 'there is no such ban' q 1 unban 10.80.0.13
expect 0 'banned for 24 hours' q 1 ban "$identity"
until_true 10 has 1 1 || trouble "n1 keeps whom it banned"
expect 0 'no longer banned' q 1 unban "$identity"
[ "$(peers 1 bans)" = 0 ] || fail "a lifted ban is counted still"
expect 0 '"ok":true' q 1 --json ban 10.80.0.13 --hours 2
until_true 10 has 1 1 || trouble "n1 keeps whom it banned by address"
stop 1
devnet_start 1 --no-mine
until_true 30 has 1 1 || trouble "n1 does not find n2 again"
[ "$(peers 1 bans)" = 1 ] || fail "n1 has forgotten the ban"

# ---- a file that is damaged ----
stop 2
printf 'x' | dd of="$DEVNET_DIR/n2/peers.dat" bs=1 seek=100 conv=notrunc status=none
devnet_start 2 --no-mine --peer 10.80.0.13
until_true 20 grep -q 'event=peers-refused.*damaged' "$DEVNET_DIR/n2.log" || trouble "n2 says nothing of the damaged file"
until_true 20 has 2 2 || trouble "n2 does not learn of the others anew"
devnet_stop || trouble "a node ended badly"
echo "test_peers: passed, $checks expectations"
