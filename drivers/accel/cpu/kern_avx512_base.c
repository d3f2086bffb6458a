/* AVX-512 with VNNI and nothing later: Cascade Lake. */
#define KERN_TABLE qr_cpu_kern_avx512_base
#define KERN_NAME "avx512_base"

#include "kern_avx512_table.h"

static bool supported(void) { return has_vnni(); }
