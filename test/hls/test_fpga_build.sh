#!/usr/bin/env bash
# fpga/build without Vitis, with tools that only note what they are told, and the link configurations it uses.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failed=0
PATH=/usr/bin:/bin # whatever this machine has of Vitis stays out

fail() {
  echo "FAILED: $1" >&2
  failed=1
}

# says CODE PATTERN ARGUMENTS: fpga/build exits with CODE and says PATTERN.
says() {
  local code=$1 pattern=$2 text rc
  shift 2
  text=$("$root/fpga/build" "$@" 2>&1)
  rc=$?
  said=$text
  [ "$rc" = "$code" ] || fail "fpga/build $* exits with $rc, not $code: $text"
  grep -qE -- "$pattern" <<< "$text" || fail "fpga/build $* does not say '$pattern': $text"
}

says 0 'Usage: fpga/build CARD' --help
says 2 'which card\? One of: c1100 u200 u250 u280 u50'
says 2 "no card 'vcu1525'; there are: c1100" vcu1525
says 2 "no card '\.\./c1100'" ../c1100
says 2 'one card at a time' u50 u280
says 2 "unknown option '--fast'" u50 --fast
says 2 '--out needs a value' u50 --out
says 2 "no target 'csim'" u50 --target csim
says 2 "array is 16 or 32, not '24'" u50 --array 24
says 2 "clock of '0' MHz" u50 --clock 0
says 2 "'many' is no number of jobs" u50 --jobs many
says 3 'v\+\+ is not in PATH: Vitis is not installed' u50 --out "$tmp/none"
[ ! -e "$tmp/none" ] || fail "a build that cannot start leaves a folder"

# Tools that note how they were called. v++ makes the file it is asked for.
mkdir "$tmp/tools"
cat > "$tmp/tools/v++" << 'TXT'
#!/bin/sh
echo "v++ $*" >> "$NOTES"
[ -z "${BREAK:-}" ] || { echo "v++: broken"; exit 7; }
while [ $# -gt 1 ]; do [ "$1" != -o ] || : > "$2"; shift; done
TXT
printf '#!/bin/sh\necho "emconfigutil $*" >> "$NOTES"\n' > "$tmp/tools/emconfigutil"
chmod +x "$tmp/tools/"*
export NOTES=$tmp/notes
PATH=$tmp/tools:$PATH

for dir in "$root"/fpga/platform/*/; do
  card=$(basename "$dir")
  title="" platform="" part="" array="" engines="" clock_mhz=""
  # shellcheck disable=SC1091
  . "$dir/card.env"
  [ -n "$title$platform$part" ] || fail "$card: card.env lacks a name"
  rm -f "$NOTES"
  says 0 "made $tmp/$card/qr_step_engine.hw.xclbin for .*: $engines engines, T = $array" "$card" --out "$tmp/$card"
  grep -qF -- "sign $tmp/$card/qr_step_engine.hw.xclbin --key KEYFILE --part $part " <<< "$said" || fail "$card: no word of signing"
  [ -f "$tmp/$card/qr_step_engine.hw.xclbin" ] || fail "$card: no xclbin where it was promised"
  [ "$(grep -c . "$NOTES")" = 2 ] || fail "$card: $(cat "$NOTES")"
  grep -qE -- "-c -k qr_step_engine -t hw --platform $platform .*clock ${clock_mhz}000000:.*-DQR_ENGINE_T=$array " "$NOTES" \
    || fail "$card: compiles with $(head -n 1 "$NOTES")"
  for f in "$root"/hls/step_engine/*.c; do
    grep -qF -- " $f " "$NOTES" || fail "$card: $f is not compiled"
  done
  grep -qF -- "-l -t hw --platform $platform --save-temps --config $root/fpga/platform/$card/link.cfg" "$NOTES" \
    || fail "$card: links with $(tail -n 1 "$NOTES")"

  # The configuration: so many engines, each with a region and every pointer of the kernel in one memory.
  cfg=$dir/link.cfg
  names=$(sed -n 's/^nk=qr_step_engine:'"$engines"'://p' "$cfg" | tr . '\n')
  [ "$(grep -c . <<< "$names")" = "$engines" ] || fail "$card: nk does not name $engines engines"
  for e in $names; do
    [ "$(grep -c "^slr=$e:SLR[0-3]$" "$cfg")" = 1 ] || fail "$card: $e has no region"
    for arg in prog job pool table model_in model s8 a8 b8 s32 out; do
      [ "$(grep -cE "^sp=$e\.$arg:(HBM|DDR)\[[0-9]+\]$" "$cfg")" = 1 ] || fail "$card: $e.$arg has no memory"
      grep -qE "#pragma HLS INTERFACE m_axi port = $arg " "$root/hls/step_engine/kernel.c" || fail "the kernel has no $arg"
    done
    memory() { sed -n "s/^sp=$e\.$1://p" "$cfg"; }
    [ "$(memory s8)" = "$(memory a8)" ] && [ "$(memory s8)" = "$(memory b8)" ] || fail "$card: $e has S8 in two memories"
    [ "$(memory prog)" = "$(memory job)" ] && [ "$(memory prog)" = "$(memory out)" ] || fail "$card: $e: one port, two memories"
    [ "$(memory pool)" = "$(memory model_in)" ] && [ "$(memory pool)" = "$(memory table)" ] || fail "$card: $e: one port, two memories"
  done
  [ "$(grep -c '^sp=' "$cfg")" = $((11 * engines)) ] || fail "$card: link.cfg has more than the engines need"
done

rm -f "$NOTES"
says 0 'made' u50 --target hw_emu --out "$tmp/emu" --platform own.xpfm --array 16 --clock 200 --jobs 2
grep -qE -- '-t hw_emu --platform own.xpfm .*clock 200000000:.*-DQR_ENGINE_T=16' "$NOTES" || fail "options are lost: $(cat "$NOTES")"
grep -qF -- "emconfigutil --platform own.xpfm --nd 1 --od $tmp/emu" "$NOTES" || fail "no emconfig for an emulation"
rm -f "$NOTES"
says 0 '^v\+\+ -l ' u280 --dry-run --out "$tmp/dry"
[ ! -e "$NOTES" ] && [ ! -e "$tmp/dry" ] || fail "--dry-run did something"
BREAK=1 says 1 "'v\+\+' failed \(code 7\); its log is in $tmp/broken" u50 --out "$tmp/broken"
printf '#!/bin/sh\nexit 1\n' > "$tmp/tools/platforminfo"
chmod +x "$tmp/tools/platforminfo"
says 3 'platform xilinx_u50_.* is not installed' u50 --out "$tmp/none2"

[ "$failed" = 0 ] && echo "fpga/build: as it should be"
exit "$failed"
