#include "kern.h"

const qr_cpu_kern_t *const qr_cpu_kernels[] = {
#if defined(__x86_64__)
    &qr_cpu_kern_avx512, &qr_cpu_kern_avx2,
#endif
    &qr_cpu_kern_portable, NULL};
