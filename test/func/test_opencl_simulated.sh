#!/usr/bin/env bash
# The OpenCL kernels for cards on a simulated one (the package oclgrind), which looks at every access to memory: a training step
# and a product are right, nothing is read or written outside of a buffer, and work-items race for nothing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
bin=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME=$work

command -v oclgrind > /dev/null || { echo "skipped: no oclgrind here"; exit 77; }

# on_card TEXT WORD...: quarry device job on it says TEXT, and the simulator nothing. A look at a maximum before it is raised by an
# atomic is a race that does no harm: each is told with two lines of source. Its own optimiser makes what it cannot run.
on_card() {
  local text=$1 log=$work/log
  shift
  oclgrind --data-races --max-errors 1000000 --build-options -cl-opt-disable \
    "$bin/quarry" device job "$@" --check --accel opencl:tune=off > "$log" 2>&1 || fail "$*: $(head -c 2000 "$log")"
  grep -q "$text" "$log" || fail "'$*' does not say '$text': $(head -c 2000 "$log")"
  ! grep -A 1 'At line' "$log" | grep -vE 'At line|atomic_max|^--$' || fail "$*: the simulator complains: $(head -c 2000 "$log")"
  ! grep -E 'Invalid|Uninitialized|divergence|OCLGRIND' "$log" || fail "$*: the simulator complains: $(head -c 2000 "$log")"
  checks=$((checks + 3))
}

said=$(oclgrind "$bin/quarry" device list --accel opencl 2>&1) && [[ $said == *Oclgrind* ]] || fail "the simulator is not found: $said"
on_card 'the CPU gives the same' step --genesis regtest-cartpole --steps 1
on_card '0 of 3500 elements differ' gemm --shape 70x50x130
echo "test_opencl_simulated: $checks expectations held"
