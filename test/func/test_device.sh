#!/usr/bin/env bash
# Cards as an operator meets them, on emulated ones: bitstreams that are signed or not, quarry device, and a node with four
# cards of which one is killed in the middle of an attempt.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
bin=$1
emu=$bin/../emu
[ -f "$emu/engine.sw_emu.xclbin" ] || { echo "skipped: this build has no emulated cards (no XRT headers)"; exit 77; }
[ ! -f "$emu/xrt/skipped" ] || { echo "skipped: $(cat "$emu/xrt/skipped")"; exit 77; }
dir=$(mktemp -d)
node=""
cleanup() {
  [ -z "$node" ] || kill -KILL "$node" 2> /dev/null || true
  rm -rf "$dir"
}
trap cleanup EXIT
export HOME=$dir # no trusted keys but those of this test

# ---- bitstreams ----
box=$dir/engine.xclbin
cp "$emu/engine.sw_emu.xclbin" "$box"
expect 1 'NOT TRUSTED: it has no manifest' "$bin/quarry" bitstream verify "$box"
expect 1 'nobody vouches for it' "$bin/quarry" device job gemm --shape 4x4x4 --accel "xrt:emulate,bitstream=$box"
expect 1 'accept_unsigned=yes-i-trust-this-file' "$bin/quarry" device job gemm --shape 4x4x4 --accel "xrt:emulate,bitstream=$box"
expect 0 '0 of 16 elements differ' "$bin/quarry" device job gemm --shape 4x4x4 --check \
  --accel "xrt:emulate,bitstream=$box,accept_unsigned=yes-i-trust-this-file"
expect 2 '--part must be given' "$bin/quarry" bitstream sign "$box" --key development --tool t
expect 0 'engine.xclbin.manifest' "$bin/quarry" bitstream sign "$box" --key development --part xcu55n --tool t
expect 0 'trusted: development key' "$bin/quarry" bitstream verify "$box"
expect 0 '0 of 16 elements differ' "$bin/quarry" device job gemm --shape 4x4x4 --check --accel "xrt:emulate,bitstream=$box"
printf x | dd of="$box" bs=1 seek=5000 conv=notrunc status=none
expect 1 'size or SHA-256 differs' "$bin/quarry" bitstream verify "$box"
"$bin/quarry" key new "$dir/lab.key" > "$dir/lab.pk"
expect 0 'engine.xclbin.manifest' "$bin/quarry" bitstream sign "$box" --key "$dir/lab.key" --part xcu55n --tool t
expect 1 'not among the trusted keys' "$bin/quarry" bitstream verify "$box"
echo "$(cat "$dir/lab.pk") emulation the lab's" > "$dir/keys"
expect 0 "trusted: the lab's" "$bin/quarry" bitstream verify "$box" --keys "$dir/keys"
expect 0 "trusted: the lab's" "$bin/quarry" bitstream list "$dir" --keys "$dir/keys"

# ---- without a node ----
expect 0 'driver xrt finds' "$bin/quarry" device list
expect 0 'emu:2' "$bin/quarry" device list --accel xrt:emulate,cards=3
expect 0 'power rails  not available' "$bin/quarry" device examine --accel xrt:emulate
expect 0 'answers again' "$bin/quarry" device reset emu:1 --accel xrt:emulate,cards=2
expect 0 'passed  bandwidth' "$bin/quarry" device validate --accel xrt:emulate
[[ $said != *FAILED* ]] || fail "validate: $said"
expect 1 'FAILED' "$bin/quarry" device validate --accel xrt:emulate,fault=wrong:8
expect 0 'the CPU gives the same' "$bin/quarry" device job step --task microgrid-map --steps 2 --check --accel xrt:emulate
head -c 6000 /dev/urandom > "$dir/a" && head -c 5000 /dev/urandom > "$dir/b"
expect 0 '0 of 3000 elements differ' "$bin/quarry" device job gemm --shape 60x50x100 --a "$dir/a" --b "$dir/b" --out "$dir/c" \
  --check --accel xrt:emulate
[ "$(stat -c %s "$dir/c")" = 12000 ] || fail "the product is not 12000 bytes"
expect 1 'wanted are 6100' "$bin/quarry" device job gemm --shape 61x50x100 --a "$dir/a"

# ---- a node with four cards ----
"$bin/quarryd" --dir "$dir/n" --genesis regtest --link none --store mem --accel xrt --accel.options emulate,cards=4 \
  > "$dir/n.log" 2>&1 &
node=$!
q() { "$bin/quarry" --dir "$dir/n" "$@"; }
status() { q --json status 2> /dev/null | field "$1"; }
reached() { local h; h=$(status height); [ "${h:-0}" -ge "$1" ]; }
trouble() { tail -n 20 "$dir/n.log"; fail "$*"; }
until_true 90 reached 3 || trouble "the node does not mine"
expect 0 'xrt 4 cards, emulated' q device list
[ "$(grep -c ' ready ' <<< "$said")" = 4 ] || trouble "not four ready cards: $said"
for k in 1 2 3; do
  for holder in $(pgrep -P "$node" quarry-card); do
    card=$(pgrep -P "$holder") || continue
    kill -KILL "$card"
    break
  done
  height=$(status height)
  until_true 60 reached $((height + 2)) || trouble "the node does not mine on after kill $k"
done
failed() { q --json device list | grep -oE '"jobs_failed":[0-9]+' | awk -F: '{n += $2} END {exit n < 3}'; }
until_true 20 failed || trouble "the killed cards are not seen: $(q device list)"
expect 0 'ended by itself' q device list
expect 0 'reloads' q device examine emu:0
all_ready() { [ "$(q device list | grep -c ' ready ')" = 4 ]; }
until_true 60 all_ready || trouble "not all cards came back: $(q device list)"
expect 0 'is being reset by the node' q device reset emu:3
until_true 60 all_ready || trouble "the reset card did not come back: $(q device list)"
[ "$(status blocks_rejected)" = 0 ] || trouble "the node refused a block of its own"
! grep -qE 'block-lost|attempt-failed' "$dir/n.log" || trouble "work was lost"
[ "$(q --json device list | grep -oE '"hw_errors":[0-9]+' | sort -u)" = '"hw_errors":0' ] || trouble "an honest card is blamed"
top=$(status height)
expect 0 'blocks' q status
q stop > "$dir/stop.out"
rc=0 && wait "$node" || rc=$?
node=""
[ "$rc" = 0 ] || trouble "the node ended with $rc"
sleep 1
[ -z "$(pgrep -f "card --card .*$(basename "$dir")" || true)" ] || fail "processes are left"
echo "test_device: passed ($checks checks, height $top)"
