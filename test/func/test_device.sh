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

# ---- wrong usage: exit code 2 and what would be right ----
expect 0 'validate [UNIT]' "$bin/quarry" device --help
expect 0 "PUBKEY card|emulation LABEL" "$bin/quarry" help bitstream
expect 2 'usage: quarry device' "$bin/quarry" device
expect 2 'job gemm|step' "$bin/quarry" device job sort
expect 2 'reset UNIT' "$bin/quarry" device reset
expect 2 'there are cpu' "$bin/quarry" device list --accel gpu
expect 2 'has no units to choose among' "$bin/quarry" device validate cpu0 --accel cpu
expect 2 'e.g. --shape 256x384x128' "$bin/quarry" device job gemm
for shape in 4x4 0x4x4 4x4x4x -4x4x4 4x4x131072 5000x5000x1; do
  expect 2 "--shape '$shape' is not MxNxK" "$bin/quarry" device job gemm --shape "$shape"
done
expect 2 'it has microgrid microgrid-map' "$bin/quarry" device job step --task tetris
expect 2 'not a number from 1 to 4096' "$bin/quarry" device job step --steps 0
expect 2 '64 hex digits' "$bin/quarry" device job step --sigma 12
expect 2 'usage: quarry bitstream' "$bin/quarry" bitstream verify
expect 2 '--key FILE must be given' "$bin/quarry" bitstream sign "$emu/engine.sw_emu.xclbin" --part p --tool t
expect 2 'is not a word' "$bin/quarry" bitstream sign "$emu/engine.sw_emu.xclbin" --part p --tool 'v 1' --key development

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
expect 1 'chmod go-w' sh -c "chmod 666 '$dir/keys'; '$bin/quarry' bitstream verify '$box' --keys '$dir/keys'; rc=\$?; chmod 600 '$dir/keys'; exit \$rc"
sed -i 's/^part .*/part other/' "$box.manifest"
expect 1 'changed after signing' "$bin/quarry" bitstream verify "$box" --keys "$dir/keys"
expect 0 '"engine_abi":77' "$bin/quarry" --json bitstream sign "$box" --key "$dir/lab.key" --part p --tool t --engine-abi 77
expect 1 'engine interface 77' "$bin/quarry" bitstream verify "$box" --keys "$dir/keys"
expect 1 'engine interface 77' "$bin/quarry" device validate --accel "xrt:emulate,bitstream=$box,keys=$dir/keys"
head -c 200 "$box.manifest" > "$dir/cut" && mv "$dir/cut" "$box.manifest"
expect 1 'as it must be' "$bin/quarry" bitstream verify "$box" --keys "$dir/keys"
ln -s engine.xclbin "$dir/link.xclbin" && mkdir "$dir/folder.xclbin" && : > "$dir/empty.xclbin" && head -c 300 "$box" > "$dir/cut.xclbin"
expect 0 'link.xclbin: NOT TRUSTED: it has no manifest' "$bin/quarry" bitstream list "$dir"
listed=$said
for what in 'folder.xclbin: not a file' 'empty.xclbin: it is empty' 'cut.xclbin: not a usable xclbin'; do
  [[ $listed == *"NOT USABLE: $dir/$what"* ]] || fail "the list does not say '$what': $listed"
  expect 1 "$what" "$bin/quarry" bitstream verify "$dir/${what%%:*}"
  expect 1 "$what" "$bin/quarry" bitstream sign "$dir/${what%%:*}" --key development --part p --tool t
done
expect 1 'No such file' "$bin/quarry" bitstream verify "$dir/none.xclbin"
expect 1 'No such file' "$bin/quarry" bitstream list "$dir/none"
expect 1 'No such file' "$bin/quarry" bitstream list "$dir" --keys "$dir/none"
expect 1 "quarry key new FILE" "$bin/quarry" bitstream sign "$box" --key "$dir/none" --part p --tool t
expect 1 'not a key file' "$bin/quarry" bitstream sign "$box" --key "$dir/keys" --part p --tool t
expect 1 '{"error":{"code":' "$bin/quarry" --json bitstream verify "$dir/none.xclbin"
expect 1 'is for hw_emu' "$bin/quarry" device validate --accel "xrt:emulate,bitstream=$emu/engine.hw_emu.xclbin"

# ---- without a node ----
expect 0 'driver xrt finds' "$bin/quarry" device list
[[ $said != *'driver error'* ]] || fail "the driver for tests is listed: $said"
expect 0 '{"node":null,"found":[' "$bin/quarry" --json device list
expect 0 'this driver has none' "$bin/quarry" device list --accel cpu
expect 1 'unknown option colour' "$bin/quarry" device list --accel xrt:colour=red
expect 0 'emu:2' "$bin/quarry" device list --accel xrt:emulate,cards=3
expect 0 'power rails  not available' "$bin/quarry" device examine --accel xrt:emulate
expect 1 'there is no unit emu:2; there are: emu:0 emu:1' "$bin/quarry" device examine emu:2 --accel xrt:emulate,cards=2
expect 0 '[{"id":"emu:1"' "$bin/quarry" --json device examine emu:1 --accel xrt:emulate,cards=2
expect 0 'answers again' "$bin/quarry" device reset emu:1 --accel xrt:emulate,cards=2
expect 0 '{"unit":"emu:0","reset":true}' "$bin/quarry" --json device reset emu:0 --accel xrt:emulate
expect 1 'has no units' "$bin/quarry" device examine --accel cpu
if ! ls /sys/bus/pci/devices/*/vendor > /dev/null 2>&1 || ! grep -qi 0x10ee /sys/bus/pci/devices/*/vendor; then
  for what in examine validate 'reset 0000:03:00.1'; do
    # shellcheck disable=SC2086
    expect 1 'emul' "$bin/quarry" device $what
  done
fi
expect 1 'no PCI bus' "$bin/quarry" device examine --accel "xrt:sysfs=$dir"

# ---- validate: every unit, and it finds what is wrong ----
expect 0 'passed  bandwidth' "$bin/quarry" device validate --accel xrt:emulate
[[ $said != *FAILED* && $said == *'passed  a product'* ]] || fail "validate: $said"
expect 0 '"unit":"emu:1","test":"bandwidth"' "$bin/quarry" --json device validate --accel xrt:emulate,cards=2
[[ $said == *'"unit":"emu:0","test":"bandwidth"'* && $said != *'"passed":false'* ]] || fail "not both cards: $said"
expect 0 'bandwidth, emu:1' "$bin/quarry" device validate emu:1 --accel xrt:emulate,cards=2
[[ $said != *emu:0* ]] || fail "the other card was tested: $said"
expect 1 'FAILED' "$bin/quarry" device validate --accel xrt:emulate,fault=wrong:8
expect 1 'FAILED  opening, emu:1' "$bin/quarry" device validate --accel xrt:emulate,cards=2,fault=wrong:2
expect 1 'wrong answer to the test' "$bin/quarry" device validate --accel xrt:emulate,fault=wrong:2
expect 1 'FAILED  a product' "$bin/quarry" device validate --accel error:corrupt=1/1

# ---- an interrupted validate leaves nothing ----
# A launch hangs, so that there is something to interrupt. Job control gives it the signals that a terminal's programs have.
set -m
"$bin/quarry" device validate --accel "xrt:emulate,fault=hang:9" > "$dir/hang.out" 2>&1 &
pid=$!
set +m
hanging() { [ -s "$dir/hang.out" ] && [ -n "$(pgrep -P "$pid" quarry-card)" ]; }
until_true 60 hanging || fail "validate does not begin: $(cat "$dir/hang.out")"
holder=$(pgrep -P "$pid" quarry-card)
card=$(pgrep -P "$holder")
scratch=$(readlink "/proc/$holder/cwd")
kill -INT "$pid"
rc=0 && wait "$pid" 2> /dev/null || rc=$?
[ "$rc" = 130 ] || fail "interrupted, validate ended with $rc"
ended() { [ ! -d "/proc/$holder" ] && [ ! -d "/proc/$card" ] && [ ! -e "$scratch" ]; }
until_true 20 ended || fail "left after Ctrl-C: $(ps -o pid,args -p "$holder,$card" 2>&1) $(ls -d "$scratch" 2>&1)"

# ---- jobs ----
expect 0 'the CPU gives the same' "$bin/quarry" device job step --task microgrid-map --steps 2 --check --accel xrt:emulate
head -c 6000 /dev/urandom > "$dir/a" && head -c 5000 /dev/urandom > "$dir/b"
expect 0 '0 of 3000 elements differ' "$bin/quarry" device job gemm --shape 60x50x100 --a "$dir/a" --b "$dir/b" --out "$dir/c" \
  --check --accel xrt:emulate
[ "$(stat -c %s "$dir/c")" = 12000 ] || fail "the product is not 12000 bytes"
expect 1 'wanted are 6100' "$bin/quarry" device job gemm --shape 61x50x100 --a "$dir/a"
expect 1 'not a file' "$bin/quarry" device job gemm --shape 4x4x4 --b "$dir"
expect 1 'No such file' "$bin/quarry" device job gemm --shape 4x4x4 --b "$dir/none"
expect 1 'cannot be written' "$bin/quarry" device job gemm --shape 4x4x4 --out "$dir/none/c"
expect 1 'Is a directory' "$bin/quarry" --json device job step --out "$dir"
expect 1 'elements differ' "$bin/quarry" device job gemm --shape 9x9x9 --check --accel error:corrupt=1/1
expect 1 'something else from step' "$bin/quarry" device job step --check --accel error:corrupt=1/1
expect 1 '"same":false' "$bin/quarry" --json device job step --check --accel error:corrupt=1/1
expect 1 'ended by itself' "$bin/quarry" device job gemm --shape 4x4x4 --accel xrt:emulate,fault=die:2
# A network of one's own, with data of one's own; the model that comes out goes in again.
"$bin/quarry" genesis regtest | sed '0,/"out": 384/s//"out": 96/; s/"batch": 64/"batch": 32/' > "$dir/own.json"
job=("$bin/quarry" device job step --genesis "$dir/own.json" --accel xrt:emulate --check)
head -c 12288 /dev/zero | tr '\0' '\7' > "$dir/obs" && head -c 96 /dev/zero > "$dir/act" && head -c 384 /dev/zero > "$dir/target"
head -c 4096 "$dir/obs" > "$dir/obs1" && head -c 32 "$dir/act" > "$dir/act1" && head -c 128 "$dir/target" > "$dir/target1"
expect 0 'the CPU gives the same' "${job[@]}" --obs "$dir/obs1" --act "$dir/act1" --target "$dir/target1" --out "$dir/m1"
expect 0 '3 steps, batch 32' "${job[@]}" --obs "$dir/obs" --act "$dir/act" --target "$dir/target" --steps 3 --model "$dir/m1" --out "$dir/m4"
[ "$(stat -c %s "$dir/m4")" = "$(stat -c %s "$dir/m1")" ] && ! cmp -s "$dir/m1" "$dir/m4" || fail "the model did not learn"
head -c 4096 /dev/zero | tr '\0' '\200' > "$dir/obs2"
expect 1 'not in -64 .. 63' "${job[@]}" --obs "$dir/obs2"

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
