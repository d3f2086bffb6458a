/* AVX-512 with VNNI, VBMI and VAES: Ice Lake, Zen 4 and later. */
#define KERN_TABLE qr_cpu_kern_avx512
#define KERN_NAME "avx512"

#include "kern_avx512_table.h"
#include "kern_x86.h"

static bool supported(void) {
  return has_vnni() && __builtin_cpu_supports("avx512vbmi") && has_vaes();
}
