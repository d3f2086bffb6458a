#!/usr/bin/env bash
# The OpenCL kernels under a compiler that is no device's: every variant that tuning may choose, in the language that the driver
# asks for, for devices of 32 and of 64 address bits, without a warning.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/func.sh"
kernels=$here/../../drivers/accel/opencl
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

compile() { # LANGUAGE TARGET FILE DEFINITION...: says what the compiler says
  local language=$1 target=$2 file=$3
  shift 3
  clang -x cl "-cl-std=$language" -target "$target" -Xclang -finclude-default-header -fsyntax-only -Wall -Wextra -Wpedantic \
    -Wconversion -Wshadow -Wno-sign-conversion -Wno-unused-function -Werror "${@/#/-D}" "$file" 2>&1
}

command -v clang > /dev/null || { echo "skipped: no clang here"; exit 77; }
echo '__kernel void k(__global uint *x) { x[get_global_id(0)] = 1; }' > "$work/plain.cl"
said=$(compile CL1.2 spir64 "$work/plain.cl") || { echo "skipped: this clang has no OpenCL: $said"; exit 77; }

for kernel in draw element product; do # as the driver puts them together
  { cat "$kernels/task.h" "$kernels/common.cl"; echo '#define QR_OCL_TABLE 0'; cat "$kernels/$kernel.cl"; } > "$work/$kernel.cl"
done

# try KERNEL LANGUAGE "DEFINITION..."
try() {
  local target
  for target in spir64 spir; do
    # shellcheck disable=SC2086 # several definitions
    said=$(compile "$2" "$target" "$work/$1.cl" $3) || fail "$1 for $target with $3: $said"
    checks=$((checks + 1))
  done
}

try draw CL1.2 'QR_OCL_SLICED=1 QR_OCL_LOCAL_TABLE=0'
try draw CL1.2 'QR_OCL_SLICED=0 QR_OCL_LOCAL_TABLE=0'
try draw CL1.2 'QR_OCL_SLICED=0 QR_OCL_LOCAL_TABLE=1'
for group in 2 4; do
  try element CL1.2 "GROUP=$group"
done
for rows in 4 8 16; do
  try product CL1.2 "GROUP=2 QR_OCL_VECTOR=1 QR_OCL_ROWS=$rows"
done
for tile in '4 32 32' '4 64 64' '8 64 64' '8 64 128'; do
  read -r rows x y <<< "$tile"
  tile="GROUP=4 QR_OCL_VECTOR=0 QR_OCL_ROWS=$rows QR_OCL_TILE_X=$x QR_OCL_TILE_Y=$y"
  try product CL1.2 "$tile QR_OCL_DOT=0"
  try product CL3.0 "$tile QR_OCL_DOT=1" # cl_khr_integer_dot_product
  try product CL1.2 "$tile QR_OCL_DOT=2" # cl_arm_integer_dot_product_accumulate_int8
done
sed 's/convert_char16(clamp/(clamp/' "$work/element.cl" > "$work/broken.cl"
! (try broken CL1.2 GROUP=4) 2> /dev/null || fail "a kernel with an error is taken"
echo "test_opencl_kernels: $checks expectations held"
