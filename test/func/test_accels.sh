#!/usr/bin/env bash
# A network with a node for each kind of accelerator: the CPU, OpenCL, emulated cards, and one that makes faults. All mine
# together, then each alone, so that the others verify blocks of every kind; at sixty blocks they agree, and nothing corrupted
# has been believed or even sent.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
. "$here/../../tools/lib/devnet.sh"
blocks=60
alone=8 # blocks of each

# Adds a node: name, driver, options.
names=() drivers=() options=()
kind() { names+=("$1") drivers+=("$2") options+=("$3"); }
left_out=""
has_units() {
  local said
  said=$("$1/quarry" device list --accel "$2" 2>&1) || true
  [[ $said == *usable* ]] || { left_out+="; no node with $2"; return 1; }
}

kinds() {
  local faults='seed=5,corrupt=1/6,fail=1/9'
  kind cpu cpu ''
  if has_units "$1" opencl; then
    kind opencl opencl tune=off
    kind faults error "inner=opencl:tune=off,$faults"
  else
    kind faults error "inner=cpu:kernel=portable,$faults"
  fi
  if [ -f "$1/../emu/engine.sw_emu.xclbin" ] && [ ! -f "$1/../emu/xrt/skipped" ]; then
    kind xrt xrt emulate
  else
    left_out+="; no node with emulated cards"
  fi
}
kinds "${1:-$DEVNET_BIN}"
cnt=${#names[@]}

if [ -z "${DEVNET_INSIDE:-}" ]; then
  DEVNET_DIR=$(mktemp -d)
  trap 'rm -rf "$DEVNET_DIR"' EXIT
  export DEVNET_DIR DEVNET_BIN=$1 DEVNET_COUNT=$cnt
  "$1/quarry" genesis regtest > "$DEVNET_DIR/genesis.json"
  devnet_enter "$0" "$@"
  exit $?
fi

q() { local i=$1; shift; "$DEVNET_BIN/quarry" --dir "$DEVNET_DIR/n$i" "$@"; }
status() { q "$1" --json status 2> /dev/null | field "$2"; }
reached() { local h; h=$(status "$1" height); [ "${h:-0}" -ge "$2" ]; }
trouble() { tail -n 5 "$DEVNET_DIR"/n?.log >&2; fail "$*"; }

devnet_net "$cnt"
for ((i = 0; i < cnt; i++)); do devnet_start "$i" --accel "${drivers[i]}" --accel.options "${options[i]}"; done
together=$((blocks - cnt * alone))
for ((i = 0; i < cnt; i++)); do until_true 90 reached "$i" "$together" || trouble "${names[i]} does not reach $together"; done
for ((i = 0; i < cnt; i++)); do q "$i" mining off > /dev/null; done
mined=""
for ((i = 0; i < cnt; i++)); do
  before=$(status "$i" blocks_mined) height=$(status "$i" height)
  q "$i" mining on > /dev/null
  until_true 90 reached "$i" $((height + alone)) || trouble "${names[i]} alone does not mine $alone blocks"
  q "$i" mining off > /dev/null
  after=$(status "$i" blocks_mined)
  [ $((after - before)) -ge 4 ] || trouble "${names[i]} alone mined $before to $after blocks: whose were the others?"
  mined+=", $after by ${names[i]}"
  # what comes next builds on its blocks
  top=$(status "$i" height)
  for ((j = 0; j < cnt; j++)); do until_true 60 reached "$j" "$top" || trouble "${names[j]} does not follow ${names[i]}"; done
done

dirs=""
for ((i = 0; i < cnt; i++)); do dirs+=${dirs:+,}$DEVNET_DIR/n$i; done
rc=0
q 0 watch --nodes "$dirs" --blocks $blocks --timeout 30 --json > "$DEVNET_DIR/watch.out" || rc=$?
last=$(tail -n 1 "$DEVNET_DIR/watch.out")
[ "$rc" = 0 ] && [ "$(field agree <<< "$last")" = true ] || trouble "the nodes do not agree: $(cat "$DEVNET_DIR/watch.out")"
[ "$(field height <<< "$last")" -ge $blocks ] || trouble "height below $blocks: $last"
for key in tip tip_model state_root height; do
  for ((i = 1; i < cnt; i++)); do
    [ -n "$(status 0 $key)" ] && [ "$(status 0 $key)" = "$(status "$i" $key)" ] || trouble "$key differs at ${names[i]}"
  done
done
for ((i = 0; i < cnt; i++)); do
  [ "$(status "$i" blocks_rejected)" = 0 ] || trouble "${names[i]} was sent a wrong block: $(q "$i" --json status)"
done
for ((i = 0; i < cnt; i++)); do
  case ${names[i]} in
    faults) grep -q 'event=attempt-failed' "$DEVNET_DIR/n$i.log" || trouble "the node with faults had none" ;;
    *) ! grep -q 'event=attempt-failed' "$DEVNET_DIR/n$i.log" || trouble "${names[i]} failed" ;;
  esac
done
devnet_stop || trouble "a node ended badly"
echo "test_accels: height $(field height <<< "$last")$mined$left_out"
