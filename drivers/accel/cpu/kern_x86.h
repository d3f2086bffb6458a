/* What processors of x86-64 have that clang 14 does not know by name. Whether the system saves the
   registers, __builtin_cpu_supports says of the instruction set that goes with it. */
#ifndef QR_ACCEL_CPU_KERN_X86_H
#define QR_ACCEL_CPU_KERN_X86_H

#include <cpuid.h>

#include "base/types.h"

/* AES rounds on whole registers. */
static inline bool has_vaes(void) {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & 1u << 9);
}

/* The dot products of VNNI on 256 bits, without AVX-512. */
static inline bool has_avxvnni(void) {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4);
}

#endif
