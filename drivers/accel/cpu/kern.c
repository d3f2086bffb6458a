#include "kern.h"

#define ENTRY(name) &qr_cpu_kern_##name,
const qr_cpu_kern_t *const qr_cpu_kernels[] = {QR_CPU_KERNELS(ENTRY) NULL};
